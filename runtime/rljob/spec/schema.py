"""What every section of an RLJob has in common: its rules, and the kinds of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel


def _as_integer(value: Any) -> Any:
    """`1e6` is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


AS_INTEGER = BeforeValidator(_as_integer)
Integer = Annotated[int, AS_INTEGER]
Replicas = Annotated[int, Field(ge=1, le=10_000), AS_INTEGER]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1), AS_INTEGER]
Steps = Annotated[int, Field(ge=1, le=10**15), AS_INTEGER]
Deadline = Annotated[int, Field(ge=1, le=2**31 - 1), AS_INTEGER]
Delay = Annotated[int, Field(ge=0, le=2**31 - 1), AS_INTEGER]
Number = Annotated[float, Field(allow_inf_nan=False)]
ManagedBy = Annotated[
    str,
    Field(
        max_length=63,
        pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$",
    ),
]
"""A domain and a name, as in a Job's `spec.managedBy`."""
ImportPath = Annotated[
    str,
    Field(
        max_length=256,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$",
    ),
]
Quantity = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^([0-9]{0,14}[1-9][0-9]{0,14}(\.[0-9]{1,9})?|0\.[0-9]{0,8}[1-9][0-9]{0,8})"
        r"([KMGTPE]i|[kMGTPE])?$",
    ),
]
"""A Kubernetes quantity above 0, as in `10Gi`."""
ObjectName = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
"""Name of a Kubernetes object: a DNS subdomain."""
Requirement = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        pattern=r"^[^-\s][^\n]*$",
        description="A pip requirement in one line, e.g. `my-envs==1.2`; no option of pip.",
    ),
]
SourceText = Annotated[str, Field(max_length=262_144)]
"""Text of one module; all of a job has to fit into 1 MiB."""
InfoKey = Annotated[
    str,
    Field(
        max_length=64,
        pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_. ]*(/[A-Za-z0-9_][-A-Za-z0-9_. ]*)*$",
    ),
]
"""A key of what an environment tells in `info`; without what would need quotes in a table, and a path without `..` where
it has a `/`, as sinks want it."""
FreeForm = dict[str, Any]

OPERATOR_ONLY_KEY = "x-rljob-operator-only"
OPERATOR_ONLY: dict[str, Any] = {OPERATOR_ONLY_KEY: True}
"""For a field's `json_schema_extra`: pods do not get the field. They get every field without it."""


class Section(BaseModel):
    """Base of all parts of an RLJob. A field written as `null` has its default, as in Kubernetes."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        ser_json_inf_nan="constants",
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        known = {field.alias for field in cls.model_fields.values()}
        return {
            key: value for key, value in values.items() if value is not None or key not in known
        }


def operator_only(model: type[Section]) -> dict[str, Any]:
    """The fields that pods do not get, in the form of the `exclude` of `model_dump`."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, Mapping) and OPERATOR_ONLY_KEY in extra:
            found[name] = True
            continue
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Section) and operator_only(part):
                found[name] = operator_only(part)
    return found
