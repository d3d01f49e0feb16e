"""Quantile regression DQN (Dabney et al. 2018, https://arxiv.org/abs/1710.10044).

Distributional Q-learning. For each action the network predicts quantiles of the return, each of which stands for
an equal share of the probability. Their mean is the action's value. They are trained by quantile regression
towards the quantiles of the target network. Rollouts explore epsilon-greedily or by noise,
and compute the n-step returns of their own segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field as Bounds

from rljob.algorithms.base import (
    AlgorithmConfig,
    Arrays,
    Coefficient,
    Head,
    Net,
    Place,
    Policy,
    Progress,
    Update,
)
from rljob.algorithms.masking import forbid
from rljob.algorithms.n_step import N_STEP_FIELDS
from rljob.algorithms.quantile_regression import midpoints, quantile_huber_loss
from rljob.algorithms.value_actors import QuantilesActor
from rljob.algorithms.value_based import NoisyConfig, discrete_actions
from rljob.algorithms.value_learner import ValueLearner
from rljob.envs.spaces import Spaces
from rljob.spec.schema import AS_INTEGER


class QRDQNConfig(NoisyConfig):
    """Settings of QRDQN (`algorithm.config`)."""

    quantiles: Annotated[int, Bounds(ge=1, le=1000), AS_INTEGER] = 200
    """Quantiles of the return for each action."""
    huber_threshold: Coefficient = 1.0
    """Errors below it count by their square; 0 is quantile regression proper."""


class QRDQN:
    """See the module; settings in `QRDQNConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = QRDQNConfig

    fields = N_STEP_FIELDS

    def __init__(self, config: QRDQNConfig, spaces: Spaces) -> None:
        self.config, self.data = config, config.data()
        actions = discrete_actions("QRDQN", spaces)
        self.shape = (actions, config.quantiles)
        head = Head(actions * config.quantiles)
        self.networks: Mapping[str, Net] = {
            "q": Net({"quantiles": head}, acts=("quantiles",), own_rate=True, noise=config.noise)
        }

    def actor(self, policy: Policy, place: Place) -> QuantilesActor:
        return QuantilesActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> QRDQNLearner:
        return QRDQNLearner(self, networks["q"], seed)

    def quantiles(self, outputs: Arrays) -> np.ndarray:
        """Of the return of each action, `[B, actions, quantiles]`."""
        return outputs["quantiles"].reshape(-1, *self.shape)


class QRDQNLearner(ValueLearner):
    """The learning half of QRDQN."""

    def __init__(self, algorithm: QRDQN, network: Any, seed: int) -> None:
        super().__init__(algorithm.config, network, seed)
        self._algorithm = algorithm

    def update(self, batch: Arrays, progress: Progress) -> Update:
        config, quantiles_of = self._algorithm.config, self._algorithm.quantiles
        self.draw_noise()
        rows = np.arange(len(batch["action"]))
        ahead, mask = self.learning.place(batch["next_observation"]), batch.get("next_mask")
        following = quantiles_of(self.following(ahead))
        judged = quantiles_of(self.learning(ahead)) if config.double else following
        best = forbid(judged.mean(axis=-1), mask).argmax(axis=-1)
        discount = batch["n_step_discount"][:, None]
        target = batch["n_step_return"][:, None] + discount * following[rows, best]

        outputs, backward = self.learning.with_backward(batch["observation"])
        quantiles = quantiles_of(outputs)
        taken, weight = quantiles[rows, batch["action"]], self.weights(batch, progress)
        loss = quantile_huber_loss(
            taken, midpoints(config.quantiles), target, config.huber_threshold, weight
        )
        gradient = np.zeros_like(quantiles)
        gradient[rows, batch["action"]] = loss.by_quantile
        backward({"quantiles": gradient.reshape(len(rows), -1)})
        metrics = {
            "loss": loss.total,
            "mean_q": float(quantiles.mean()),
            **self.descend(progress),
        }
        return Update(metrics, self.priorities(loss.each))
