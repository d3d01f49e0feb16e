"""Exact figures of episodes, from the segments in which they ended."""

from __future__ import annotations

import numpy as np

LONGEST_TABLE = 2**20
"""Powers of the discount that are kept; those of longer episodes are computed each time."""


class EpisodeStatistics:
    """Return, length and discounted return of every episode, summed in float64.

    Args:
        count: `N`.
        discount: of a reward for each step of the episode before it.
    """

    def __init__(self, count: int, discount: float = 1.0) -> None:
        self._carried = np.zeros((3, count), np.float64)
        self._discount = discount
        self._powers = np.ones(1, np.float64)

    def update(self, reward: np.ndarray, ended: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Count a segment, all of it at once: step by step takes as long as acting does.

        Args:
            reward: `[T, N]`.
            ended: bool `[T, N]`, terminated or truncated.
            valid: bool `[T, N]`, False for rows that only reset; they are not counted.

        Returns:
            Return, length and discounted return of the episodes that ended, in that order, float64 `[E, 3]`.
        """
        steps, count = reward.shape
        # Each environment's steps in a row, behind what its episode has so far, before an empty column
        # in which there is always an episode that goes on.
        width = steps + 2
        sums = np.zeros((3, count, width), np.float64)
        sums[:, :, 0] = self._carried
        np.copyto(sums[0, :, 1:-1], reward.T, where=valid.T)
        sums[1, :, 1:-1] = valid.T
        begins = np.zeros((count, width), np.bool_)
        begins[:, 0] = True
        begins[:, 2:] = (ended & valid).T
        np.multiply(sums[0, :, 1:-1], self._factors(sums[1], begins), out=sums[2, :, 1:-1])
        starts = np.flatnonzero(begins)
        episodes = np.add.reduceat(sums.reshape(3, -1), starts, axis=1)
        column = starts % width
        over = np.append(column[1:] > 0, False)
        self._carried = episodes[:, ~over]
        finished: np.ndarray = episodes[:, over].T
        return finished[np.argsort(column[column > 0], kind="stable")]

    def _factors(self, lengths: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """The discount of each step's reward, `[N, T]`.

        Args:
            lengths: `[N, T + 2]`, of the episode so far, and then 1 for each step that counts.
            begins: bool `[N, T + 2]`.
        """
        if self._discount == 1.0:
            return self._powers
        # How many steps were counted before each column, and when its episode began.
        before = np.cumsum(lengths, axis=1, dtype=np.int64)[:, :-2]
        first = np.maximum.accumulate(np.where(begins[:, 1:-1], before, 0), axis=1)
        place = before - first
        most = int(place.max(initial=0))
        if most >= LONGEST_TABLE:
            return np.asarray(np.power(self._discount, place.astype(np.float64)))
        if most >= len(self._powers):
            self._powers = self._discount ** np.arange(2.0 * most)
        return self._powers[place]
