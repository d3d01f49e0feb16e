"""The Dict observation space that holds an action mask: `{"observation": SPACE, "action_mask": MASK}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rljob.errors import InputError

if TYPE_CHECKING:
    import gymnasium

OBSERVATION, ACTION_MASK = "observation", "action_mask"
"""The two keys."""


def split(
    space: gymnasium.Space[Any],
) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any] | None]:
    """What the policy sees, and the space of the mask; None where the space has none.

    Raises:
        InputError: with path `environment`, where there is a mask beside other keys.
    """
    from gymnasium import spaces

    if not isinstance(space, spaces.Dict) or ACTION_MASK not in space.spaces:
        return space, None
    if space.spaces.keys() != {OBSERVATION, ACTION_MASK}:
        raise InputError(
            f"the observation space has the keys {', '.join(sorted(space.spaces))}; with {ACTION_MASK!r}, "
            f"rljob takes the two keys {OBSERVATION!r} and {ACTION_MASK!r}",
            path="environment",
        )
    return space.spaces[OBSERVATION], space.spaces[ACTION_MASK]


def is_split(space: gymnasium.Space[Any]) -> bool:
    """Whether observations of this space hold a mask."""
    return split(space)[1] is not None


def check(mask: gymnasium.Space[Any], size: int, action: str) -> None:
    """Raises InputError, with path `environment`, for a mask's space that is not one 0 or 1 for each of `size`."""
    from gymnasium import spaces

    binary = False
    if isinstance(mask, spaces.Box):
        binary = bool(np.all(mask.low >= 0) and np.all(mask.high <= 1))
    elif isinstance(mask, spaces.MultiDiscrete):
        binary = bool(np.all(mask.nvec == 2) and np.all(mask.start == 0))
    elif isinstance(mask, spaces.MultiBinary):
        binary = True
    if not binary or mask.shape != (size,):
        raise InputError(
            f"the space of {ACTION_MASK!r} is {mask}; expected MultiBinary({size}), one 0 or 1 for each action "
            f"of {action}",
            path="environment",
        )
