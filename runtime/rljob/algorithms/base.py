"""The one interface between an algorithm and the rest of rljob.

An algorithm is a class with a typed `Config`. It has two halves that never meet in one process:

* acting, in every rollout: plain numpy on the outputs of the network, no torch;
* learning, in the learner: torch, reached only through `learner()`.

Arrays have the shape `[T, N, ...]`: `T` steps of `N` environments, in the order in which they
happened. Environments reset themselves on the step *after* an episode's end, so `observation`
has `T + 1` rows, row `t + 1` is always what followed row `t` (the true final observation included),
and the row that only resets carries `valid = False` and must not be trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Bounds
from pydantic.alias_generators import to_camel

from rljob.algorithms.progress import Progress as Progress
from rljob.algorithms.schedule import Schedule as Schedule
from rljob.algorithms.schedule import SchedulePhase as SchedulePhase
from rljob.envs.spaces import Arrays as Arrays
from rljob.nets.head import Head as Head
from rljob.spec.experience import Field as Field
from rljob.spec.experience import OnPolicy as OnPolicy
from rljob.spec.experience import Replay as Replay
from rljob.spec.schema import AS_INTEGER

if TYPE_CHECKING:
    import torch

    from rljob.envs.spaces import Spaces

Count = Annotated[int, Bounds(ge=1, le=1_000_000_000), AS_INTEGER]
Share = Annotated[float, Bounds(ge=0, le=1)]
Positive = Annotated[float, Bounds(gt=0, le=1000)]
Rate = Annotated[float, Bounds(gt=0, le=1)]
_Value = TypeVar("_Value")


class AlgorithmConfig(BaseModel):
    """Base of every algorithm's settings: camelCase in YAML, snake_case in Python, unknown refused.

    The text below each field is its description in messages and in the schema.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        strict=True,
        use_attribute_docstrings=True,
    )


@dataclass
class Acted:
    """What a policy decided for `N` environments.

    `action` is what is stored and trained on; `Spaces.to_environment` maps it to what the environment
    takes. `extras` holds one array `[N, ...]` for each of the algorithm's `fields` that acting fills
    (`finish` fills the others); it may be empty when greedy.
    """

    action: np.ndarray
    extras: Arrays = field(default_factory=dict)


@dataclass
class ActionScores:
    """Scores by which a policy chose its action, for display.

    Args:
        label: what the values are, e.g. `probability`.
        values: `[N, K]`, in the order of the actions.
        range: between which they lie, where that is known.
    """

    label: str
    values: np.ndarray
    range: tuple[float, float] | None = None


@runtime_checkable
class ScoresActions(Protocol):
    """An algorithm that reports its action scores; videos show them."""

    def shown(self, outputs: Mapping[str, np.ndarray]) -> ActionScores:
        """Of the network's outputs `[N, size]`, those of the acting heads."""
        ...


@dataclass
class Update:
    """What one update reports: scalars for the metrics, and new priorities of a replay batch."""

    metrics: dict[str, float]
    priorities: np.ndarray | None = None


@dataclass
class LearnerState:
    """All that a learner needs to go on as if never stopped: tensors, and JSON values."""

    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]


def with_prefix(prefix: str, values: Mapping[str, _Value]) -> dict[str, _Value]:
    """The same values with `prefix` before each name."""
    return {prefix + name: value for name, value in values.items()}


def select(prefix: str, values: Mapping[str, _Value]) -> dict[str, _Value]:
    """The values whose names start with `prefix`, without it; undoes `with_prefix`."""
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


class Learner(Protocol):
    """The learning half; lives in the learner process only."""

    def update(self, batch: Arrays, progress: Progress) -> Update:
        """Train on one batch.

        On-policy: the batch holds segments side by side, `[T, sum of N, ...]` (`observation` has
        `T + 1` rows). Replay: `[B, ...]` with `observation`, `action`, `next_observation`, the
        algorithm's fields, and for prioritised replay `probability`, the chance `[B]` with which each
        was drawn, together with `stored`, the number of transitions it was drawn from.
        Schedules give their number for `progress`.
        """
        ...

    def scalars(self, progress: Progress) -> dict[str, float]:
        """Values published with the weights for `act` (for example `epsilon`); may be empty."""
        ...

    def state(self) -> LearnerState: ...

    def load_state(self, state: LearnerState) -> None: ...


class Algorithm(Protocol):
    """What a role needs to know of an algorithm; see the module docstring."""

    Config: ClassVar[type[AlgorithmConfig]]

    @property
    def data(self) -> OnPolicy | Replay:
        """How it consumes experience."""
        ...

    @property
    def heads(self) -> Mapping[str, Head]:
        """Outputs that the network must have."""
        ...

    @property
    def acting_heads(self) -> tuple[str, ...]:
        """The heads that acting needs; a rollout computes no others."""
        ...

    @property
    def fields(self) -> tuple[Field, ...]:
        """Arrays of a segment beyond observation, action, reward, terminated, truncated and valid."""
        ...

    def __init__(self, config: Any, spaces: Spaces) -> None:
        """Raises InputError with path `environment` when it cannot use a space, naming the space."""
        ...

    def act(
        self,
        outputs: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        scalars: Mapping[str, float],
        greedy: bool = False,
    ) -> Acted:
        """Choose actions from the network's outputs `[N, size]`; greedy for evaluation."""
        ...

    def finish(self, segment: Arrays) -> None:
        """Fill the fields that need the whole segment (for example n-step returns), in place."""
        ...

    def learner(self, network: torch.nn.Module, seed: int) -> Learner: ...
