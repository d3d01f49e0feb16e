"""What a job says of applications: programs of users that act by themselves and send what they experience."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from rljob.spec.cel import Rule, rule, rules
from rljob.spec.duration import Duration
from rljob.spec.invalid import refuse, show
from rljob.spec.schema import AS_INTEGER, Section

MOST_CHOICES = 2**24
"""Of a Discrete, and of each part of a MultiDiscrete."""
SpaceKind = Literal["Box", "Discrete", "MultiDiscrete"]
BoxDtype = Literal[
    "float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"
]
_FIELDS: dict[SpaceKind, tuple[str, ...]] = {
    "Box": ("shape", "low", "high", "dtype"),
    "Discrete": ("choices", "start"),
    "MultiDiscrete": ("nvec", "start"),
}
_NEEDED: dict[SpaceKind, str] = {"Box": "shape", "Discrete": "choices", "MultiDiscrete": "nvec"}
_INFINITE = {"inf": "inf", "-inf": "-inf", float("inf"): "inf", float("-inf"): "-inf"}
_ANY: Any = {"x-kubernetes-preserve-unknown-fields": True}


def _kinds(field: str) -> list[SpaceKind]:
    return [kind for kind, fields in _FIELDS.items() if field in fields]


def _fields() -> Iterable[str]:
    return dict.fromkeys(field for fields in _FIELDS.values() for field in fields)


def _not_of(field: str) -> str:
    return f"is not a field of this type; it is one of {' and '.join(_kinds(field))}"


def _bound(value: Any) -> Any:
    """Numbers, or lists of them; infinity as text, which JSON can hold."""
    if isinstance(value, list):
        return [_bound(each) for each in value]
    if isinstance(value, str | float) and value in _INFINITE:
        return _INFINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        message = f"{show(value)} is not allowed; a number, inf, -inf, or lists of them in the space's shape"
        raise PydanticCustomError("said", "{said}", {"said": message})
    return value


def _start(value: Any) -> Any:
    """A whole number, or a list of them."""
    if isinstance(value, list):
        return [_start(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or abs(value) > 2**53:
        message = (
            f"{show(value)} is not allowed; a whole number, or a list of them for a MultiDiscrete"
        )
        raise PydanticCustomError("said", "{said}", {"said": message})
    return value


SpaceBounds = Annotated[Any, BeforeValidator(_bound)]
Dimension = Annotated[int, Field(ge=1, le=2**28), AS_INTEGER]
ChoiceCount = Annotated[int, Field(ge=1, le=MOST_CHOICES), AS_INTEGER]


class SpaceSpec(Section):
    """A space: its type, and what Gymnasium makes it of."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(
                rule(
                    f"self.type != '{kind}' || has(self.{field})",
                    f"a {kind} needs {field}",
                    reason="FieldValueRequired",
                )
                for kind, field in _NEEDED.items()
            ),
            # A rule cannot see fields of any type: low, high and start.
            *(
                rule(
                    " || ".join(
                        [
                            f"!has(self.{field})",
                            *(f"self.type == '{kind}'" for kind in _kinds(field)),
                        ]
                    ),
                    _not_of(field),
                    at=field,
                )
                for field in ("shape", "dtype", "choices", "nvec")
            ),
        )
    )

    type: SpaceKind = Field(
        description="`Box`, `Discrete` or `MultiDiscrete`, as in Gymnasium. A Dict or Tuple of numbers is written as one flat Box, a "
        "MultiBinary as a MultiDiscrete of 2 choices each."
    )
    shape: list[Dimension] | None = Field(
        default=None,
        max_length=4,
        examples=[[4]],
        description="Of a Box: length of each dimension, e.g. `[4]` or `[84, 84, 3]`; `[]` is a single number.",
    )
    low: SpaceBounds = Field(
        default=None,
        description="Of a Box: lowest value, one number for all or nested lists in the space's shape; `-inf` is none, and is the default.",
        json_schema_extra=_ANY,
    )
    high: SpaceBounds = Field(
        default=None,
        description="Of a Box: highest value, one number for all or nested lists in the space's shape; `inf` is none, and is the default.",
        json_schema_extra=_ANY,
    )
    dtype: BoxDtype | None = Field(
        default=None, description="Of a Box: type of its numbers; `float32` when absent."
    )
    # Not `n`, which YAML 1.1 takes for false.
    choices: ChoiceCount | None = Field(
        default=None,
        description="Of a Discrete: number of choices, which is `n` in Gymnasium.",
    )
    nvec: list[ChoiceCount] | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        examples=[[3, 4]],
        description="Of a MultiDiscrete: number of choices of each part, e.g. `[3, 4]`.",
    )
    start: Annotated[Any, BeforeValidator(_start)] = Field(
        default=None,
        description="First choice; 0 when absent. Of a MultiDiscrete a list, with one for each part.",
        json_schema_extra=_ANY,
    )

    @model_validator(mode="after")
    def _of_its_type(self) -> SpaceSpec:
        needed = _NEEDED[self.type]
        if getattr(self, needed) is None:
            raise refuse({"": f"a {self.type} needs {needed}"})
        wrong = {
            field: _not_of(field)
            for field in _fields()
            if field not in _FIELDS[self.type] and getattr(self, field) is not None
        }
        if wrong:
            raise refuse(wrong)
        return self


_NO_MASK = "true is not allowed for a Box of actions; Discrete and MultiDiscrete can have masks"


class SpacesSpec(Section):
    """What applications observe and how they act."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.mask) || !self.mask || self.action.type != 'Box'",
                _NO_MASK,
                at="mask",
            )
        )
    )

    observation: SpaceSpec = Field(
        description="Space of what the policy sees, e.g. `{type: Box, shape: [4]}`."
    )
    action: SpaceSpec = Field(
        description="Space of its actions, e.g. `{type: Discrete, choices: 2}`."
    )
    mask: bool = Field(
        default=False,
        description="Whether each observation comes with a mask of the actions that are allowed; not for a Box of actions.",
    )

    @model_validator(mode="after")
    def _maskable(self) -> SpacesSpec:
        if self.mask and self.action.type == "Box":
            raise refuse({"mask": _NO_MASK})
        return self


def _at_most(field: str, seconds: int, text: str) -> Rule:
    value = f"self.{field}"
    return rule(
        f"type({value}) == int ? {value} <= {seconds} : duration({value}) <= duration('{seconds}s')",
        f"is not allowed; at most {text}",
        at=field,
    )


_LONGEST_FLUSH, _LONGEST_WAIT = 3600, 86_400


class ApplicationsSpec(Section):
    """Programs of users that act with the newest policy by themselves, and send what they experience."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _at_most("flushAfter", _LONGEST_FLUSH, "1h"),
            _at_most("rewardTimeout", _LONGEST_WAIT, "24h"),
        )
    )

    flush_after: Duration = Field(
        default=Duration("10s"),
        description="Age at which an application sends a segment of experience that is not full. At most 1h.",
    )
    reward_timeout: Duration = Field(
        default=Duration("60s"),
        description="Longest time that a segment waits for the reward of an action; after it, the segment is sent with a reward of 0 "
        "there. At most 24h.",
    )

    @model_validator(mode="after")
    def _bounded(self) -> ApplicationsSpec:
        problems = {}
        if self.flush_after.seconds > _LONGEST_FLUSH:
            problems["flushAfter"] = f"{show(str(self.flush_after))} is not allowed; at most 1h"
        if self.reward_timeout.seconds > _LONGEST_WAIT:
            problems["rewardTimeout"] = (
                f"{show(str(self.reward_timeout))} is not allowed; at most 24h"
            )
        if problems:
            raise refuse(problems)
        return self
