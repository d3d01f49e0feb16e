"""Pick: of many candidates, each with three numbers, the one with the largest sum is to be chosen."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

CANDIDATES, CHOICES = 12, 20
"""To choose from at a time; times that an episode has."""


class Pick(gymnasium.Env[np.ndarray, np.int64]):
    """The return is the number of best choices; without a plan it is 20 / 12."""

    observation_space = spaces.Box(-5, 5, (CANDIDATES, 3), np.float32)
    action_space = spaces.Discrete(CANDIDATES)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._made = 0
        return self._draw(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._made += 1
        reward = float(self._candidates.sum(axis=1).argmax() == action)
        return self._draw(), reward, self._made == CHOICES, False, {}

    def _draw(self) -> np.ndarray:
        drawn = self.np_random.normal(size=(CANDIDATES, 3)).clip(-5, 5)
        self._candidates: np.ndarray = drawn.astype(np.float32)
        return self._candidates
