"""Copies of environments, for algorithms that plan by trying actions in them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from rljob.user_code.failure import rethrow

if TYPE_CHECKING:
    from rljob.envs.factory import Env


class Games:
    """The environments that an actor plays, in the state in which their observations were seen.

    Args:
        envs: as they are made: they take and give the environment's own actions and observations.
    """

    def __init__(self, envs: list[Env]) -> None:
        self._envs = envs

    def __len__(self) -> int:
        return len(self._envs)

    def copy(self, index: int) -> Env:
        """A deep copy of one; whatever is done to it leaves the game that is played as it is.

        Its random generator is copied as well, so an environment that draws random numbers will draw the same ones.

        Raises:
            RunError: it cannot be copied.
        """
        try:
            return copy.deepcopy(self._envs[index])
        except BaseException as error:
            rethrow(f"environment {index} cannot be copied", error)
