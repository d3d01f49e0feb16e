"""Quantile regression DQN (Dabney et al. 2018, https://arxiv.org/abs/1710.10044).

Distributional Q-learning. For each action the network predicts quantiles of the return, each of which stands for
an equal share of the probability. Their mean is the action's value. They are trained by quantile regression
towards the quantiles of the target network. Rollouts explore epsilon-greedily and compute the n-step returns of
their own segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field as Bounds
from pydantic import model_validator

from rljob.algorithms.base import (
    Acted,
    ActionScores,
    Actor,
    AlgorithmConfig,
    Arrays,
    Coefficient,
    Count,
    Head,
    Learner,
    Net,
    Place,
    Policy,
    Positive,
    Progress,
    Rate,
    Replay,
    Schedule,
    SchedulePhase,
    Seen,
    Share,
    Update,
)
from rljob.algorithms.epsilon_greedy import epsilon_greedy
from rljob.algorithms.importance import importance_weights
from rljob.algorithms.masking import forbid, hide
from rljob.algorithms.n_step import N_STEP_FIELDS, check_n_step, fill_n_step
from rljob.envs.spaces import DiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.spec.schema import AS_INTEGER

if TYPE_CHECKING:
    from rljob.nets.torch_nets import Network


class QRDQNConfig(AlgorithmConfig):
    """Settings of QRDQN (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(5e-4)
    """Step size of Adam."""
    gamma: Share = 0.99
    """Discount per environment step."""
    n_step: Count = 1
    """Environment steps of reward before the target network's estimate."""
    double: bool = False
    """Double Q-learning: the learning network chooses the action, the target network values it."""
    quantiles: Annotated[int, Bounds(ge=1, le=1000), AS_INTEGER] = 200
    """Quantiles of the return for each action."""
    huber_threshold: Coefficient = 1.0
    """Errors below it count by their square; 0 is quantile regression proper."""
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
    replay: Literal["uniform", "prioritised"] = "uniform"
    """How transitions are sampled."""
    priority_exponent: Share = 0.6
    """0 samples uniformly, 1 in proportion to the loss; for prioritised replay."""
    importance_exponent: Schedule[Share] = Schedule(SchedulePhase(from_=0.4, to=1.0))
    """Correction of the sampling bias, 1 in full; for prioritised replay."""

    @model_validator(mode="after")
    def _steps_fit_a_segment(self) -> Self:
        check_n_step(self.n_step, self.rollout_length)
        return self


class QuantileLoss(NamedTuple):
    """The loss, that of each transition unweighted, `[B]`, and its derivative by the quantiles, `[B, N]`."""

    total: float
    each: np.ndarray
    by_quantile: np.ndarray


def quantile_huber_loss(
    quantiles: np.ndarray, target: np.ndarray, threshold: float, weight: np.ndarray | None
) -> QuantileLoss:
    """Mean over the batch of the quantile Huber loss: summed over quantiles, averaged over targets.

    Quantile `i` is that of the middle of its share, `(i + 1/2) / N`. An error `u`, target minus quantile, costs
    `u² / 2k` where it is below the threshold `k`, else `|u| - k/2`; times `(i + 1/2) / N` if it is positive,
    else times `1 - (i + 1/2) / N`.

    Args:
        quantiles: predicted for the chosen actions, float32 `[B, N]`.
        target: float32 `[B, M]`, equally likely returns.
        threshold: `k`.
        weight: of each transition, float32 `[B]`; None is 1.
    """
    count = quantiles.shape[1]
    middle = ((np.arange(count, dtype=np.float32) + 0.5) / count)[:, None]
    error = target[:, None, :] - quantiles[:, :, None]
    slope = np.clip(error / threshold, -1, 1) if threshold > 0 else np.sign(error)
    weighted = np.where(error < 0, 1 - middle, middle) * slope
    each = (weighted * (error - 0.5 * threshold * slope)).mean(axis=2).sum(axis=1)
    by_quantile = -weighted.mean(axis=2) / np.float32(len(quantiles))
    if weight is None:
        return QuantileLoss(float(each.mean()), each, by_quantile)
    return QuantileLoss(float((each * weight).mean()), each, by_quantile * weight[:, None])


class QRDQN:
    """See the module; settings in `QRDQNConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = QRDQNConfig

    fields = N_STEP_FIELDS

    def __init__(self, config: QRDQNConfig, spaces: Spaces) -> None:
        if not isinstance(spaces.action, DiscreteSpace):
            raise InputError(
                f"QRDQN needs Discrete actions and cannot use {spaces.action}; environment.convert.action can "
                "make them discrete, and PPO can use them",
                path="environment",
            )
        self.config, self.shape = config, (spaces.action.n, config.quantiles)
        prioritised = config.replay == "prioritised"
        self.data = Replay(
            segment_length=config.rollout_length,
            batch_size=config.batch_size,
            min_size=config.min_size,
            samples_per_insert=config.samples_per_insert,
            priority_exponent=config.priority_exponent if prioritised else 0.0,
            updates_per_publish=config.updates_per_publish,
        )
        head = Head(spaces.action.n * config.quantiles)
        self.networks: Mapping[str, Net] = {
            "q": Net({"quantiles": head}, acts=("quantiles",), own_rate=True)
        }

    def actor(self, policy: Policy, place: Place) -> QRDQNActor:
        return QRDQNActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> QRDQNLearner:
        return QRDQNLearner(self, networks["q"])

    def quantiles(self, outputs: Arrays) -> np.ndarray:
        """Of the return of each action, `[B, actions, quantiles]`."""
        return outputs["quantiles"].reshape(-1, *self.shape)


class QRDQNActor(Actor):
    """The acting half of QRDQN."""

    algorithm: QRDQN

    def act(self, seen: Seen) -> Acted:
        value = self.algorithm.quantiles(self.policy(seen)).mean(axis=-1)
        if self.place.greedy:
            best = forbid(value, seen.mask).argmax(axis=-1)
            return Acted(best, scores=ActionScores("value", hide(value, seen.mask)))
        epsilon = self.policy.arrays["epsilon"]
        return Acted(epsilon_greedy(value, epsilon, self.rng, seen.mask))

    def finish(self, segment: Arrays) -> None:
        config = self.algorithm.config
        fill_n_step(segment, n=config.n_step, gamma=config.gamma)


class QRDQNLearner(Learner):
    """The learning half of QRDQN; draws no random numbers."""

    def __init__(self, algorithm: QRDQN, network: Any) -> None:
        from rljob.nets.torch_gradients import differentiable
        from rljob.nets.torch_optimizer import FlatAdam
        from rljob.nets.torch_target import Target

        config = self._config = algorithm.config
        self._algorithm = algorithm
        self._network: Network = network
        self._target = Target(network)
        self._rate = self._network.rate(config.learning_rate)
        self._optimizer = FlatAdam(
            network,
            learning_rate=self._rate.start,
            max_gradient_norm=config.max_gradient_norm,
        )
        self._learning, self._following = (
            differentiable(network),
            differentiable(self._target.network),
        )

    def update(self, batch: Arrays, progress: Progress) -> Update:
        config, quantiles_of = self._config, self._algorithm.quantiles
        rows = np.arange(len(batch["action"]))
        ahead, mask = self._learning.place(batch["next_observation"]), batch.get("next_mask")
        following = quantiles_of(self._following(ahead))
        judged = quantiles_of(self._learning(ahead)) if config.double else following
        best = forbid(judged.mean(axis=-1), mask).argmax(axis=-1)
        discount = batch["n_step_discount"][:, None]
        target = batch["n_step_return"][:, None] + discount * following[rows, best]

        outputs, backward = self._learning.with_backward(batch["observation"])
        quantiles = quantiles_of(outputs)
        prioritised = config.replay == "prioritised"
        exponent = config.importance_exponent.at(progress)
        weight = importance_weights(batch, exponent) if prioritised else None
        taken = quantiles[rows, batch["action"]]
        loss = quantile_huber_loss(taken, target, config.huber_threshold, weight)
        gradient = np.zeros_like(quantiles)
        gradient[rows, batch["action"]] = loss.by_quantile
        backward({"quantiles": gradient.reshape(len(rows), -1)})
        rate = self._rate.at(progress)
        norm = self._optimizer.descend(rate)

        if (progress.updates + 1) % config.target_update_interval == 0:
            self._target.follow(config.tau.at(progress))
        metrics = {
            "loss": loss.total,
            "mean_q": float(quantiles.mean()),
            "gradient_norm": norm,
            "learning_rate": rate,
        }
        return Update(metrics, loss.each + np.float32(1e-6) if prioritised else None)

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"epsilon": self._config.epsilon.at(progress)}
