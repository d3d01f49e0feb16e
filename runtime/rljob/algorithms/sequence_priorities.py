"""Priorities of sequences from the errors of their rows (Kapturowski et al. 2019, https://openreview.net/forum?id=r1lyTjAqYX).
Pure."""

from __future__ import annotations

import numpy as np

LEAST = np.float32(1e-6)
"""Of a sequence without errors: it can still be drawn."""


def mixed(error: np.ndarray, used: np.ndarray, eta: float) -> np.ndarray:
    """`eta` times the largest error of each sequence, and `1 - eta` times the mean: float32 `[B]`, above 0.

    Args:
        error: `[L, B]`, at least 0.
        used: bool `[L, B]`, rows that count.
    """
    size = np.where(used, error, np.float32(0))
    mean = size.sum(axis=0) / np.maximum(used.sum(axis=0), 1)
    found: np.ndarray = eta * size.max(axis=0) + (1 - eta) * mean + LEAST
    return found.astype(np.float32)


def starting_priorities(
    error: np.ndarray, known: np.ndarray, *, burn_in: int, length: int, period: int, eta: float
) -> np.ndarray:
    """Of the sequences that begin in a segment, at the rows where they begin: float32 `[T, N]`.

    A sequence that goes on behind the segment is judged by its rows in it. NaN where none of these is known, and at
    rows where no sequence begins: the buffer gives those the highest priority so far.

    Args:
        error: `[T, N]`, at least 0.
        known: bool `[T, N]`, rows whose error is of use.
        burn_in, length, period: of the sequences.
    """
    found = np.full(error.shape, np.nan, np.float32)
    for start in range(0, len(error), period):
        rows = slice(start + burn_in, start + burn_in + length)
        used = known[rows]
        if len(used):
            priority = mixed(error[rows], used, eta)
            found[start] = np.where(used.any(axis=0), priority, np.float32(np.nan))
    return found
