"""Rows drawn with chances that follow from their priorities (Schaul et al. 2016, https://arxiv.org/abs/1511.05952)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from rljob.roles.buffer.sumtree import SumTree
from rljob.spec.experience import Weighting

_ROW = np.uint64(0xFFFFFFFF)
"""Bits of a key that are its row."""


class Drawing(Protocol):
    """A priority for each row, and draws by these."""

    def set(self, rows: np.ndarray, priorities: np.ndarray) -> None:
        """Set priorities; for a repeated row the last one counts.

        Args:
            rows: int64 `[n]`.
            priorities: `[n]`; 0 for a row that is not drawn.
        """
        ...

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Rows, int64 `[count]`, with replacement. Rounding may give a row that is not drawn."""
        ...

    def chances(self, rows: np.ndarray) -> np.ndarray:
        """Those of rows that were drawn, float64 `[n]`."""
        ...


def make_drawing(rows: int, weighting: Weighting, exponent: float) -> Drawing:
    """See `rljob.spec.experience.Replay` for the two.

    Args:
        rows: whose priorities are 0 at first.
    """
    if weighting == "proportional":
        return ByWeight(rows, exponent)
    return ByRank(rows, exponent, linear=weighting == "linearRank")


class ByWeight:
    """Chances in proportion to `priority ** exponent`; the exponent is above 0."""

    def __init__(self, rows: int, exponent: float) -> None:
        self._tree, self._exponent = SumTree(rows), exponent

    def set(self, rows: np.ndarray, priorities: np.ndarray) -> None:
        self._tree.set(rows, priorities.astype(np.float64) ** self._exponent)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return self._tree.find(rng.random(count) * self._tree.total)

    def chances(self, rows: np.ndarray) -> np.ndarray:
        return self._tree.get(rows) / self._tree.total


class ByRank:
    """Chances by rank: of `n` rows that are drawn the one of the highest priority has rank 1.

    They are in proportion to `rank ** -exponent`, or `linear`ly to `1 + exponent * (n - rank)`. Of equal priorities
    the row with the lower number is first, so that the ranks follow from the priorities alone.
    """

    def __init__(self, rows: int, exponent: float, linear: bool) -> None:
        self._exponent, self._linear = exponent, linear
        # From rank 1 on, or linearly from the lowest one, for any number of rows.
        self._sums = np.cumsum(self._weights(np.arange(rows)))
        self._priorities = np.zeros(rows, np.float32)
        self._changed = np.zeros(rows, np.bool_)
        self._stale = False
        # In the order of ranks: the bits of a positive float32 ascend with it.
        self._keys = np.empty(0, np.uint64)

    def _weights(self, places: np.ndarray) -> np.ndarray:
        if self._linear:
            return 1 + self._exponent * places
        found: np.ndarray = (places + 1.0) ** -self._exponent
        return found

    def _keys_of(self, rows: np.ndarray) -> np.ndarray:
        bits = self._priorities[rows].view(np.uint32).astype(np.uint64)
        found: np.ndarray = ((_ROW - bits) << np.uint64(32)) | rows.astype(np.uint64)
        return found

    def set(self, rows: np.ndarray, priorities: np.ndarray) -> None:
        self._priorities[rows] = priorities
        self._changed[rows] = True
        self._stale = True

    def _sort(self) -> None:
        """Move the rows that changed since to their places."""
        if not self._stale:
            return
        kept = self._keys[~self._changed[(self._keys & _ROW).astype(np.int64)]]
        changed = np.flatnonzero(self._changed)
        fresh = np.sort(self._keys_of(changed[self._priorities[changed] > 0]))
        self._keys = np.insert(kept, np.searchsorted(kept, fresh), fresh)
        self._changed[changed] = False
        self._stale = False

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        self._sort()
        last = len(self._keys) - 1
        mass = rng.random(count) * self._sums[last]
        places = np.minimum(np.searchsorted(self._sums[:last], mass, side="right"), last)
        keys = self._keys[last - places if self._linear else places] & _ROW
        rows: np.ndarray = keys.astype(np.int64)
        return rows

    def chances(self, rows: np.ndarray) -> np.ndarray:
        self._sort()
        last = len(self._keys) - 1
        places = np.searchsorted(self._keys, self._keys_of(rows))
        weights = self._weights(last - places if self._linear else places)
        chances: np.ndarray = weights / self._sums[last]
        return chances
