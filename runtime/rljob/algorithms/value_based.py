"""What algorithms have in common that learn the values of Discrete actions from replay: their settings. No torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from rljob.algorithms.base import (
    AlgorithmConfig,
    Coefficient,
    Count,
    EpsilonSpread,
    Positive,
    Rate,
    Replay,
    Schedule,
    SchedulePhase,
    Share,
)
from rljob.algorithms.n_step import check_n_step
from rljob.envs.spaces import DiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.spec.experience import Weighting

_WEIGHTINGS: dict[str, Weighting] = {
    "prioritised": "proportional",
    "rank": "rank",
    "linearRank": "linearRank",
}


class ValueBasedConfig(AlgorithmConfig):
    """Settings that these algorithms share (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(5e-4)
    """Step size of Adam."""
    gamma: Share = 0.99
    """Discount per environment step."""
    n_step: Count = 1
    """Environment steps of reward before the target network's estimate."""
    double: bool = False
    """Double Q-learning: the learning network chooses the action, the target network values it."""
    rollout_length: Count = 32
    """Environment steps in one segment."""
    batch_size: Count = 64
    """Transitions in one update."""
    min_size: Count = 1000
    """Transitions stored before the first update."""
    samples_per_insert: Positive = 8.0
    """Transitions trained on for each stored transition."""
    updates_per_publish: Count = 8
    """Updates between two policy versions."""
    target_update_interval: Count = 250
    """Updates between two updates of the target network."""
    tau: Schedule[Rate] = Schedule(1.0)
    """Share of the learning network that is mixed into the target network; 1 copies."""
    max_gradient_norm: Positive | None = 10.0
    """Gradients are scaled down to this L2 norm."""
    epsilon: Schedule[Share] = Schedule(SchedulePhase(from_=1.0, to=0.05, steps=10_000))
    """Share of random actions."""
    epsilon_spread: EpsilonSpread = 0.0
    """Each environment has its own epsilon: from epsilon in the job's first to epsilon ** (1 + epsilonSpread) in its last."""
    replay: Literal["uniform", "prioritised", "rank", "linearRank"] = "uniform"
    """How transitions are sampled; all but uniform is prioritised replay."""
    priority_exponent: Share = 0.6
    """0 samples uniformly; the higher, the more often what has a high priority; for prioritised replay."""
    importance_exponent: Schedule[Share] = Schedule(SchedulePhase(from_=0.4, to=1.0))
    """Correction of the sampling bias, 1 in full; for prioritised replay."""

    @model_validator(mode="after")
    def _steps_fit_a_segment(self) -> Self:
        check_n_step(self.n_step, self.rollout_length)
        return self

    @property
    def prioritised(self) -> bool:
        """Whether transitions have priorities."""
        return self.replay != "uniform" and self.priority_exponent > 0

    def data(self) -> Replay:
        """How experience is used."""
        return Replay(
            segment_length=self.rollout_length,
            batch_size=self.batch_size,
            min_size=self.min_size,
            samples_per_insert=self.samples_per_insert,
            priority_exponent=self.priority_exponent if self.prioritised else 0.0,
            updates_per_publish=self.updates_per_publish,
            weighting=_WEIGHTINGS[self.replay] if self.prioritised else "proportional",
        )


class NoisyConfig(ValueBasedConfig):
    """The same for algorithms whose one network may be noisy."""

    noisy: bool = False
    """Explore by noise on the weights of dense layers, whose scale is learned; needs epsilon to be set, usually to 0."""
    noisy_scale: Coefficient = 0.5
    """Scale of the noise at the start, times the square root of a layer's inputs; for noisy."""

    @model_validator(mode="after")
    def _noise_replaces_random_actions(self) -> Self:
        if self.noisy and "epsilon" not in self.model_fields_set:
            raise ValueError(
                "noisy explores by itself: set epsilon: 0, or the share of random actions that remains"
            )
        if self.noisy and not self.noisy_scale:
            raise ValueError("noisy needs a noisyScale above 0, and it is 0")
        return self

    @property
    def noise(self) -> float:
        """See `rljob.nets.head.Net`."""
        return self.noisy_scale if self.noisy else 0.0


def discrete_actions(algorithm: str, spaces: Spaces) -> int:
    """The number of actions.

    Raises:
        InputError: they are not Discrete.
    """
    if not isinstance(spaces.action, DiscreteSpace):
        raise InputError(
            f"{algorithm} needs Discrete actions and cannot use {spaces.action}; environment.convert.action can "
            "make them discrete, and PPO can use them",
            path="environment",
        )
    return spaces.action.n
