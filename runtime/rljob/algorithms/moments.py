"""Running statistics for normalisation; all of their state is a few float64 arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class RunningMoments:
    """Mean and variance of all rows seen so far (Chan, Golub & LeVeque 1979, parallel merge)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0.0
        self.mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    @property
    def variance(self) -> np.ndarray:
        return self._squares / self.count if self.count else np.ones_like(self.mean)

    def update(self, rows: np.ndarray) -> None:
        """Add rows `[B, *shape]`."""
        added = len(rows)
        if not added:
            return
        mean = rows.mean(axis=0, dtype=np.float64)
        squares = np.square(rows - mean).sum(axis=0)
        total = self.count + added
        shift = mean - self.mean
        self.mean = self.mean + shift * (added / total)
        self._squares = self._squares + squares + np.square(shift) * (self.count * added / total)
        self.count = total

    def state(self) -> dict[str, np.ndarray]:
        return {"count": np.array(self.count), "mean": self.mean, "squares": self._squares}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Arrays or tensors that `state` returned."""
        self.count = float(state["count"])
        self.mean, self._squares = (np.asarray(state[name]) for name in ("mean", "squares"))


class MovingMoments:
    """Mean and variance of one quantity that drifts: exponential averages without start-up bias."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._weight = 0.0
        self._sum = 0.0
        self._sum_of_squares = 0.0

    @property
    def mean(self) -> float:
        return self._sum / self._weight if self._weight else 0.0

    @property
    def std(self) -> float:
        """Never below 1e-2, so that a constant quantity can be divided by it; 1 before any update."""
        if not self._weight:
            return 1.0
        variance = self._sum_of_squares / self._weight - self.mean**2
        return float(np.sqrt(max(variance, 1e-4)))

    def update(self, values: np.ndarray) -> None:
        """Average in the values of one batch, of any shape."""
        values = values.astype(np.float64)
        new = 1 - self._decay
        self._weight = self._decay * self._weight + new
        self._sum = self._decay * self._sum + new * float(values.mean())
        self._sum_of_squares = self._decay * self._sum_of_squares + new * float((values**2).mean())

    def state(self) -> dict[str, np.ndarray]:
        return {"sums": np.array([self._weight, self._sum, self._sum_of_squares])}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Arrays or tensors that `state` returned."""
        self._weight, self._sum, self._sum_of_squares = map(float, state["sums"])
