"""A bandit whose arms change (Garivier & Moulines 2008, https://arxiv.org/abs/0805.3415), as Agent57 has it. No torch."""

from __future__ import annotations

from collections import deque

import numpy as np


class SlidingWindowUCB:
    """Chooses the arm whose latest rewards have the highest upper confidence bound, and now and then any.

    Args:
        arms: how many; all are tried before any is preferred.
        window: rewards that are remembered; at least as many as arms.
        epsilon: chance of any arm, in [0, 1].
        bonus: weight of the confidence bound, in units of reward.
        rng: all randomness comes from here.
    """

    def __init__(
        self, arms: int, window: int, epsilon: float, bonus: float, rng: np.random.Generator
    ) -> None:
        self._arms, self._epsilon, self._bonus, self._rng = arms, epsilon, bonus, rng
        self._latest: deque[tuple[int, float]] = deque(maxlen=window)

    def add(self, arm: int, reward: float) -> None:
        """What an arm gave."""
        self._latest.append((arm, reward))

    def choose(self) -> int:
        """The next arm."""
        count, total = np.zeros(self._arms), np.zeros(self._arms)
        for arm, reward in self._latest:
            count[arm] += 1
            total[arm] += reward
        if (count == 0).any():
            return int(self._rng.choice(np.flatnonzero(count == 0)))
        if self._rng.random() < self._epsilon:
            return int(self._rng.integers(self._arms))
        bound = total / count + self._bonus * np.sqrt(np.log(len(self._latest)) / count)
        return int(self._rng.choice(np.flatnonzero(bound == bound.max())))
