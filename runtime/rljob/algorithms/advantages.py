"""Advantages and value targets of whole segments; what PPO and TRPO share of preparing a batch. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rljob.algorithms.gae import gae
from rljob.algorithms.moments import MovingMoments
from rljob.envs.spaces import Arrays, Space, encoded_size

if TYPE_CHECKING:
    from rljob.nets.torch_gradients import Differentiable, Placed

VALUED_BYTES = 32 << 20
"""Encoded observations that are valued at a time: images take many times that on their way."""


class Estimates(NamedTuple):
    """Float32 `[T * N]`, of use only where `valid`; `target` and `value` in the units of the value network.

    Attributes:
        advantage: of the actions.
        target: what the value should be.
        value: what it was.
        metrics: `explained_variance`, and `mean_value` in units of reward.
    """

    advantage: np.ndarray
    target: np.ndarray
    value: np.ndarray
    metrics: dict[str, float]


def estimate(
    batch: Arrays,
    value: np.ndarray,
    returns: MovingMoments,
    *,
    gamma: float,
    gae_lambda: float,
    normalise_advantages: bool,
    normalise_rewards: bool,
) -> Estimates:
    """Generalised advantages, and the targets that follow from them.

    Args:
        batch: segments as on-policy learners get them; one valid row at least.
        value: what the network says of all observations, `[(T + 1) * N]`.
        returns: the unit of the value network's outputs; with `normalise_rewards` the batch is added to it.
        gamma: discount per environment step.
        gae_lambda: as in `gae`.
        normalise_advantages: whether they get the mean 0 and the standard deviation 1.
        normalise_rewards: whether the value network learns in standard deviations of the returns.
    """
    rows = np.flatnonzero(batch["valid"])
    value = value.reshape(len(batch["observation"]), -1) * returns.std + returns.mean
    ends = batch["terminated"], batch["truncated"], batch["valid"]
    advantage = gae(batch["reward"], value, *ends, gamma=gamma, gae_lambda=gae_lambda).reshape(-1)
    value = value[:-1].reshape(-1)
    target = advantage + value
    used, unexplained = target[rows], advantage[rows]
    metrics = {
        "explained_variance": 1 - float(unexplained.var()) / max(float(used.var()), 1e-8),
        "mean_value": float(value[rows].mean()),
    }
    if normalise_rewards:
        returns.update(used)
    if normalise_advantages:
        advantage = (advantage - unexplained.mean()) / (unexplained.std() + 1e-8)
    else:
        advantage = advantage / returns.std
    target, value = ((each - returns.mean) / returns.std for each in (target, value))
    return Estimates(advantage, target, value, metrics)


def values(network: Differentiable, observation: Placed, space: Space) -> np.ndarray:
    """What the head `value` says now of observations `[rows, ...]` of this space: float32 `[rows]`."""
    rows = max(1, VALUED_BYTES // (4 * encoded_size(space)))
    starts = range(0, len(observation), rows)
    parts = (observation[start : start + rows] for start in starts)
    found = np.concatenate([network(part, ("value",))["value"] for part in parts])
    return found.reshape(-1)
