"""Catch: a ball falls, a paddle at the bottom is moved below it. Seen as an image of 20 x 20 pixels."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

CELLS = 10
"""Columns and rows, of 2 x 2 pixels each. An episode has one step for each row but the first."""


class Catch(gymnasium.Env[np.ndarray, np.int64]):
    """The return is 1 when the ball is caught, else -1; 0 when one in two is."""

    observation_space = spaces.Box(0, 255, (20, 20, 1), np.uint8)
    action_space = spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._row = 0
        self._ball, self._paddle = self.np_random.integers(CELLS, size=2)
        return self._look(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._paddle = np.clip(self._paddle + action - 1, 0, CELLS - 1)
        self._row += 1
        landed = self._row == CELLS - 1
        reward = (1.0 if self._paddle == self._ball else -1.0) if landed else 0.0
        return self._look(), reward, landed, False, {}

    def _look(self) -> np.ndarray:
        cells = np.zeros((CELLS, CELLS), np.uint8)
        cells[CELLS - 1, self._paddle] = 128
        cells[self._row, self._ball] = 255
        return cells.repeat(2, axis=0).repeat(2, axis=1)[..., None]
