"""Choices among allowed actions; masks are bool, `[..., K]`, True where an action is allowed."""

from __future__ import annotations

import numpy as np

FORBIDDEN = -1e9
"""Stands for the logit or value of an action that is not allowed: finite, so that nothing becomes NaN, and so low
that its probability is 0 in float32."""


def forbid(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Values `[..., K]`, `FORBIDDEN` where an action is not allowed; the same array without a mask."""
    if mask is None:
        return values
    return np.where(mask, values, np.float32(FORBIDDEN))


def draw(rng: np.random.Generator, shape: tuple[int, ...], mask: np.ndarray | None) -> np.ndarray:
    """For each of `N` rows one of the allowed actions, all equally likely: int64 `[N]`.

    Args:
        shape: `(N, K)`.
    """
    count, choices = shape
    if mask is None:
        return rng.integers(choices, size=count)
    drawn: np.ndarray = np.where(mask, rng.random(shape), -1.0).argmax(axis=-1)
    return drawn


def hide(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Values `[..., K]` for display: NaN where an action is not allowed; the same array without a mask."""
    return values if mask is None else np.where(mask, values, np.float32(np.nan))
