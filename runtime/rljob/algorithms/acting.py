"""The acting half of an algorithm: what an actor is given, and what it answers. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rljob.envs.spaces import Arrays
from rljob.errors import RunError
from rljob.nets.acting import ActingNetworks, Engine
from rljob.nets.noisy import NoisyEngine

if TYPE_CHECKING:
    from rljob.envs.games import Games


@dataclass(frozen=True)
class Place:
    """Which environments an actor plays.

    Attributes:
        count: `N`; each agent of an environment counts.
        rng: all randomness of acting comes from here.
        first: number of the first of these environments, or agents, among all of the job.
        total: environments, or agents, of the whole job.
        greedy: True in evaluations: no exploration, and nothing is trained on.
        games: for copies of these environments, to plan with; None where they have a vector form or several agents.
    """

    count: int
    rng: np.random.Generator
    first: int = 0
    total: int = 1
    greedy: bool = False
    games: Games | None = None


@dataclass(slots=True)
class Seen:
    """What `N` environments show before their next step.

    Attributes:
        observation: `[N, ...]`, as stored.
        begins: bool `[N]`, True at the first observation of an episode.
        valid: bool `[N]`, False where the next step only resets and ignores the action, and for an agent that is
            over while others of its environment go on.
        reward: float32 `[N]`, of the step before; 0 where an episode begins.
        mask: bool `[N, K]`, which actions are allowed, those of a MultiDiscrete side by side; None where the
            environments do not tell. An action that is not allowed ends the role.
    """

    observation: np.ndarray
    begins: np.ndarray
    valid: np.ndarray
    reward: np.ndarray
    mask: np.ndarray | None = None


@dataclass
class ActionScores:
    """Scores by which a policy chose its action, for display.

    Args:
        label: what the values are, e.g. `probability`.
        values: `[N, K]`, in the order of the actions; NaN for one that is not allowed.
        range: between which they lie, where that is known.
    """

    label: str
    values: np.ndarray
    range: tuple[float, float] | None = None


@dataclass
class Acted:
    """What an actor decided for `N` environments.

    Attributes:
        action: what is stored and trained on; the action space maps it to what the environment takes.
        extras: one array `[N, ...]` for each of the algorithm's `fields` that acting fills (`finish`
            fills the others); may be empty when greedy.
        scores: by which the action was chosen; videos show them.
        kept: arrays `[N, ...]` that `finish` needs of this step and that travel nowhere, always the same names; may be
            empty when greedy.
    """

    action: np.ndarray
    extras: Arrays = field(default_factory=dict)
    scores: ActionScores | None = None
    kept: Arrays = field(default_factory=dict)


class Policy:
    """The newest policy version, with the memory of one group of environments.

    Args:
        networks: shared by all groups of the process.
        count: `N`, environments of the group.

    Attributes:
        core: float32 `[N, size]`, the memory before the next call; of size 0 for a network without.
    """

    def __init__(self, networks: ActingNetworks, count: int) -> None:
        self._networks = networks
        self._engine = next(iter(networks.engines.values()), None)
        self._remembers = networks.core_size > 0
        self.core = np.zeros((count, networks.core_size), np.float32)

    def change_to(self, networks: ActingNetworks) -> None:
        """Act with another version from the next call on; the memory stays."""
        self._networks = networks
        self._engine = next(iter(networks.engines.values()), None)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """What `Learner.publish` returned for this version."""
        return self._networks.arrays

    def part(self, name: str) -> Engine:
        """One of the acting networks, as a function of its inputs."""
        return self._networks.engines[name]

    def draw(self, rng: np.random.Generator) -> None:
        """Draw the weights of noisy networks anew; a version that is new acts with its means until then, as an actor that
        is greedy always does.

        Args:
            rng: an actor's `self.rng`.
        """
        for engine in self._networks.engines.values():
            if isinstance(engine, NoisyEngine):
                engine.draw(rng)

    def use_means(self) -> None:
        """Act with the means of noisy networks until the next draw."""
        for engine in self._networks.engines.values():
            if isinstance(engine, NoisyEngine):
                engine.use_means()

    def forget(self, begins: np.ndarray) -> None:
        """Clear the memory where an episode begins, bool `[N]`."""
        if self._remembers:
            self.core[begins] = 0

    def __call__(self, seen: Seen) -> Arrays:
        """The outputs of the first acting network, `{head: float32 [N, size]}`, valid until the next call.

        Raises:
            RunError: the algorithm has no acting network.
        """
        if self._engine is None:
            raise RunError(
                "no network of this algorithm acts: name the heads that acting computes, as in "
                "Net(heads, acts=('logits',)), or use policy.arrays"
            )
        if self._remembers:
            return self._engine(seen.observation, core=self.core)
        return self._engine(seen.observation)


class Actor:
    """The acting half of an algorithm, for one group of environments.

    It is made anew whenever all episodes begin anew, so what it keeps in `self` is of these episodes.

    Attributes:
        kind: of what it does in evaluations, in `acting_form.KINDS`; not inherited. Empty where only the class itself
            can do it.
    """

    kind: ClassVar[str] = ""

    def __init__(self, algorithm: Any, policy: Policy, place: Place) -> None:
        self.algorithm, self.policy, self.place, self.rng = algorithm, policy, place, place.rng

    def act(self, seen: Seen) -> Acted:
        """Choose the next actions."""
        raise NotImplementedError

    def finish(self, segment: Arrays) -> None:
        """Fill the fields that need the whole segment (for example n-step returns), in place.

        By default there are none. The segments of an episode come in their order, but with an application `act` may have
        gone on meanwhile, as rewards come late, and a segment may have fewer rows than there are in others. So what is
        needed of its steps belongs into `Acted.kept`.

        Args:
            segment: its rows, `[T, N, ...]`, and under their names those of `Acted.kept`.
        """
