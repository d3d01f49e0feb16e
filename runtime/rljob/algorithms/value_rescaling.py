"""Values on a scale that compresses large ones, so that rewards need not be clipped (Pohlen et al. 2018,
https://arxiv.org/abs/1805.11593). Pure."""

from __future__ import annotations

import numpy as np

EPSILON = 1e-3
"""Slope at large values, beside that of the root: what makes the scale invertible without loss."""


def compressed(value: np.ndarray) -> np.ndarray:
    """`sign(x) (sqrt(|x| + 1) - 1) + EPSILON x`, of any shape."""
    found: np.ndarray = np.sign(value) * (np.sqrt(np.abs(value) + 1) - 1) + EPSILON * value
    return found


def expanded(value: np.ndarray) -> np.ndarray:
    """The inverse of `compressed`."""
    size = np.abs(value).astype(np.float64)
    # Solved for the root, whose difference from 1 would lose digits in float32.
    root = (np.sqrt(1 + 4 * EPSILON * (size + 1 + EPSILON)) - 1) / (2 * EPSILON)
    found: np.ndarray = np.sign(value) * (np.square(root) - 1)
    return found.astype(np.float32)
