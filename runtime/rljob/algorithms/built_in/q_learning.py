"""Q-learning with a table (Watkins 1989; Sutton & Barto 2018, section 6.5). There is no torch in it.

Rollouts explore epsilon-greedily. The learner takes the segments' transitions once, in their order, and
publishes the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rljob.algorithms.base import (
    AlgorithmConfig,
    Arrays,
    Count,
    EpsilonSpread,
    Field,
    Learner,
    Net,
    OnPolicy,
    Place,
    Policy,
    Progress,
    Rate,
    Schedule,
    SchedulePhase,
    Share,
    Update,
)
from rljob.algorithms.masking import forbid
from rljob.algorithms.tables import TableActor, table_shape
from rljob.envs.spaces import Spaces


class QLearningConfig(AlgorithmConfig):
    """Settings of QLearning (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(0.1)
    """Share of the error by which an entry of the table is corrected."""
    gamma: Share = 0.99
    """Discount per environment step."""
    rollout_length: Count = 16
    """Environment steps in one segment."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""
    epsilon: Schedule[Share] = Schedule(SchedulePhase(from_=1.0, to=0.05))
    """Share of random actions."""
    epsilon_spread: EpsilonSpread = 0.0
    """Each environment has its own epsilon: from epsilon in the job's first to epsilon ** (1 + epsilonSpread) in its last."""


class QLearning:
    """See the module; settings in `QLearningConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = QLearningConfig

    fields: tuple[Field, ...] = ()
    networks: ClassVar[Mapping[str, Net]] = {}

    def __init__(self, config: QLearningConfig, spaces: Spaces) -> None:
        self.config, self.shape = config, table_shape("QLearning", spaces)
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)

    def actor(self, policy: Policy, place: Place) -> TableActor:
        return TableActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> QLearningLearner:
        return QLearningLearner(self.config, np.zeros(self.shape))


class QLearningLearner(Learner):
    """The learning half of Q-learning."""

    def __init__(self, config: QLearningConfig, q: np.ndarray) -> None:
        self._config, self._q = config, q

    def update(self, batch: Arrays, progress: Progress) -> Update:
        config, q = self._config, self._q
        rate = config.learning_rate.at(progress)
        seen, action, reward = (batch[name] for name in ("observation", "action", "reward"))
        mask = batch.get("mask")
        errors = []
        # One after the other: several at once would correct an entry that they share too far.
        for t, env in np.argwhere(batch["valid"]):
            entry = seen[t, env], action[t, env]
            following = forbid(q[seen[t + 1, env]], None if mask is None else mask[t + 1, env])
            ahead = 0.0 if batch["terminated"][t, env] else following.max()
            error = reward[t, env] + config.gamma * ahead - q[entry]
            q[entry] += rate * error
            errors.append(abs(error))
        return Update({"error": float(np.mean(errors))} if errors else {})

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"q": self._q, "epsilon": self._config.epsilon.at(progress)}
