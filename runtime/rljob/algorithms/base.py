"""The one interface between an algorithm and the rest of rljob.

An algorithm is a class with a typed `Config`. It has two halves that never meet in one process:

* `actor`, in every rollout and evaluator: numpy, no torch (`acting.py`);
* `learner`, in the learner: usually torch (`learning.py`).

Between them go segments of experience one way, and published arrays the other: the weights of the acting
networks, and what `Learner.publish` adds.

Arrays have the shape `[T, N, ...]`: `T` steps of `N` environments, in the order in which they
happened. Environments reset themselves on the step *after* an episode's end, so `observation`
has `T + 1` rows, row `t + 1` is always what followed row `t` (the true final observation included),
and the row that only resets carries `valid = False` and must not be trained on.

Each agent of an environment is one of the `N`, and those of one environment are beside each other: `N / agents` teams.
An agent that is over while others go on has `valid = False` until all begin anew. What the environment tells of its
whole state is `state`, `[T + 1, N / agents, ...]`; an actor does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Bounds
from pydantic.alias_generators import to_camel

from rljob.algorithms.acting import Acted as Acted
from rljob.algorithms.acting import ActionScores as ActionScores
from rljob.algorithms.acting import Actor as Actor
from rljob.algorithms.acting import Place as Place
from rljob.algorithms.acting import Policy as Policy
from rljob.algorithms.acting import Seen as Seen
from rljob.algorithms.learning import Learner as Learner
from rljob.algorithms.learning import Update as Update
from rljob.algorithms.progress import Progress as Progress
from rljob.algorithms.schedule import Schedule as Schedule
from rljob.algorithms.schedule import SchedulePhase as SchedulePhase
from rljob.envs.spaces import Arrays as Arrays
from rljob.nets.head import Head as Head
from rljob.nets.head import Net as Net
from rljob.spec.experience import Field as Field
from rljob.spec.experience import OnPolicy as OnPolicy
from rljob.spec.experience import Replay as Replay
from rljob.spec.schema import AS_INTEGER

if TYPE_CHECKING:
    from rljob.envs.spaces import Spaces

Count = Annotated[int, Bounds(ge=1, le=1_000_000_000), AS_INTEGER]
Share = Annotated[float, Bounds(ge=0, le=1)]
Positive = Annotated[float, Bounds(gt=0, le=1000)]
Coefficient = Annotated[float, Bounds(ge=0, le=1000)]
Rate = Annotated[float, Bounds(gt=0, le=1)]
EpsilonSpread = Annotated[float, Bounds(ge=0, le=100)]
"""By how much the exponent of epsilon grows from a job's first environment to its last."""


class AlgorithmConfig(BaseModel):
    """Base of every algorithm's settings: camelCase in YAML, snake_case in Python, unknown refused.

    The text below each field is its description in messages and in the schema.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        allow_inf_nan=False,
        # Most processes use one algorithm's settings of all: each class is built at its first use.
        defer_build=True,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        strict=True,
        use_attribute_docstrings=True,
    )


class Algorithm(Protocol):
    """What a role needs to know of an algorithm; see the module docstring."""

    Config: ClassVar[type[AlgorithmConfig]]

    @property
    def data(self) -> OnPolicy | Replay:
        """How it consumes experience."""
        ...

    @property
    def networks(self) -> Mapping[str, Net]:
        """Its networks by name. A class that sets this to an empty dict never starts torch."""
        ...

    @property
    def fields(self) -> tuple[Field, ...]:
        """Arrays of a segment beyond observation, action, reward, terminated, truncated, valid, mask and state."""
        ...

    def __init__(self, config: Any, spaces: Spaces) -> None:
        """Raises InputError with path `environment` when it cannot use a space, naming the space."""
        ...

    def actor(self, policy: Policy, place: Place) -> Actor:
        """The acting half for one group of environments."""
        ...

    def learner(self, networks: Mapping[str, Any], seed: int) -> Learner:
        """The learning half.

        Args:
            networks: torch modules by name; see `rljob.nets.torch_nets.Network`.
            seed: of what the learner draws at random.
        """
        ...
