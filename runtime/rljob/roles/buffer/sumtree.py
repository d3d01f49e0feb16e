"""A binary tree of sums over numpy arrays, for drawing leaves with probability proportional to value.

Schaul et al. 2016, "Prioritized Experience Replay", appendix B.2.1 (https://arxiv.org/abs/1511.05952),
with every operation on whole arrays of leaves.
"""

from __future__ import annotations

import numpy as np


class SumTree:
    """Args:
    leaves: number of values, all 0 at first.
    """

    def __init__(self, leaves: int) -> None:
        self._leaves = leaves
        self._depth = max(1, (leaves - 1).bit_length())
        self._base = 1 << self._depth
        self._nodes = np.zeros(2 * self._base, np.float64)

    @property
    def total(self) -> float:
        return float(self._nodes[1])

    def get(self, leaves: np.ndarray) -> np.ndarray:
        """Values float64 of int64 leaves, any shape."""
        values: np.ndarray = self._nodes[leaves + self._base]
        return values

    def set(self, leaves: np.ndarray, values: np.ndarray) -> None:
        """Set values; for a repeated leaf the last value counts.

        Args:
            leaves: int64 `[n]`.
            values: not negative, `[n]` or one for all.
        """
        nodes, tree, width = leaves + self._base, self._nodes, self._base
        tree[nodes] = values
        # Near the leaves only the parents of what changed, repeated ones and all; near the root, where
        # a level is narrower than that, all of it.
        while width > len(nodes):
            nodes = nodes >> 1
            tree[nodes] = tree[2 * nodes] + tree[2 * nodes + 1]
            width >>= 1
        while width > 1:
            tree[width >> 1 : width] = tree[width : 2 * width : 2] + tree[width + 1 : 2 * width : 2]
            width >>= 1

    def find(self, mass: np.ndarray) -> np.ndarray:
        """The leaf in which each mass in [0, total) falls: int64 of the same shape.

        Sums are rounded: a mass close to the total may fall in a leaf that holds nothing.
        """
        mass = mass.copy()
        nodes = np.ones(mass.shape, np.int64)
        for _ in range(self._depth):
            nodes <<= 1
            left = self._nodes.take(nodes)
            right = mass >= left
            left *= right
            mass -= left
            nodes += right
        return np.minimum(nodes - self._base, self._leaves - 1)
