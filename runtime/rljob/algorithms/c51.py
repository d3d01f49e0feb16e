"""C51, categorical deep Q-learning (Bellemare et al. 2017, https://arxiv.org/abs/1707.06887).

Distributional Q-learning. For each action the network predicts how likely each of a fixed row of returns, the
atoms, is. The expectation is the action's value. The distribution is trained towards that of the target network,
which is discounted, shifted by the reward and projected onto the atoms. Rollouts explore epsilon-greedily and
compute the n-step returns of their own segments.
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


Value = Annotated[float, Bounds(ge=-1_000_000, le=1_000_000)]


class C51Config(AlgorithmConfig):
    """Settings of C51 (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(5e-4)
    """Step size of Adam."""
    gamma: Share = 0.99
    """Discount per environment step."""
    n_step: Count = 1
    """Environment steps of reward before the target network's estimate."""
    double: bool = False
    """Double Q-learning: the learning network chooses the action, the target network values it."""
    atoms: Annotated[int, Bounds(ge=2, le=1000), AS_INTEGER] = 51
    """Returns whose probability is predicted, at equal distances from valueMin to valueMax."""
    value_min: Value = -10.0
    """Smallest return that can be predicted."""
    value_max: Value = 10.0
    """Largest return that can be predicted."""
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
    """0 samples uniformly, 1 in proportion to the Kullback-Leibler divergence; for prioritised replay."""
    importance_exponent: Schedule[Share] = Schedule(SchedulePhase(from_=0.4, to=1.0))
    """Correction of the sampling bias, 1 in full; for prioritised replay."""

    @model_validator(mode="after")
    def _steps_fit_a_segment(self) -> Self:
        check_n_step(self.n_step, self.rollout_length)
        return self

    @model_validator(mode="after")
    def _values_have_a_range(self) -> Self:
        if self.value_min >= self.value_max:
            raise ValueError(
                f"valueMin ({self.value_min:g}) must be below valueMax ({self.value_max:g})"
            )
        return self


def project(probability: np.ndarray, returns: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Distributions moved onto the atoms: float32 `[B, atoms]`, each with the same sum as before.

    The probability of a return between two atoms goes to both, the more to the nearer one. That of a return
    beyond the ends goes to the atom at that end.

    Args:
        probability: float32 `[B, atoms]`.
        returns: which have these probabilities, float32 `[B, atoms]`.
        support: the atoms, ascending at equal distances, float32 `[atoms]`.
    """
    rows, atoms = probability.shape
    distance = (support[-1] - support[0]) / (atoms - 1)
    place = np.clip((returns - support[0]) / distance, 0, atoms - 1)
    lower = place.astype(np.int64)
    to_upper = probability * (place - lower)
    # An upper neighbour beyond the last atom would get nothing.
    upper = np.minimum(lower + 1, atoms - 1)
    first = np.arange(rows)[:, None] * atoms
    index = np.concatenate([(first + lower).ravel(), (first + upper).ravel()])
    mass = np.concatenate([(probability - to_upper).ravel(), to_upper.ravel()])
    return np.bincount(index, mass, rows * atoms).reshape(rows, atoms).astype(np.float32)


class CategoricalLoss(NamedTuple):
    """The loss, the divergence of each transition unweighted, `[B]`, and its derivative by the logits, `[B, atoms]`."""

    total: float
    divergence: np.ndarray
    by_logit: np.ndarray


def categorical_loss(
    log_probability: np.ndarray, target: np.ndarray, weight: np.ndarray | None
) -> CategoricalLoss:
    """Mean cross-entropy of the predicted distributions against their targets.

    Args:
        log_probability: predicted for the chosen actions, float32 `[B, atoms]`.
        target: probabilities, float32 `[B, atoms]`.
        weight: of each transition, float32 `[B]`; None is 1.
    """
    each = -(target * log_probability).sum(axis=-1)
    entropy = -(target * np.log(np.maximum(target, np.float32(1e-30)))).sum(axis=-1)
    divergence = np.maximum(each - entropy, 0)
    by_logit = (np.exp(log_probability) - target) / np.float32(len(target))
    if weight is not None:
        each, by_logit = each * weight, by_logit * weight[:, None]
    return CategoricalLoss(float(each.mean()), divergence, by_logit)


class C51:
    """See the module; settings in `C51Config`."""

    Config: ClassVar[type[AlgorithmConfig]] = C51Config

    fields = N_STEP_FIELDS

    def __init__(self, config: C51Config, spaces: Spaces) -> None:
        if not isinstance(spaces.action, DiscreteSpace):
            raise InputError(
                f"C51 needs Discrete actions and cannot use {spaces.action}; environment.convert.action can "
                "make them discrete, and PPO can use them",
                path="environment",
            )
        self.config, self.shape = config, (spaces.action.n, config.atoms)
        self.support = np.linspace(
            config.value_min, config.value_max, config.atoms, dtype=np.float32
        )
        prioritised = config.replay == "prioritised"
        self.data = Replay(
            segment_length=config.rollout_length,
            batch_size=config.batch_size,
            min_size=config.min_size,
            samples_per_insert=config.samples_per_insert,
            priority_exponent=config.priority_exponent if prioritised else 0.0,
            updates_per_publish=config.updates_per_publish,
        )
        head = Head(spaces.action.n * config.atoms)
        self.networks: Mapping[str, Net] = {
            "q": Net({"logits": head}, acts=("logits",), own_rate=True)
        }

    def actor(self, policy: Policy, place: Place) -> C51Actor:
        return C51Actor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> C51Learner:
        return C51Learner(self, networks["q"])

    def log_probabilities(self, outputs: Arrays) -> np.ndarray:
        """Of the atoms, for each action: `[B, actions, atoms]`."""
        logits = outputs["logits"].reshape(-1, *self.shape)
        shifted = logits - logits.max(axis=-1, keepdims=True)
        found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return found

    def values(self, log_probability: np.ndarray) -> np.ndarray:
        """Expected returns `[B, actions]`."""
        found: np.ndarray = np.exp(log_probability) @ self.support
        return found


class C51Actor(Actor):
    """The acting half of C51."""

    algorithm: C51

    def act(self, seen: Seen) -> Acted:
        value = self.algorithm.values(self.algorithm.log_probabilities(self.policy(seen)))
        if self.place.greedy:
            best = forbid(value, seen.mask).argmax(axis=-1)
            return Acted(best, scores=ActionScores("value", hide(value, seen.mask)))
        epsilon = self.policy.arrays["epsilon"]
        return Acted(epsilon_greedy(value, epsilon, self.rng, seen.mask))

    def finish(self, segment: Arrays) -> None:
        config = self.algorithm.config
        fill_n_step(segment, n=config.n_step, gamma=config.gamma)


class C51Learner(Learner):
    """The learning half of C51; draws no random numbers."""

    def __init__(self, algorithm: C51, network: Any) -> None:
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
        algorithm, config = self._algorithm, self._config
        rows = np.arange(len(batch["action"]))
        ahead, mask = self._learning.place(batch["next_observation"]), batch.get("next_mask")
        following = algorithm.log_probabilities(self._following(ahead))
        judged = following
        if config.double:
            judged = algorithm.log_probabilities(self._learning(ahead))
        best = forbid(algorithm.values(judged), mask).argmax(axis=-1)
        probability = np.exp(following[rows, best])
        discount = batch["n_step_discount"][:, None]
        returns = batch["n_step_return"][:, None] + discount * algorithm.support
        beyond = (returns < config.value_min) | (returns > config.value_max)
        target = project(probability, returns, algorithm.support)

        outputs, backward = self._learning.with_backward(batch["observation"])
        log_probability = algorithm.log_probabilities(outputs)
        prioritised = config.replay == "prioritised"
        exponent = config.importance_exponent.at(progress)
        weight = importance_weights(batch, exponent) if prioritised else None
        loss = categorical_loss(log_probability[rows, batch["action"]], target, weight)
        gradient = np.zeros_like(log_probability)
        gradient[rows, batch["action"]] = loss.by_logit
        backward({"logits": gradient.reshape(len(rows), -1)})
        rate = self._rate.at(progress)
        norm = self._optimizer.descend(rate)

        if (progress.updates + 1) % config.target_update_interval == 0:
            self._target.follow(config.tau.at(progress))
        metrics = {
            "loss": loss.total,
            "mean_q": float(algorithm.values(log_probability).mean()),
            "beyond_range": float((probability * beyond).sum(axis=-1).mean()),
            "gradient_norm": norm,
            "learning_rate": rate,
        }
        return Update(metrics, loss.divergence + np.float32(1e-6) if prioritised else None)

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"epsilon": self._config.epsilon.at(progress)}
