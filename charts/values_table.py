"""Writes the table of values into a chart's README.md, from the comments in its values.yaml.

`python charts/values_table.py charts/rljob-operator`. A value is described by the comment right above it. A mapping
whose keys have comments is a group of values, any other is one value.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

BEGIN = "<!-- Values: made by `make generate` from values.yaml; change them there. -->"
END = "<!-- End of values. -->"


@dataclass(frozen=True)
class Value:
    """One row: the path with dots, the default as JSON, the comment."""

    path: str
    default: str
    meaning: str


def values(text: str) -> list[Value]:
    """All values of a values.yaml, in its order.

    Raises:
        ValueError: naming a value without a comment.
    """
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    return list(_values(root, text.splitlines(), ""))


def readme(text: str, rows: list[Value]) -> str:
    """The README with this table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [f"| `{row.path}` | `{row.default}` | {row.meaning} |" for row in rows]
    table = "\n".join(["| Value | Default | Meaning |", "|---|---|---|", *lines])
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _values(group: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[Value]:
    for key, node in group.value:
        path = prefix + key.value
        if _is_group(node, lines):
            yield from _values(node, lines, f"{path}.")
            continue
        meaning = _above(key, lines)
        if not meaning:
            raise ValueError(f"{path}: no comment above it says what it is")
        default = yaml.safe_load(yaml.serialize(node))
        yield Value(path, json.dumps(default, ensure_ascii=False), meaning.replace("|", "\\|"))


def _is_group(node: yaml.Node, lines: list[str]) -> bool:
    block = isinstance(node, yaml.MappingNode) and not node.flow_style
    return block and any(_above(key, lines) for key, _ in node.value)


def _above(key: yaml.Node, lines: list[str]) -> str:
    """The comment that ends in the line before a key."""
    found: list[str] = []
    for line in reversed(lines[: key.start_mark.line]):
        if not line.strip().startswith("#"):
            break
        found.insert(0, line.strip().removeprefix("#").strip())
    return " ".join(found)


def main() -> None:
    chart = Path(sys.argv[1])
    path = chart / "README.md"
    path.write_text(readme(path.read_text(), values((chart / "values.yaml").read_text())))


if __name__ == "__main__":
    main()
