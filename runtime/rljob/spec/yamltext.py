"""YAML text to plain values with the line of every key, and back.

Scalars follow YAML 1.2: `1e-3` is a number. A plain scalar that another reader takes for another value,
such as `no` or `010`, is refused, and never written. Only what JSON can hold is accepted, since the same
text goes to a Kubernetes API server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from rljob.errors import InputError
from rljob.spec import yaml_scalars

_MAX_KEYS = 100_000
_MAX_DEPTH = 100
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_AMBIGUOUS = "tag:rljob.dev:ambiguous"
"""Of plain scalars that are not the same value to every reader."""
_NULL = _TAG + "null"
_TAGS = {_TAG + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}
_RESOLVERS = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    (
        "float",
        (
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
        tuple("-+.0123456789"),
    ),
    ("merge", r"<<", ("<",)),
)


def load(text: str, file: str = "") -> tuple[Any, dict[str, int]]:
    """Value of the only document in the text, and the 1-based line of each dotted key.

    Raises:
        InputError: a syntax error, a key given twice, several documents, a scalar that YAML readers
            disagree about, aliases that expand beyond 100,000 values, or something that JSON cannot
            hold; `file` and the line say where.
    """
    try:
        nodes = [node for node in yaml.compose_all(text, _Loader) if not _is_empty(node)]
        if len(nodes) > 1:
            message = f"holds {len(nodes)} YAML documents; give one RLJob per file"
            raise InputError(message, file=file, line=nodes[1].start_mark.line + 1)
        if not nodes:
            return None, {}
        _refuse_surprises(nodes[0], file)
        _refuse_expansion(nodes[0], file)
        value = _Loader("").construct_document(nodes[0])
        return value, _lines(nodes[0], file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = "; indent with spaces, not tabs" if "\\t" in (error.problem or "") else ""
        column = mark.column + 1 if mark else 1
        message = f"not valid YAML at column {column}: {error.problem}{hint}"
        raise InputError(message, file=file, line=mark.line + 1 if mark else None) from None
    except RecursionError:
        raise InputError("not valid YAML: nested too deeply", file=file) from None
    except (yaml.YAMLError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise InputError(f"not valid YAML: {message}", file=file) from None


def dump(value: Mapping[str, Any]) -> str:
    """YAML that `load`, and a Kubernetes API server, read back to the same value."""
    return yaml.dump(value, Dumper=_TextDumper, sort_keys=False, allow_unicode=True, width=100)


class _AgreedScalars:
    """Marks plain scalars that are not the same value to every reader.

    The dumper compares the tag with that of the value, and quotes what differs.
    """

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        plain = kind is yaml.ScalarNode and implicit[0]
        # A merge key is the same to every reader; the same text as a value is not, see `_refuse_surprises`.
        if plain and value != "<<" and yaml_scalars.instead(value) is not None:
            return _AMBIGUOUS
        return super().resolve(kind, value, implicit)  # type: ignore[misc]


class _Loader(_AgreedScalars, yaml.SafeLoader):
    """Safe loading with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it


class _TextDumper(_AgreedScalars, yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as something else; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text if base == 10 else text[2:], base)


def _represent_text(dumper: _TextDumper, text: str) -> yaml.ScalarNode:
    # YAML takes these for line ends too, and folds them outside of double quotes.
    folded = any(mark in text for mark in "\x85\u2028\u2029")
    style = '"' if folded else "|" if "\n" in text else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Loader.add_constructor(_TAG + "int", _construct_int)
_TextDumper.add_representer(str, _represent_text)
for _name, _pattern, _first in _RESOLVERS:
    for _class in (_Loader, _TextDumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), list(_first))


def _is_empty(node: yaml.Node) -> bool:
    return node.tag == _NULL and node.value == ""


def _refuse_surprises(root: yaml.Node, file: str) -> None:
    """Refuse keys given twice, keys that are not text, scalars that readers disagree about, and tags
    that JSON has no value for."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        line = node.start_mark.line + 1
        _refuse_ambiguous(node, file)
        if node.tag not in _TAGS:
            raise InputError(f"the YAML tag {node.tag} is not supported", file=file, line=line)
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, _ in node.value:
                line = key.start_mark.line + 1
                _refuse_ambiguous(key, file)
                if key.tag not in (_TAG + "str", _MERGE):
                    name = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
                    raise InputError(f"the key {name} is not text: quote it", file=file, line=line)
                if key.value in first:
                    message = f"{key.value} is given twice, first on line {first[key.value]}"
                    raise InputError(message, file=file, line=line)
                first[key.value] = line
            waiting += (value for _, value in reversed(node.value))


def _refuse_ambiguous(node: yaml.Node, file: str) -> None:
    if node.tag == _AMBIGUOUS:
        message = (
            f"{node.value} is not the same to every reader of YAML, such as kubectl: "
            f"write {yaml_scalars.instead(node.value)}"
        )
        raise InputError(message, file=file, line=node.start_mark.line + 1)


def _refuse_expansion(root: yaml.Node, file: str) -> None:
    """Refuse aliases and merges that expand to more than `_MAX_KEYS` values. Expands nothing."""
    sizes: dict[int, int] = {}
    within: set[int] = set()

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        line = node.start_mark.line + 1
        if id(node) in within:
            raise InputError("contains itself through an alias", file=file, line=line)
        within.add(id(node))
        total = 1
        if isinstance(node, yaml.SequenceNode):
            total += sum(map(size, node.value))
        elif isinstance(node, yaml.MappingNode):
            total += sum(1 + size(value) for _, value in node.value)
        if total > _MAX_KEYS:
            message = (
                f"expands to more than {_MAX_KEYS:,} values; use fewer aliases (*) of anchors (&)"
            )
            raise InputError(message, file=file, line=line)
        within.discard(id(node))
        sizes[id(node)] = total
        return total

    size(root)


def _lines(root: yaml.Node, file: str) -> dict[str, int]:
    """Line of every key and list item. Aliases are followed, so the number of keys is bounded."""
    lines: dict[str, int] = {}
    for path, line in _walk(root, (), root.start_mark.line + 1):
        lines[".".join(path)] = line
        if len(lines) > _MAX_KEYS or len(path) > _MAX_DEPTH:
            raise InputError("is too large or nested too deeply for an RLJob", file=file)
    return lines


def _walk(
    node: yaml.Node, path: tuple[str, ...], line: int
) -> Iterator[tuple[tuple[str, ...], int]]:
    yield path, line
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*path, key.value), key.start_mark.line + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*path, str(index)), value.start_mark.line + 1)
