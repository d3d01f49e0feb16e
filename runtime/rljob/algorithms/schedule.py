"""A number of an algorithm's settings that may change while training. Pure.

In YAML it is a number, a phase, or a list of phases that follow one another:

    learningRate: 1.0e-3
    epsilon: {from: 1.0, to: 0.05, steps: 10000}
    learningRate:
      - {from: 0, to: 1.0e-3, share: 0.1}
      - {from: 1.0e-3, to: 0, share: 0.9, shape: cosine}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import core_schema

from rljob.algorithms.progress import Progress
from rljob.spec.invalid import OTHER_FORMS_KEY, refuse
from rljob.spec.schema import AS_INTEGER, Steps

MOST_PHASES = 16
_ROUNDING = 1e-9
"""By which shares that should sum to 1 may exceed it."""

_Bounded = TypeVar("_Bounded", bound=float)
"""The number at each moment, with its bounds, e.g. `Rate`."""
ScheduleShape = Literal["linear", "cosine", "cosineRestarts", "exponential", "polynomial", "step"]
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "cosineRestarts": ("cycles", "growth"),
    "polynomial": ("power",),
    "step": ("jumps",),
}
"""Fields of a phase that only one shape has."""
_GEOMETRIC = ("exponential", "step")
"""Shapes that multiply, and so never reach 0 nor leave it."""


class _Reached:
    """A limit that a number must stay within, such as 0 for a rate, may be where a phase starts or ends."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        closed = {"gt": "ge", "lt": "le"}
        schema = handler(source)
        return cast(
            "core_schema.CoreSchema", {closed.get(key, key): each for key, each in schema.items()}
        )


class SchedulePhase(BaseModel, Generic[_Bounded]):
    """A change from one value to another over environment steps, or over a share of the job."""

    model_config = ConfigDict(
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    from_: _Bounded = Field(validation_alias="from", serialization_alias="from")
    """Value at the start."""
    to: _Bounded
    """Value at the end."""
    steps: Steps | None = None
    """Length in environment steps of the job, those of all rollouts together."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Length as a share of the job's stop.steps, else of stop.updates, stop.episodes or stop.duration; 1 without steps."""
    shape: ScheduleShape = "linear"
    """Course between the two values."""
    cycles: Annotated[int, Field(ge=2, le=100), AS_INTEGER] = 4
    """Falls from `from` to `to`; for cosineRestarts."""
    growth: Annotated[float, Field(ge=1, le=10)] = 1.0
    """Length of a cycle as a multiple of the one before; for cosineRestarts."""
    power: Annotated[float, Field(gt=0, le=100)] = 2.0
    """Exponent of the remaining share; 1 is linear; for polynomial."""
    jumps: Annotated[int, Field(ge=1, le=1000), AS_INTEGER] = 2
    """Equally long parts, at whose ends the value is multiplied by the same factor; for step."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        problems = {}
        if self.steps is not None and self.share is not None:
            problems["share"] = "only one of steps and share may be given"
        for shape, names in _OPTIONS.items():
            for name in names:
                if shape != self.shape and name in self.model_fields_set:
                    problems[name] = f"is only allowed with shape: {shape}"
        if self.shape in _GEOMETRIC and self.from_ * self.to <= 0:
            name, value = ("from", self.from_) if self.from_ == 0 else ("to", self.to)
            problems[name] = (
                f"{value:g} is not allowed with shape: {self.shape}, which multiplies: the value neither leaves 0 nor "
                "reaches it. Use a small number like 1.0e-6, or another shape"
            )
        if problems:
            raise refuse(problems)
        return self

    @property
    def length(self) -> float:
        """In steps, or as a share of the job."""
        return self.steps or self.share or 1.0

    @property
    def still(self) -> float:
        """Length of the start in which the value does not change; infinite if it never does."""
        if self.from_ == self.to:
            return math.inf
        return self.length / self.jumps if self.shape == "step" else 0.0

    def at(self, done: float) -> float:
        """Value when `done`, in [0, 1], of the phase is over."""
        course = _COURSES[self.shape](self, done)
        if self.shape in _GEOMETRIC:
            return float(self.from_ * (self.to / self.from_) ** course)
        return (1 - course) * self.from_ + course * self.to


def _cosine(done: float) -> float:
    return (1 - math.cos(math.pi * done)) / 2


def _cosine_restarts(phase: SchedulePhase[Any], done: float) -> float:
    lengths = [phase.growth**cycle for cycle in range(phase.cycles)]
    left = done * sum(lengths)
    for length in lengths:
        if left < length:
            return _cosine(left / length)
        left -= length
    return 1.0


_COURSES: Mapping[str, Callable[[SchedulePhase[Any], float], float]] = {
    "linear": lambda _, done: done,
    "cosine": lambda _, done: _cosine(done),
    "cosineRestarts": _cosine_restarts,
    "exponential": lambda _, done: done,
    "polynomial": lambda phase, done: 1 - (1 - done) ** phase.power,
    "step": lambda phase, done: math.floor(done * phase.jumps) / phase.jumps,
}
"""How much of the way each shape has gone: 0 at the start, 1 at the end."""


class Schedule(Generic[_Bounded]):
    """A number, or phases that follow one another; after them the value stays.

    As the type of a setting it takes the number's own type, whose bounds hold for every value of the schedule:
    `learning_rate: Schedule[Rate] = Schedule(3e-4)`.

    Args:
        course: the number, or the phases in their order.

    Attributes:
        start: the number at the start of the job.
        phases: of the change; empty for one number.

    Raises:
        PydanticCustomError: the phases do not fit one another, or the number never changes.
    """

    def __init__(self, *course: float | SchedulePhase[_Bounded]) -> None:
        first = course[0]
        self.start: float = first.from_ if isinstance(first, SchedulePhase) else first
        self.phases = tuple(each for each in course if isinstance(each, SchedulePhase))
        if self.phases:
            _check(self.phases)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return (self.start, self.phases) == (other.start, other.phases)

    def __hash__(self) -> int:
        return hash((self.start, self.phases))

    def __repr__(self) -> str:
        return f"Schedule({self.plain()})"

    @property
    def by_steps(self) -> bool:
        """Whether its phases are measured in steps, and not in shares of the job."""
        return bool(self.phases) and self.phases[0].steps is not None

    @property
    def length(self) -> float:
        """Of all phases, in steps or as a share of the job."""
        return sum(phase.length for phase in self.phases)

    @property
    def still(self) -> float:
        """Length of the start in which the number does not change, in steps or as a share of the job."""
        began, value = 0.0, self.start
        for phase in self.phases:
            if phase.from_ != value:
                return began
            if phase.still < math.inf:
                return began + phase.still
            began += phase.length
        return math.inf

    def at(self, progress: Progress) -> float:
        """The number at this point of the job."""
        if not self.phases:
            return self.start
        left: float = progress.steps if self.by_steps else progress.share
        for phase in self.phases:
            if left < phase.length:
                return phase.at(left / phase.length)
            left -= phase.length
        return float(self.phases[-1].to)

    def plain(self) -> Any:
        """As it stands in YAML."""
        shown = [phase.model_dump(by_alias=True, exclude_defaults=True) for phase in self.phases]
        return shown if len(shown) > 1 else shown[0] if shown else self.start

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        bounded = (*get_args(source), float)[0]
        phase = SchedulePhase[Annotated[bounded, _Reached()]]  # type: ignore[valid-type]
        phases = Annotated[list[phase], Field(min_length=1, max_length=MOST_PHASES)]
        choices = {"number": bounded, "object": phase, "array": phases}
        plain = core_schema.tagged_union_schema(
            {kind: handler.generate_schema(choice) for kind, choice in choices.items()},
            discriminator=_kind,
        )
        return core_schema.no_info_wrap_validator_function(
            cls._validate,
            plain,
            serialization=core_schema.plain_serializer_function_ser_schema(cls.plain),
        )

    @classmethod
    def _validate(cls, value: Any, handler: Callable[[Any], Any]) -> Self:
        found = handler(value.plain() if isinstance(value, Schedule) else value)
        return cls(*found) if isinstance(found, list) else cls(found)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        # The keywords of each kind of value say nothing of the others, so that one schema holds all three.
        number, phase, phases = (
            handler.resolve_ref_schema(choice) for choice in handler(schema)["oneOf"]
        )
        merged = {**phases, **phase, **number}
        kinds = [number["type"], phase["type"], phases["type"]]
        return {**merged, "type": kinds, OTHER_FORMS_KEY: "a schedule {from, to, steps}"}


def _kind(value: Any) -> str | None:
    """The JSON type of a schedule's form; None if it has none."""
    if isinstance(value, bool):
        return None
    forms = {"number": (int, float), "object": (Mapping, SchedulePhase), "array": (list,)}
    return next((kind for kind, types in forms.items() if isinstance(value, types)), None)


def _check(phases: tuple[SchedulePhase[Any], ...]) -> None:
    """Raises PydanticCustomError: the phases do not fit one another, or the number never changes."""
    if len({phase.steps is None for phase in phases}) > 1:
        raise refuse(
            {"": "phases in steps cannot follow phases in shares of the job, nor the reverse"}
        )
    whole = sum(phase.length for phase in phases)
    if phases[0].steps is None and whole > 1 + _ROUNDING:
        raise refuse({"": f"the shares of its phases sum to {whole:g}; at most 1 is the whole job"})
    values = {value for phase in phases for value in (phase.from_, phase.to)}
    if len(values) == 1:
        (value,) = values
        raise refuse({"": f"never changes: every value is {value:g}. Write {value:g}"})
