"""Dyna-Q (Sutton 1990, https://doi.org/10.1016/B978-1-55860-141-3.50030-4; Sutton & Barto 2018, section 8.2): Q-learning
that also learns a model of the environment, and from the transitions that the model imagines. There is no torch in it.

The model counts what followed each action, so that it also fits environments that answer at random. The learner takes
the segments' transitions once, in their order, and then plans as many times as it is told for each of them.
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
from rljob.algorithms.table_model import TableModel
from rljob.algorithms.tables import TableActor, table_shape, transitions
from rljob.envs.spaces import Spaces


class DynaQConfig(AlgorithmConfig):
    """Settings of DynaQ (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(0.1)
    """Share of the error by which an entry of the table is corrected."""
    gamma: Share = 0.99
    """Discount per environment step."""
    planning_steps: Count = 10
    """Imagined transitions that are learned from for each real one."""
    rollout_length: Count = 16
    """Environment steps in one segment."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""
    epsilon: Schedule[Share] = Schedule(SchedulePhase(from_=1.0, to=0.05))
    """Share of random actions."""
    epsilon_spread: EpsilonSpread = 0.0
    """Each environment has its own epsilon: from epsilon in the job's first to epsilon ** (1 + epsilonSpread) in its last."""


class DynaQ:
    """See the module; settings in `DynaQConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = DynaQConfig

    fields: tuple[Field, ...] = ()
    networks: ClassVar[Mapping[str, Net]] = {}

    def __init__(self, config: DynaQConfig, spaces: Spaces) -> None:
        self.config, self.shape = config, table_shape("DynaQ", spaces)
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)

    def actor(self, policy: Policy, place: Place) -> TableActor:
        return TableActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> DynaQLearner:
        return DynaQLearner(self.config, np.zeros(self.shape), seed)


class DynaQLearner(Learner):
    """The learning half of Dyna-Q."""

    def __init__(self, config: DynaQConfig, q: np.ndarray, seed: int) -> None:
        self._config, self._q = config, q
        self._model = TableModel(*q.shape)
        self._rng = np.random.default_rng(seed)

    def update(self, batch: Arrays, progress: Progress) -> Update:
        rate, model = self._config.learning_rate.at(progress), self._model
        model.observe_masks(batch)
        real = []
        for transition in transitions(batch):
            real.append(self._correct(rate, *transition))
            model.observe(*transition)
        if not real:
            return Update({})
        drawn = model.draw(self._rng, len(real) * self._config.planning_steps)
        imagined = [
            self._correct(rate, *transition)
            for transition in zip(*(each.tolist() for each in drawn), strict=True)
        ]
        metrics = {
            "error": float(np.mean(real)),
            "planning_error": float(np.mean(imagined)),
            "model_share": float(np.mean(model.tried > 0)),
        }
        return Update(metrics)

    def _correct(
        self, rate: float, state: int, action: int, following: int, reward: float, terminated: bool
    ) -> float:
        """Q-learning with one transition; the absolute error."""
        q = self._q
        ahead = 0.0 if terminated else forbid(q[following], self._model.allowed[following]).max()
        error = reward + self._config.gamma * ahead - q[state, action]
        q[state, action] += rate * error
        return abs(float(error))

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"q": self._q, "epsilon": self._config.epsilon.at(progress)}
