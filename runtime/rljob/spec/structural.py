"""A model's JSON schema in the form that Kubernetes requires: structural OpenAPI v3, without references.

Everything in it comes from the models: types, bounds, defaults, descriptions, and the rules of `rljob.spec.cel`.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from rljob.spec.cel import IMMUTABLE_KEY, RULE_FIELDS, VALIDATIONS, unchanged
from rljob.spec.duration import Duration
from rljob.spec.schema import OPERATOR_ONLY_KEY

Schema = dict[str, Any]

_LIST_KEYS = "x-kubernetes-list-map-keys"

_KEPT = (
    "type",
    "format",
    "description",
    "default",
    "enum",
    "anyOf",
    "pattern",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    _LIST_KEYS,
    VALIDATIONS,
)
"""In the order in which a reader wants them."""

_DROPPED = {"title", "examples", "$defs", IMMUTABLE_KEY, OPERATOR_ONLY_KEY}
_UNTYPED = {"x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"}
"""A schema needs no type where it has one of these."""
_LENIENT = (
    "type",
    "format",
    "description",
    "properties",
    "additionalProperties",
    "items",
    "x-kubernetes-list-type",
    _LIST_KEYS,
)

# Kubernetes drops an entry that is null from a map whose values may not be; here null is a value. Where rules
# apply, the mapping must not be an object that preserves unknown fields: of such a one `self == oldSelf`
# overlooks a renamed entry, and rules cannot see the names.
_ANYTHING: Schema = {"nullable": True, "x-kubernetes-preserve-unknown-fields": True}


def structural(model: type[BaseModel]) -> Schema:
    """The schema of a section and of all below it.

    Raises:
        ValueError: the model contains something that has no structural form.
    """
    root = model.model_json_schema(schema_generator=_Generator)
    return _Converter(root.get("$defs", {}), explain=True).convert(root)


def lenient(model: type[BaseModel]) -> Schema:
    """The same fields and types without what could refuse or add a value: bounds, required fields, defaults.

    Raises:
        ValueError: as `structural`.
    """
    root = model.model_json_schema(schema_generator=_Generator)
    return _loosened(_Converter(root.get("$defs", {}), explain=False).convert(root))


def _loosened(schema: Schema, keys: tuple[str, ...] = ()) -> Schema:
    """Without what could refuse or add a value; `keys` stay required, since they tell a list's entries apart."""
    loose = {name: value for name, value in schema.items() if name in _LENIENT}
    if keys:
        loose["required"] = list(keys)
    if "properties" in loose:
        fields = loose["properties"]
        loose["properties"] = {name: _loosened(field) for name, field in fields.items()}
    if "items" in loose:
        loose["items"] = _loosened(loose["items"], tuple(schema.get(_LIST_KEYS, ())))
    return loose


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, Duration) else super().encode_default(dft)


class _Converter:
    def __init__(self, definitions: Schema, explain: bool) -> None:
        self._definitions = definitions
        self._explain = explain

    def convert(self, schema: Schema) -> Schema:
        found = self._resolve(schema)
        kind = found.get("type")
        if kind == "object":
            self._convert_object(found)
        elif kind == "array":
            found["items"] = self.convert(found["items"])
        elif kind in ("integer", "number"):
            _convert_number(found)
        elif kind is None and not found.keys() & _UNTYPED:
            raise ValueError(f"a value of no one type has no structural schema: {schema}")
        if "const" in found:
            found["enum"] = [found.pop("const")]
        return _ordered(found)

    def _resolve(self, schema: Schema) -> Schema:
        """Without references and `or null`; what the field says stands before what its type says."""
        own, below = dict(schema), {}
        if "$ref" in own:
            below = self._resolve(self._definitions[own.pop("$ref").rpartition("/")[2]])
        elif "x-kubernetes-int-or-string" not in own:
            choices = [choice for choice in own.pop("anyOf", ()) if choice.get("type") != "null"]
            if len(choices) > 1:
                raise ValueError(f"a value of several types has no structural schema: {schema}")
            below = self._resolve(choices[0]) if choices else {}
        if "default" in own and own["default"] is None:
            del own["default"]
        return {**below, **own}

    def _convert_object(self, schema: Schema) -> None:
        extra = schema.pop("additionalProperties", False)
        schema.pop("propertyNames", None)
        if "x-kubernetes-preserve-unknown-fields" in schema:
            return
        if "properties" not in schema:
            # A mapping with names of the user's own.
            schema["additionalProperties"] = _ANYTHING if extra is True else self.convert(extra)
            return
        fields: Schema = {}
        rules = list(schema.get(VALIDATIONS, ()))
        for name, field in schema["properties"].items():
            required = name in schema.get("required", ())
            fields[name] = self._field(field, required)
            if IMMUTABLE_KEY in field and not required and "default" not in fields[name]:
                # What may be absent has no old value to compare with: the section above tells.
                rules.append(unchanged(name))
        schema["properties"] = fields
        if rules:
            schema[VALIDATIONS] = rules

    def _field(self, schema: Schema, required: bool) -> Schema:
        made = self.convert(schema)
        empties: Schema = {"object": {}, "array": []}
        empty = empties.get(made.get("type", ""))
        if not required and not _nullable(schema) and "default" not in made and empty is not None:
            # A section that is left out has its defaults.
            made["default"] = empty
        immutable = IMMUTABLE_KEY in schema
        if immutable and (required or "default" in made):
            made.setdefault(VALIDATIONS, []).append(unchanged())
        if self._explain:
            made["description"] = _explained(made, immutable)
        return _ordered(made)


def _convert_number(schema: Schema) -> None:
    if schema["type"] == "integer":
        schema["format"] = "int64"
        # What the format says already, and a bound that Kubernetes would round beyond it.
        if schema.get("maximum", 0) >= 2**63 - 1:
            del schema["maximum"]
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in schema:
            schema[limit], schema[exclusive] = schema[exclusive], True


def _explained(schema: Schema, immutable: bool) -> str:
    """The description with what `kubectl explain` does not show by itself."""
    default = schema.get("default")
    plain = default is not None and not isinstance(default, dict | list)
    return " ".join(
        [
            schema["description"],
            *([f"Default: {json.dumps(default).strip(chr(34))}."] if plain else []),
            *(["Cannot be changed once the job exists."] if immutable else []),
        ]
    )


def _nullable(schema: Schema) -> bool:
    return any(choice.get("type") == "null" for choice in schema.get("anyOf", ()))


def _ordered(schema: Schema) -> Schema:
    unknown = schema.keys() - set(_KEPT) - _DROPPED
    if unknown:
        where = schema.get("title", "a schema")
        raise ValueError(f"no structural form of {', '.join(sorted(unknown))} in {where}")
    found = {name: schema[name] for name in _KEPT if name in schema}
    if VALIDATIONS in found:
        rules = found[VALIDATIONS]
        found[VALIDATIONS] = [{key: one[key] for key in RULE_FIELDS if key in one} for one in rules]
    return found
