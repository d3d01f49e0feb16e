"""Munchausen reinforcement learning (Vieillard et al. 2020, https://arxiv.org/abs/2007.14430). Pure.

The policy is a softmax over values divided by a temperature. A reward grows by its logarithm at the action that
was taken, which is at most 0 and the closer to it the surer the policy is.
"""

from __future__ import annotations

import numpy as np


def soft_value(values: np.ndarray, temperature: float) -> np.ndarray:
    """Expectation of `value - temperature * log(policy)` under the policy, float32 `[B]`.

    It is the same for every action: the temperature times the logarithm of the sum of `exp(value / temperature)`.

    Args:
        values: of all actions, float32 `[B, K]`.
        temperature: above 0.
    """
    best = values.max(axis=-1)
    shares = np.exp((values - best[:, None]) / temperature)
    soft: np.ndarray = best + temperature * np.log(shares.sum(axis=-1))
    return soft


def munchausen_bonus(
    values: np.ndarray, action: np.ndarray, temperature: float, least: float
) -> np.ndarray:
    """`temperature * log(policy)` of the actions that were taken, at least `least`: float32 `[B]`.

    Args:
        values: of all actions, float32 `[B, K]`.
        action: int64 `[B]`.
        temperature: above 0.
        least: 0 or below.
    """
    taken = values[np.arange(len(action)), action]
    bonus: np.ndarray = np.clip(taken - soft_value(values, temperature), least, 0)
    return bonus
