"""Action distributions: one object per action space, acting in numpy and learning in torch; and the actor that
samples from one.

Discrete and MultiDiscrete use independent categoricals over `logits`; Box uses a diagonal Gaussian
with the network's `mean` and a free `log_std`. Actions are in stored units (see `spaces`).

A `mask`, bool `[N, K]` with the size of the logits, says which actions are allowed: the others have probability
0, take no part in the entropy and get no gradient. A Box has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from rljob.algorithms.acting import Acted, ActionScores, Actor, Seen
from rljob.algorithms.masking import FORBIDDEN, forbid
from rljob.envs.spaces import Arrays, BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space
from rljob.nets.head import Head

if TYPE_CHECKING:
    from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


class Distribution(Protocol):
    """What PPO needs of an action distribution; `outputs` are those of `heads`, `[N, size]`."""

    @property
    def heads(self) -> Mapping[str, Head]:
        """Outputs that it needs of the network."""
        ...

    def sample(
        self,
        outputs: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        mask: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Actions `[N, ...]` and their log-probabilities, float32 `[N]`."""
        ...

    def mode(self, outputs: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> np.ndarray:
        """The likeliest actions `[N, ...]`."""
        ...

    def shown(
        self, outputs: Mapping[str, np.ndarray], mask: np.ndarray | None = None
    ) -> ActionScores:
        """The scores of the actions."""
        ...

    def evaluate(
        self, outputs: Mapping[str, Tensor], action: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probability `[B]` of the actions, and the entropy `[B]`."""
        ...

    def divergence(
        self, before: Mapping[str, Tensor], after: Mapping[str, Tensor], mask: Tensor | None = None
    ) -> Tensor:
        """KL divergence (nats) of what the outputs `after` say from what `before` said: `[B]`."""
        ...


class Categorical:
    """One choice of `n`."""

    def __init__(self, n: int) -> None:
        self.heads = {"logits": Head(n, gain=0.01, trunk="policy", per_action=True)}

    def sample(
        self,
        outputs: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        mask: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        return _sample_categorical(forbid(outputs["logits"], mask), rng)

    def mode(self, outputs: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> np.ndarray:
        action: np.ndarray = forbid(outputs["logits"], mask).argmax(axis=-1)
        return action

    def shown(
        self, outputs: Mapping[str, np.ndarray], mask: np.ndarray | None = None
    ) -> ActionScores:
        return ActionScores("probability", _softmax(forbid(outputs["logits"], mask)), (0.0, 1.0))

    def evaluate(
        self, outputs: Mapping[str, Tensor], action: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return _evaluate_categorical(_forbid(outputs["logits"], mask), action)

    def divergence(
        self, before: Mapping[str, Tensor], after: Mapping[str, Tensor], mask: Tensor | None = None
    ) -> Tensor:
        return _divergence(*(_forbid(each["logits"], mask) for each in (before, after)))


class MultiCategorical:
    """Independent choices, the i-th of `nvec[i]`; logits side by side."""

    def __init__(self, nvec: tuple[int, ...]) -> None:
        self._nvec = list(nvec)
        self._starts = np.cumsum(self._nvec)[:-1]
        self.heads = {"logits": Head(sum(nvec), gain=0.01, trunk="policy")}

    def sample(
        self,
        outputs: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        mask: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = np.split(forbid(outputs["logits"], mask), self._starts, axis=-1)
        drawn = [_sample_categorical(part, rng) for part in parts]
        action = np.stack([action for action, _ in drawn], axis=-1)
        return action, np.sum([log_prob for _, log_prob in drawn], axis=0)

    def mode(self, outputs: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> np.ndarray:
        parts = np.split(forbid(outputs["logits"], mask), self._starts, axis=-1)
        return np.stack([part.argmax(axis=-1) for part in parts], axis=-1)

    def shown(
        self, outputs: Mapping[str, np.ndarray], mask: np.ndarray | None = None
    ) -> ActionScores:
        parts = np.split(forbid(outputs["logits"], mask), self._starts, axis=-1)
        each = [_softmax(part) for part in parts]
        return ActionScores("probability", np.concatenate(each, axis=-1), (0.0, 1.0))

    def evaluate(
        self, outputs: Mapping[str, Tensor], action: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        logits = _forbid(outputs["logits"], mask)
        parts = logits.split(self._nvec, dim=-1)  # type: ignore[no-untyped-call]
        each = [_evaluate_categorical(part, action[:, i]) for i, part in enumerate(parts)]
        log_prob, entropy = each[0]
        for other_log_prob, other_entropy in each[1:]:
            log_prob, entropy = log_prob + other_log_prob, entropy + other_entropy
        return log_prob, entropy

    def divergence(
        self, before: Mapping[str, Tensor], after: Mapping[str, Tensor], mask: Tensor | None = None
    ) -> Tensor:
        logits = (_forbid(each["logits"], mask) for each in (before, after))
        parts = (each.split(self._nvec, dim=-1) for each in logits)  # type: ignore[no-untyped-call]
        first, *others = [_divergence(*pair) for pair in zip(*parts, strict=True)]
        for other in others:
            first = first + other
        return first


class DiagonalGaussian:
    """Independent normals over the flattened Box; samples are not clipped, the environment's are."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        size = math.prod(shape)
        self.heads = {
            "mean": Head(size, gain=0.01, trunk="policy"),
            "log_std": Head(size, free=True),
        }

    def sample(
        self,
        outputs: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        mask: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        mean, log_std = outputs["mean"], outputs["log_std"]
        noise = rng.standard_normal(mean.shape, dtype=np.float32)
        action = mean + np.exp(log_std) * noise
        log_prob = -(0.5 * noise * noise + log_std + np.float32(0.5 * _LOG_2PI)).sum(axis=-1)
        return action.reshape(len(mean), *self._shape), log_prob

    def mode(self, outputs: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> np.ndarray:
        mean = outputs["mean"]
        return mean.reshape(len(mean), *self._shape).copy()

    def shown(
        self, outputs: Mapping[str, np.ndarray], mask: np.ndarray | None = None
    ) -> ActionScores:
        # A bounded action is stored between -1 and 1, and the environment's own is clipped.
        return ActionScores("mean", outputs["mean"], (-1.0, 1.0))

    def evaluate(
        self, outputs: Mapping[str, Tensor], action: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        mean, log_std = outputs["mean"], outputs["log_std"]
        noise = (action.reshape(len(action), -1) - mean) * (-log_std).exp()
        spread = log_std.sum(-1)
        constant = 0.5 * _LOG_2PI * mean.shape[-1]
        log_prob = noise.square().sum(-1) * -0.5 - spread - constant
        return log_prob, spread + (constant + 0.5 * mean.shape[-1])

    def divergence(
        self, before: Mapping[str, Tensor], after: Mapping[str, Tensor], mask: Tensor | None = None
    ) -> Tensor:
        wider = after["log_std"] - before["log_std"]
        moved = (after["mean"] - before["mean"]) * (-after["log_std"]).exp()
        each = wider + 0.5 * ((-2 * wider).exp() + moved.square() - 1)
        return each.sum(-1)


class DistributionActor(Actor):
    """Samples actions and stores their log-probabilities in the field `log_prob`; greedy, takes the likeliest."""

    kind: ClassVar[str] = "distribution"
    algorithm: Distribution

    def outputs(self, seen: Seen) -> Arrays:
        """The heads of the distribution, float `[N, size]`: outputs of the first acting network."""
        return self.policy(seen)

    def act(self, seen: Seen) -> Acted:
        distribution, outputs = self.algorithm, self.outputs(seen)
        if self.place.greedy:
            scores = distribution.shown(outputs, seen.mask)
            return Acted(distribution.mode(outputs, seen.mask), scores=scores)
        action, log_prob = distribution.sample(outputs, self.rng, seen.mask)
        return Acted(action, {"log_prob": log_prob})


class TabularDistributionActor(DistributionActor):
    """The same, and the distribution's parameters are rows of published tables, `[states, size]`."""

    kind: ClassVar[str] = "tabularDistribution"

    def outputs(self, seen: Seen) -> Arrays:
        arrays = self.policy.arrays
        return {name: arrays[name][seen.observation] for name in self.algorithm.heads}


def distribution_for(space: Space) -> Distribution:
    """The distribution for an action space; a Box of integers is rounded by the space itself."""
    match space:
        case DiscreteSpace():
            return Categorical(space.n)
        case MultiDiscreteSpace():
            return MultiCategorical(space.nvec)
        case BoxSpace():
            return DiagonalGaussian(space.shape)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities


def _sample_categorical(
    logits: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Inversion of the cumulative probabilities: half the time of Gumbel-max."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    cumulative = np.exp(shifted).cumsum(axis=-1)
    total = cumulative[:, -1]
    # The threshold lies in (0, total], so that a choice whose probability rounds to 0 is never taken.
    threshold = (1 - rng.random(len(logits), dtype=np.float32)) * total
    action = (cumulative < threshold[:, None]).sum(axis=-1)
    return action, shifted[np.arange(len(logits)), action] - np.log(total)


def _forbid(logits: Tensor, mask: Tensor | None) -> Tensor:
    return logits if mask is None else logits.masked_fill(~mask, FORBIDDEN)


def _evaluate_categorical(logits: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    log_probs = logits.log_softmax(-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    return log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1), entropy


def _divergence(before: Tensor, after: Tensor) -> Tensor:
    """Of the categoricals with these logits."""
    log_before, log_after = before.log_softmax(-1), after.log_softmax(-1)
    return (log_before.exp() * (log_before - log_after)).sum(-1)
