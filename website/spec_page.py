"""The reference of the RLJob's fields, from the schema of the CRD."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rljob.kube.crd import definition
from rljob.spec.cel import VALIDATIONS

Schema = Mapping[str, Any]

_HEAD = """\
# RLJob

Every field of an RLJob: type, default, allowed values, meaning. This page is generated from the schema that `rljob`
and the API server check. `kubectl explain rljob.spec` shows the same on a cluster.

A **fixed** field cannot be changed after the job was created. A **duration** is text such as `90s`, `10m`, `1h30m`
or `500ms`, or a whole number of seconds.
"""
_IMPORT_PATH = "package.module:attribute"
_PATTERNS = {
    r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$": "`auto`, `cpu`, `mps`, `cuda`, `cuda:N`",
    r"^[^-\s][^\n]*$": "one pip requirement, no option",
}


def page() -> str:
    """The Markdown of the page."""
    version = definition()["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]["properties"]
    parts = [_HEAD, "\n".join(_section("spec", root["spec"]))]
    parts += ["\n".join(_section("status", root["status"]))]
    return "\n".join(parts)


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Path and schema of every field below a section, depth first."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field.get("items", field), f"{path}.{name}")


def _section(path: str, schema: Schema) -> Iterator[str]:
    """A heading, the fields of a section, and the sections below it."""
    properties: Mapping[str, Schema] = schema["properties"]
    yield f"\n{'##' if '.' not in path else '###'} `{path}` {{ #{path} }}\n"
    yield _text(schema.get("description", ""))
    yield ""
    for name, field in properties.items():
        below = f"{path}.{name}"
        inner = field.get("items", field)
        link = f"[`{name}`](#{below})" if inner.get("properties") else f"`{name}`{{ #{below} }}"
        yield link
        facts = ", ".join(_facts(name, field, schema))
        yield f":   *{facts}*{{ .facts }}  \n    {_text(field.get('description', ''))}\n"
    for name, field in properties.items():
        inner = field.get("items", field)
        if inner.get("properties"):
            described = {"description": field.get("description", ""), **inner}
            yield from _section(f"{path}.{name}", described)


def _facts(name: str, field: Schema, section: Schema) -> Iterator[str]:
    yield type_of(field)
    if name in section.get("required", ()):
        yield "required"
    if "default" in field and field["default"] != {}:
        yield f"default `{_value(field['default'])}`"
    allowed = allowed_of(field)
    if allowed:
        yield allowed
    if _is_fixed(name, field, section):
        yield "fixed"


def type_of(field: Schema) -> str:
    """A field's type in one word or two."""
    if "anyOf" in field:
        return "duration"
    kind = str(field.get("type", "any value"))
    if kind == "array":
        return f"list of {type_of(field['items'])}s"
    values = field.get("additionalProperties", {})
    if kind == "object" and "type" in values:
        return f"map of name to {type_of(values)}"
    if kind == "object" and not field.get("properties"):
        return (
            "object, any keys" if "x-kubernetes-preserve-unknown-fields" in str(field) else "object"
        )
    return kind


def allowed_of(field: Schema) -> str:
    """The values that a field may have, in words; empty when its type says it all."""
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return "up to 8760h"
    if pattern := field.get("pattern"):
        if "entryPoint" in str(field.get("description", "")) or ":[A-Za-z_]" in pattern:
            return f"`{_IMPORT_PATH}`"
        return _PATTERNS.get(pattern, "")
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and low == high:
        return f"only {low:,}"
    above = "above" if field.get("exclusiveMinimum") else "at least"
    if low is not None and high is not None:
        return f"above {low:,}, to {high:,}" if above == "above" else f"{low:,} to {high:,}"
    if low is not None:
        return f"{above} {low:,}"
    if (most := field.get("maxLength")) is not None:
        return f"at most {most:,} characters"
    if (most := field.get("maxItems", field.get("maxProperties"))) is not None:
        return f"at most {most:,}"
    return ""


def _is_fixed(name: str, field: Schema, section: Schema) -> bool:
    own = any(rule["rule"] == "self == oldSelf" for rule in field.get(VALIDATIONS, ()))
    return own or any(
        "oldSelf" in rule["rule"] and rule.get("fieldPath") == f".{name}"
        for rule in section.get(VALIDATIONS, ())
    )


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _text(description: str) -> str:
    """One paragraph, without the sentence that the fact `fixed` says."""
    text = re.sub(r"\s+", " ", description).strip().replace("<", "&lt;")
    return text.removesuffix("Cannot be changed once the job exists.").rstrip()
