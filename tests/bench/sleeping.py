"""CartPole whose steps take time without a processor, as a simulator on another machine does."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv


class Sleeping(CartPoleVectorEnv):
    """All environments of a rollout step together, after a sleep.

    Args:
        milliseconds: of sleep before each step of all of them.
    """

    def __init__(self, num_envs: int, milliseconds: float) -> None:
        super().__init__(num_envs=num_envs)
        self._seconds = milliseconds / 1000

    def step(
        self, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        time.sleep(self._seconds)
        return super().step(action)
