"""What reads action masks at a reset and at a step: those that are used, ignored, or not expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rljob.envs.mask_space import OBSERVATION
from rljob.envs.masks import ActionMasks, NoMasks, opened, told
from rljob.envs.spaces import BoxSpace, Spaces
from rljob.envs.teams import column_name


class IgnoredMasks:
    """Passes over the masks of environments that give some, where the job wants none.

    Args:
        observed: whether masks are part of the observation; otherwise of the info.
        agents: columns that are one environment, for messages.
    """

    def __init__(self, observed: bool, agents: int = 1) -> None:
        self.observed, self._agents = observed, agents

    def read(self, index: int, observation: Any, info: Any, steps: int) -> Any:
        """Returns the observation of environment `index` without its mask."""
        if not self.observed:
            return observation
        who = column_name(index, self._agents)
        return opened(f"{who} returned", observation, steps)[OBSERVATION]

    def read_all(self, observation: Any, info: Any, steps: int) -> Any:
        """See `read`."""
        if not self.observed:
            return observation
        return opened("the environments returned", observation, steps)[OBSERVATION]


class MaskReaders:
    """What reads the masks at resets, at the first step, and after it.

    Args:
        ignored: where the job wants no masks.
        none: where the environments are to give none.

    Attributes:
        at_reset: reads what a reset gives.
        at_step: reads what the next step gives. Without masks only the first step's infos are looked at, so that the
            others cost nothing.
        after: reads what steps after the first one give; None where nothing has to be read.
    """

    def __init__(self, ignored: IgnoredMasks | None, none: NoMasks) -> None:
        self._ignored = ignored
        self.at_reset: ActionMasks | IgnoredMasks | NoMasks = ignored or none
        self.after: ActionMasks | IgnoredMasks | None = (
            ignored if ignored is not None and ignored.observed else None
        )
        self.at_step: ActionMasks | IgnoredMasks | NoMasks | None = self.at_reset

    def find(self, count: int, spaces: Spaces, probe: Callable[[], object]) -> ActionMasks | None:
        """What keeps masks, where there are any that are used.

        Args:
            probe: resets, and returns the info.
        """
        if self._ignored is not None or isinstance(spaces.action, BoxSpace):
            return None
        if not (spaces.masked or told(probe())):
            return None
        found = ActionMasks(count, spaces.action, spaces.masked, spaces.agents)
        self.at_reset = self.at_step = self.after = found
        return found

    def settle(self, ended: np.ndarray | None, step: int) -> None:
        """Check the masks that were read.

        Args:
            ended: bool `[N]`, at a step; None at a reset.
        """
        if isinstance(self.after, ActionMasks):
            self.after.settle(ended, step)
        if ended is not None:
            self.at_step = self.after
