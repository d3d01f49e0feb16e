"""How new an observation is within its episode, by counts (as in Never Give Up, Badia et al. 2020,
https://arxiv.org/abs/2002.06038, where observations are equal or not). No torch."""

from __future__ import annotations

import numpy as np

from rljob.envs.spaces import Arrays
from rljob.spec.experience import Field

NOVELTY = Field("novelty", "float32")
"""Field of an algorithm that is curious; `EpisodeNovelty.fill` fills it."""


class EpisodeNovelty:
    """Counts the visits of each observation in the episodes of `N` environments that go on over segments.

    Args:
        count: `N`.
    """

    def __init__(self, count: int) -> None:
        self._visits: list[dict[int, int]] = [{} for _ in range(count)]

    def fill(self, segment: Arrays) -> None:
        """Fill the field `novelty` of the segment that comes next, in place: of what followed each step it is
        `1 / sqrt(n + 1)`, where the episode's steps have led there `n` times before. The observations are Discrete.

        Args:
            segment: also with `begins`, bool `[T, N]`, where an episode begins.
        """
        following, valid, novelty = segment["observation"][1:], segment["valid"], segment["novelty"]
        begins = segment["begins"]
        for t, env in np.ndindex(*valid.shape):
            visits = self._visits[env]
            if begins[t, env]:
                visits.clear()
            if not valid[t, env]:
                continue
            state = int(following[t, env])
            before = visits.get(state, 0)
            novelty[t, env] = (before + 1) ** -0.5
            visits[state] = before + 1
