"""An environment: a corridor, to be walked to its end."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class Corridor(gymnasium.Env[np.ndarray, np.int64]):
    """Observation: the cell, one-hot. Actions: back, forth. Each step costs 1, the end pays 20.

    An episode that has not found the end after `limit` steps is cut off.
    """

    def __init__(self, length: int = 10, limit: int = 100) -> None:
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (length,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._length = length
        self._limit = limit

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._cell = self._steps = 0
        return self._seen(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._cell = max(0, self._cell + (1 if action else -1))
        self._steps += 1
        arrived = self._cell == self._length - 1
        reward = 20.0 if arrived else -1.0
        return self._seen(), reward, arrived, self._steps >= self._limit, {}

    def _seen(self) -> np.ndarray:
        cells = np.zeros(self._length, np.float32)
        cells[self._cell] = 1.0
        return cells
