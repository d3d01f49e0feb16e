"""Each class name has one meaning: `python -m tests.lint.class_names` lists names that two modules define."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "runtime" / "rljob", ROOT / "operator" / "rljob_operator")


def definitions(source: str) -> Iterator[str]:
    """Names of classes and type aliases at the top of a module, without leading underscores."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            yield node.name.lstrip("_")
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "TypeVar":
                continue
            name = node.targets[0].id.lstrip("_")
            # `Arrays = dict[...]` is an alias; `LIMIT = 3` is not.
            if len(name) > 1 and name[0].isupper() and not name.isupper():
                yield name


def clashes(modules: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names that several modules define.

    Args:
        modules: path and source of each.
    """
    found: dict[str, list[str]] = {}
    for path, source in modules:
        for name in set(definitions(source)):
            found.setdefault(name, []).append(path)
    return {name: paths for name, paths in sorted(found.items()) if len(paths) > 1}


def main() -> int:
    """Print the clashes; 1 when there are any."""
    paths = sorted(path for source in SOURCES for path in source.rglob("*.py"))
    found = clashes((str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in paths)
    for name, where in found.items():
        print(f"{name} is defined in {', '.join(where)}: give each meaning a name of its own")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
