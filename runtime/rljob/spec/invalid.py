"""Validation errors in plain words: the field, its value, what is allowed or the nearest name.

The same words serve the RLJob and the settings of every algorithm and network.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from rljob.errors import InputError
from rljob.spec.file import JobSource, below_spec

OTHER_FORMS_KEY = "x-rljob-other-forms"
"""In the JSON schema of a value of several types: what it may be beside the first of them, in words."""

_MAX_PROBLEMS = 20
_MAX_VALUE = 60

M = TypeVar("M", bound=BaseModel)
JsonSchema = Mapping[str, Any]


class Invalid(InputError):
    """One or more problems in one input; its text has a line or two for each of them."""

    def __init__(self, problems: Sequence[InputError]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.message, path=first.path, file=first.file, line=first.line)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:_MAX_PROBLEMS]]
        if len(self.problems) > _MAX_PROBLEMS:
            lines.append(f"… and {len(self.problems) - _MAX_PROBLEMS} more")
        return "\n".join(lines)


def refuse(problems: Mapping[str, str]) -> PydanticCustomError:
    """For a model's own rules: an error with a message for each field name, raised by a validator."""
    text = "; ".join(f"{name}: {message}" for name, message in problems.items())
    return PydanticCustomError("rules", "{text}", {"text": text, "problems": dict(problems)})


def checked(
    model: type[M],
    values: Mapping[str, Any],
    *,
    path: str = "",
    label: str = "",
    source: JobSource | None = None,
) -> M:
    """The model made of values as they stand in YAML, camelCase only.

    Args:
        path: where the values stand below `spec`, e.g. `algorithm.config`.
        label: whose settings they are, e.g. `PPO`; empty for a section of the RLJob.
        source: gives file and line to the messages.

    Raises:
        InputError: as `invalid` words it.
    """
    try:
        return model.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        raise invalid(error, model, path=path, label=label, source=source) from None


def invalid(
    error: ValidationError,
    model: type[BaseModel],
    *,
    path: str = "",
    label: str = "",
    source: JobSource | None = None,
) -> InputError:
    """The error in plain words; see `checked` for the arguments."""
    schema = model.model_json_schema()
    problems: dict[tuple[str, str], InputError] = {}
    for details in error.errors(include_url=False):
        for loc, message in _messages(details, schema, label):
            full = below_spec(".".join([*([path] if path else []), *map(_key, loc)]))
            problems.setdefault((full, message), InputError(message, path=full))
    found = [locate(source, problem) for problem in problems.values()]
    return Invalid(sorted(found, key=lambda problem: problem.line or 0))


def locate(source: JobSource | None, error: InputError) -> InputError:
    """The same error with the file and line of its `path`, unless it has them already."""
    if isinstance(error, Invalid):
        return Invalid([locate(source, problem) for problem in error.problems])
    if source is None or error.file:
        return error
    file, line = source.where(error.path)
    return InputError(error.message, path=error.path, file=file, line=line)


def _key(name: str | int) -> str:
    """One part of a path; a key without text is shown as `""`."""
    return str(name) or '""'


def _messages(
    details: ErrorDetails, root: JsonSchema, label: str
) -> Iterator[tuple[Sequence[Any], str]]:
    """Location and message of each problem that one pydantic error stands for."""
    loc, kind = details["loc"], details["type"]
    value, context = details["input"], details.get("ctx", {})
    if kind == "extra_forbidden":
        whole, section = _find(root, loc[:-1])
        yield (*whole, loc[-1]), _unknown(str(loc[-1]), whole, section, root, label)
    elif kind == "rules":
        whole, _ = _find(root, loc)
        for name, message in context["problems"].items():
            yield (*whole, *filter(None, [name])), message
    elif kind == "missing":
        whole, section = _find(root, loc)
        yield whole, f"is required. {_sentence(section)}".rstrip()
    elif kind in ("value_error", "assertion_error"):
        # A rule about a whole section speaks for itself.
        start = "" if isinstance(value, Mapping) else f"{show(value)} is not allowed; "
        yield _find(root, loc)[0], f"{start}{context['error']}"
    else:
        known, section = _find(root, loc)
        if kind == "said":
            yield known, details["msg"]
        else:
            yield known, f"{show(value)} is not allowed; {allowed(section, root)}"


def _unknown(
    name: str, loc: Sequence[Any], section: JsonSchema, root: JsonSchema, label: str
) -> str:
    names = list(section.get("properties", {}))
    sections = [each for each in loc if isinstance(each, str)]
    whose = label if label and not loc else sections[-1] if sections else str(root.get("title"))
    what = f"unknown setting of {label}" if label and not loc else "unknown field"
    near = nearest(name, names)
    if near is None:
        elsewhere = [
            path for path in _paths(root, root) if _plain(path.split(".")[-1]) == _plain(name)
        ]
        # Outside of `spec` the full path is the hint: the field stands one level too high.
        near = (below_spec(elsewhere[0]) if loc else elsewhere[0]) if elsewhere else None
    hint = f". Did you mean {near}?" if near else "."
    known = f"{whose} knows: {', '.join(names)}" if names else f"{whose} has no fields"
    return f"{what}{hint}\n  {known}"


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The name that was probably meant, if any."""
    plain = {_plain(candidate): candidate for candidate in names}
    close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def allowed(schema: JsonSchema, root: JsonSchema) -> str:
    """What a JSON schema accepts, in words: `an integer from 1 to 8`."""
    schema = _resolve(schema, root)
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ("one of " if len(values) > 1 else "only ") + ", ".join(map(show, values))
    if "anyOf" in schema:
        return " or ".join(allowed(choice, root) for choice in schema["anyOf"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return f"{allowed({**schema, 'type': kind[0]}, root)}, or {schema[OTHER_FORMS_KEY]}"
    if kind in ("integer", "number"):
        return _range("an integer" if kind == "integer" else "a number", schema)
    if kind == "string":
        example = f" like {schema['examples'][0]}" if schema.get("examples") else ""
        rule = f": {_sentence(schema)}" if "pattern" in schema else ""
        return f"text{example}{rule}".rstrip(".")
    if kind == "array":
        most = _of(schema.get("minItems"), schema.get("maxItems"), "items")
        return f"a list{most}, each item {allowed(schema.get('items', {}), root)}"
    if kind == "object":
        names = ", ".join(schema.get("properties", {}))
        most = _of(schema.get("minProperties"), schema.get("maxProperties"), "entries")
        return f"a mapping with {names}" if names else f"a mapping{most}"
    return {"boolean": "true or false", "null": "null"}.get(str(kind), "another kind of value")


def show(value: object) -> str:
    """The value as it would stand in YAML, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"


def _range(kind: str, schema: JsonSchema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and low == high:
        return f"only {low} is supported in this version"
    start = f"from {low}" if low is not None else f"above {above}" if above is not None else ""
    end = f"to {high}" if high is not None else f"below {below}" if below is not None else ""
    if above is not None and end:
        end = f"and {end.replace('to', 'at most', 1)}"
    return " ".join(part for part in (kind, start, end) if part)


def _of(least: int | None, most: int | None, what: str) -> str:
    if least and most is not None:
        return f" of {least} to {most} {what}"
    if least:
        return f" of at least {least} {what}"
    return f" of at most {most} {what}" if most is not None else ""


def _find(root: JsonSchema, loc: Sequence[Any]) -> tuple[Sequence[Any], JsonSchema]:
    """The part of a location that names fields, and the schema there.

    Pydantic adds the names of union members and of validators; they are no fields and end the walk. The kinds
    of a value of several kinds are passed over.
    """
    section = _resolve(root, root)
    known: list[Any] = []
    for name in loc:
        properties = section.get("properties", {})
        if name in properties:
            section = _resolve(properties[name], root)
        elif isinstance(name, int) and "items" in section:
            section = _resolve(section["items"], root)
        elif isinstance(section.get("additionalProperties"), Mapping):
            section = _resolve(section["additionalProperties"], root)
        elif isinstance(section.get("type"), list) and name in section["type"]:
            continue
        else:
            break
        known.append(name)
    return known, section


def _resolve(schema: JsonSchema, root: JsonSchema) -> JsonSchema:
    """Follow a reference, and look through `or null`; what the field itself says stays."""
    if "$ref" in schema:
        target = root["$defs"][schema["$ref"].rpartition("/")[2]]
        return {**_resolve(target, root), **{k: v for k, v in schema.items() if k != "$ref"}}
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        own = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**_resolve(choices[0], root), **own}
    return schema


def _paths(schema: JsonSchema, root: JsonSchema, prefix: str = "") -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        yield prefix + name
        yield from _paths(_resolve(field, root), root, f"{prefix}{name}.")


def _sentence(schema: JsonSchema) -> str:
    """The first sentence of a field's description."""
    return re.split(r"(?<=\.)(?<!e\.g\.)\s", str(schema.get("description", "")), maxsplit=1)[0]


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
