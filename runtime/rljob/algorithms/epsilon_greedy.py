"""Epsilon-greedy actions: the best ones, but a share of them at random."""

from __future__ import annotations

import numpy as np


def epsilon_greedy(
    values: np.ndarray, epsilon: float | np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Actions, int64 `[N]`.

    Args:
        values: `[N, K]`, of which the largest is the best action; of equal ones, the first.
        epsilon: chance of a random action, in [0, 1]: one number, or `[N]`, one for each row. At 0 the best
            actions are taken, as in evaluations.
        rng: an actor's `self.rng`.
    """
    count, actions = values.shape
    explore = rng.random(count) < epsilon
    return np.where(explore, rng.integers(actions, size=count), values.argmax(axis=-1))
