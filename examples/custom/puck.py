"""A custom environment: bring a puck on a line to rest at the origin."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class Puck(gymnasium.Env[np.ndarray, np.int64]):
    """Observation: position and velocity. Actions: push left, nothing, push right.

    Each step costs the distance; an episode lasts `limit` steps and ends early off the line.
    """

    def __init__(self, limit: int = 100) -> None:
        self.observation_space = gymnasium.spaces.Box(-10.0, 10.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(3)
        self._limit = limit

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        self._state = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self._state.copy(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        position, velocity = self._state
        velocity = velocity + 0.1 * (int(action) - 1)
        position = position + 0.1 * velocity
        self._state = np.array([position, velocity], np.float32)
        self._steps += 1
        lost = abs(float(position)) > 2
        reward = -abs(float(position)) - (50.0 if lost else 0.0)
        return self._state.copy(), reward, lost, self._steps >= self._limit, {}


def make(limit: int = 100) -> Puck:
    """What `environment.entryPoint` names."""
    return Puck(limit)
