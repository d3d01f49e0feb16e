"""C51, categorical deep Q-learning (Bellemare et al. 2017, https://arxiv.org/abs/1707.06887).

Distributional Q-learning. For each action the network predicts how likely each of a fixed row of returns, the
atoms, is. The expectation is the action's value. The distribution is trained towards that of the target network,
which is discounted, shifted by the reward and projected onto the atoms. Rollouts explore epsilon-greedily or by noise,
and compute the n-step returns of their own segments.

With `double`, `dueling`, `noisy`, n-step returns and prioritised replay it is Rainbow (Hessel et al. 2018,
https://arxiv.org/abs/1710.02298).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
from pydantic import Field as Bounds
from pydantic import model_validator

from rljob.algorithms.base import (
    AlgorithmConfig,
    Arrays,
    Head,
    Net,
    Place,
    Policy,
    Progress,
    Update,
)
from rljob.algorithms.masking import forbid
from rljob.algorithms.n_step import N_STEP_FIELDS
from rljob.algorithms.value_actors import AtomsActor, AtomValues
from rljob.algorithms.value_based import NoisyConfig, discrete_actions
from rljob.algorithms.value_learner import ValueLearner
from rljob.envs.spaces import Spaces
from rljob.spec.schema import AS_INTEGER

Value = Annotated[float, Bounds(ge=-1_000_000, le=1_000_000)]


class C51Config(NoisyConfig):
    """Settings of C51 (`algorithm.config`)."""

    dueling: bool = False
    """Separate heads for the state's value and the actions' advantages, whose logits are added."""
    atoms: Annotated[int, Bounds(ge=2, le=1000), AS_INTEGER] = 51
    """Returns whose probability is predicted, at equal distances from valueMin to valueMax."""
    value_min: Value = -10.0
    """Smallest return that can be predicted."""
    value_max: Value = 10.0
    """Largest return that can be predicted."""

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
        self.config, self.data = config, config.data()
        actions = discrete_actions("C51", spaces)
        self.shape = (actions, config.atoms)
        self.returns = AtomValues(
            actions, config.atoms, config.value_min, config.value_max, config.dueling
        )
        heads = {"logits": Head(actions * config.atoms, trunk="q")}
        if config.dueling:
            heads["value"] = Head(config.atoms, trunk="q")
        self.networks: Mapping[str, Net] = {
            "q": Net(heads, acts=tuple(heads), own_rate=True, noise=config.noise)
        }

    def actor(self, policy: Policy, place: Place) -> AtomsActor:
        return AtomsActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> C51Learner:
        return C51Learner(self, networks["q"], seed)

    def by_output(self, by_logit: np.ndarray) -> Arrays:
        """The derivative by each output, where that by the logits `[B, actions, atoms]` is `by_logit`."""
        if not self.config.dueling:
            return {"logits": by_logit.reshape(len(by_logit), -1)}
        centred = by_logit - by_logit.mean(axis=1, keepdims=True)
        return {"logits": centred.reshape(len(by_logit), -1), "value": by_logit.sum(axis=1)}


class C51Learner(ValueLearner):
    """The learning half of C51."""

    def __init__(self, algorithm: C51, network: Any, seed: int) -> None:
        super().__init__(algorithm.config, network, seed)
        self._algorithm = algorithm

    def update(self, batch: Arrays, progress: Progress) -> Update:
        algorithm, config = self._algorithm, self._algorithm.config
        self.draw_noise()
        rows = np.arange(len(batch["action"]))
        ahead, mask = self.learning.place(batch["next_observation"]), batch.get("next_mask")
        following = algorithm.returns.log_probabilities(self.following(ahead))
        judged = following
        if config.double:
            judged = algorithm.returns.log_probabilities(self.learning(ahead))
        best = forbid(algorithm.returns.values(judged), mask).argmax(axis=-1)
        probability = np.exp(following[rows, best])
        discount = batch["n_step_discount"][:, None]
        returns = batch["n_step_return"][:, None] + discount * algorithm.returns.support
        beyond = (returns < config.value_min) | (returns > config.value_max)
        target = project(probability, returns, algorithm.returns.support)

        outputs, backward = self.learning.with_backward(batch["observation"])
        log_probability = algorithm.returns.log_probabilities(outputs)
        weight = self.weights(batch, progress)
        loss = categorical_loss(log_probability[rows, batch["action"]], target, weight)
        gradient = np.zeros_like(log_probability)
        gradient[rows, batch["action"]] = loss.by_logit
        backward(algorithm.by_output(gradient))
        metrics = {
            "loss": loss.total,
            "mean_q": float(algorithm.returns.values(log_probability).mean()),
            "beyond_range": float((probability * beyond).sum(axis=-1).mean()),
            **self.descend(progress),
        }
        return Update(metrics, self.priorities(loss.divergence))
