"""The policy gradient of whole returns with a table in place of a network (Williams 1992,
https://doi.org/10.1007/BF00992696; SRL's VanillaPolicy). There is no torch in it.

Each observation has its own policy: a softmax over Discrete actions, or a normal for each number of a Box; and its own
baseline, the mean of the returns from there (Sutton & Barto 2018, section 13.4), which SRL does not have. Only steps whose
episode ends within their segment are trained on, as the return of the others is not known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rljob.algorithms.base import (
    AlgorithmConfig,
    Arrays,
    Count,
    Field,
    Learner,
    Net,
    OnPolicy,
    Place,
    Policy,
    Positive,
    Progress,
    Rate,
    Schedule,
    Share,
    Update,
)
from rljob.algorithms.distributions import TabularDistributionActor, distribution_for
from rljob.algorithms.masking import forbid
from rljob.algorithms.tables import states_of
from rljob.algorithms.whole_returns import whole_returns
from rljob.envs.spaces import BoxSpace, MultiDiscreteSpace, Spaces
from rljob.errors import InputError


class VanillaPolicyConfig(AlgorithmConfig):
    """Settings of VanillaPolicy (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(0.05)
    """Step size of the gradient ascent, for each step that is trained on."""
    gamma: Share = 0.9
    """Discount per environment step."""
    rollout_length: Count = 128
    """Environment steps in one segment: more than an episode has."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""
    baseline_rate: Schedule[Share] = Schedule(0.05)
    """Share of the difference by which a return moves the baseline of its observation; at 0 there is no baseline."""
    initial_std: Positive = 0.5
    """Standard deviation of the actions at first, in units in which a bounded Box is from -1 to 1."""
    min_std: Positive = 0.2
    """Standard deviations do not fall below this."""
    std_rate: Share = 0.1
    """Factor of the step size for standard deviations."""
    max_gradient_norm: Positive | None = 1.0
    """The gradient of each step, times its return, is scaled down to this L2 norm."""


class VanillaPolicy:
    """See the module; settings in `VanillaPolicyConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = VanillaPolicyConfig

    fields = (Field("log_prob", "float32"),)
    networks: ClassVar[Mapping[str, Net]] = {}

    def __init__(self, config: VanillaPolicyConfig, spaces: Spaces) -> None:
        self._config, self._states = config, states_of("VanillaPolicy", spaces.observation)
        if isinstance(spaces.action, MultiDiscreteSpace):
            raise InputError(
                f"VanillaPolicy needs Discrete or Box actions and cannot use {spaces.action}; environment.convert.action "
                "can make them discrete, and PPO can use them",
                path="environment",
            )
        self._distribution = distribution_for(spaces.action)
        bounded = isinstance(spaces.action, BoxSpace) and spaces.action.bounded
        self._farthest = 1.0 if bounded else math.inf
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)

    def actor(self, policy: Policy, place: Place) -> TabularDistributionActor:
        return TabularDistributionActor(self._distribution, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> VanillaPolicyLearner:
        heads = self._distribution.heads
        tables = {name: np.zeros((self._states, head.size)) for name, head in heads.items()}
        if "log_std" in tables:
            tables["log_std"][:] = np.log(self._config.initial_std)
        return VanillaPolicyLearner(self._config, tables, np.zeros(self._states), self._farthest)


class VanillaPolicyLearner(Learner):
    """The learning half of VanillaPolicy; draws no random numbers.

    Args:
        tables: by the name of the distribution's heads, `[states, size]`.
        baseline: `[states]`.
        farthest: means stay within `-farthest` and `farthest`: beyond the bounds of a Box all actions are the same.
    """

    def __init__(
        self, config: VanillaPolicyConfig, tables: Arrays, baseline: np.ndarray, farthest: float
    ) -> None:
        self._config, self._tables, self._baseline = config, tables, baseline
        self._farthest = farthest

    def update(self, batch: Arrays, progress: Progress) -> Update:
        config, baseline = self._config, self._baseline
        rate, follow = config.learning_rate.at(progress), config.baseline_rate.at(progress)
        ret, known = whole_returns(batch, config.gamma)
        norms, ratios = [], []
        # One after the other: several at once would go too far where they share a row.
        for t, env in np.argwhere(known):
            state, action = batch["observation"][t, env], batch["action"][t, env]
            row = {name: table[state] for name, table in self._tables.items()}
            if "logits" in row:
                mask = batch["mask"][t, env] if "mask" in batch else None
                log_prob, gradient = of_softmax(row["logits"], int(action), mask)
            else:
                log_prob, gradient = of_normal(row["mean"], row["log_std"], action.reshape(-1))
            # What the policy has become less likely to do since then counts less; what it does more, not more.
            ratio = min(1.0, float(np.exp(log_prob - batch["log_prob"][t, env])))
            better = ret[t, env] - baseline[state]
            baseline[state] += follow * ratio * better
            norms.append(self._ascend(row, gradient, rate, ratio * better))
            ratios.append(ratio)
        metrics = {"known": float(known.sum() / max(1, batch["valid"].sum()))}
        if norms:
            metrics |= {
                "gradient_norm": float(np.mean(norms)),
                "mean_ratio": float(np.mean(ratios)),
                "mean_return": float(ret[known].mean()),
            }
        return Update(metrics)

    def _ascend(self, row: Arrays, gradient: Arrays, rate: float, weight: float) -> float:
        """Go along the weighted gradient, in place; its norm before clipping."""
        norm = abs(weight) * np.sqrt(sum(np.sum(part**2) for part in gradient.values()))
        most = self._config.max_gradient_norm
        scale = rate * weight * (1.0 if most is None or norm <= most else most / norm)
        for name, part in gradient.items():
            row[name] += part * scale * (self._config.std_rate if name == "log_std" else 1.0)
        if "mean" in row:
            np.clip(row["mean"], -self._farthest, self._farthest, out=row["mean"])
            np.maximum(row["log_std"], math.log(self._config.min_std), out=row["log_std"])
        return float(norm)

    def publish(self, progress: Progress) -> dict[str, Any]:
        return dict(self._tables)


def of_softmax(
    logits: np.ndarray, action: int, mask: np.ndarray | None = None
) -> tuple[float, Arrays]:
    """The log-probability of an action, and its gradient by the logits.

    Args:
        logits: `[K]`.
        mask: bool `[K]`, which actions are allowed; None allows all.
    """
    allowed = forbid(logits, mask)
    shifted = allowed - allowed.max()
    log_probs = shifted - np.log(np.exp(shifted).sum())
    gradient = -np.exp(log_probs)
    gradient[action] += 1.0
    return float(log_probs[action]), {"logits": gradient}


def of_normal(mean: np.ndarray, log_std: np.ndarray, action: np.ndarray) -> tuple[float, Arrays]:
    """The log-density of an action, and its gradient by the means and the logarithms of the standard deviations; all
    `[k]`.
    """
    std = np.exp(log_std)
    noise = (action - mean) / std
    log_prob = -(0.5 * noise**2 + log_std + 0.5 * np.log(2 * np.pi)).sum()
    return float(log_prob), {"mean": noise / std, "log_std": noise**2 - 1.0}
