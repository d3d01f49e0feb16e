"""Epsilon-greedy actions: the best ones, but a share of them at random."""

from __future__ import annotations

import numpy as np

from rljob.algorithms.acting import Place
from rljob.algorithms.masking import draw, forbid


def epsilons(epsilon: float | np.ndarray, place: Place, spread: float) -> np.ndarray:
    """Those of a group's environments, each its own (Horgan et al. 2018, https://arxiv.org/abs/1803.00933): `[N]`.

    Environment `i` of the `n` of the whole job has `epsilon ** (1 + i / (n - 1) * spread)`; the only one has epsilon.

    Args:
        epsilon: of the first environment, in [0, 1].
        place: which environments these are.
        spread: at least 0, which gives all the same.
    """
    if not spread:
        return np.full(place.count, epsilon)
    number = place.first + np.arange(place.count)
    found: np.ndarray = np.asarray(epsilon) ** (1 + number / max(1, place.total - 1) * spread)
    return found


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


def chances(
    values: np.ndarray, epsilon: float | np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """With which `epsilon_greedy` takes each action, float32 `[..., K]`.

    Args:
        values: `[..., K]`.
        epsilon: one number, or `[...]`.
        mask: bool `[..., K]`, the actions among which it chooses; None allows all.
    """
    allowed = np.ones(values.shape, np.bool_) if mask is None else mask
    random = np.asarray(epsilon)[..., None] / allowed.sum(axis=-1, keepdims=True) * allowed
    best = forbid(values, mask).argmax(axis=-1)[..., None] == np.arange(values.shape[-1])
    found: np.ndarray = random + (1 - np.asarray(epsilon)[..., None]) * best
    return found.astype(np.float32)
