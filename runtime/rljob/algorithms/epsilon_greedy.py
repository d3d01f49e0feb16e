"""Epsilon-greedy actions: the best ones, but a share of them at random."""

from __future__ import annotations

import numpy as np

from rljob.algorithms.masking import draw, forbid


def epsilon_greedy(
    values: np.ndarray,
    epsilon: float | np.ndarray,
    rng: np.random.Generator,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Actions, int64 `[N]`.

    Args:
        values: `[N, K]`, of which the largest is the best action; of equal ones, the first.
        epsilon: chance of a random action, in [0, 1]: one number, or `[N]`, one for each row. At 0 the best
            actions are taken, as in evaluations.
        rng: an actor's `self.rng`.
        mask: bool `[N, K]`, the actions among which to choose, `seen.mask`; None allows all.
    """
    explore = rng.random(len(values)) < epsilon
    return np.where(explore, draw(rng, values.shape, mask), forbid(values, mask).argmax(axis=-1))
