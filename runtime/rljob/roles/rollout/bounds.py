"""Warns once when an environment's observations leave the bounds of its own space, as Gymnasium's checker does."""

from __future__ import annotations

import numpy as np

from rljob.envs.spaces import BoxSpace, Space
from rljob.envs.teams import column_name

FIRST, EVERY = 10, 100
"""The first segments are looked at, then one in so many: to look at all would cost speed."""


class BoundsCheck:
    """Looks at segments.

    Args:
        space: of one observation. Only a Box of numbers has bounds that can be left.
        agents: columns that are one environment.
    """

    def __init__(self, space: Space, agents: int = 1) -> None:
        self._agents = agents
        self._space = space if isinstance(space, BoxSpace) and space.dtype.kind == "f" else None
        if self._space is not None:
            # In float32, as observations are stored.
            self._low, self._high = (each.astype(space.dtype) for each in self._space.bounds())
        self._count = 0

    def warning(self, observation: np.ndarray) -> str | None:
        """What to say of the observations `[T + 1, N, *shape]` of a segment, at most once.

        Training goes on with the value as it is: bounds are often stated too narrow, and harm nothing then.
        """
        self._count += 1
        if self._space is None or (self._count > FIRST and self._count % EVERY):
            return None
        outside = (observation < self._low) | (observation > self._high)
        if not outside.any():
            return None
        place = tuple(int(each) for each in np.argwhere(outside)[0])
        space, self._space = self._space, None
        element = f"element {list(place[2:])} " if place[2:] else ""
        return (
            f"an observation of {column_name(place[1], self._agents)} is outside its space {space}: {element}is "
            f"{observation[place]:g}. Training goes on; correct the bounds of observation_space or the observation"
        )
