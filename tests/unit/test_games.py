"""Copies of environments: independent of the game that is played, and told where they cannot be made."""

from __future__ import annotations

import threading
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rljob.envs.vector import Environments
from rljob.errors import UserCodeError
from rljob.spec.sections import EnvironmentSpec


class Walk(gymnasium.Env[np.ndarray, np.int64]):
    """A random walk; `held` is an attribute of any kind."""

    observation_space = spaces.Box(-100, 100, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, locked: bool = False) -> None:
        self.held = threading.Lock() if locked else None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Any]:
        super().reset(seed=seed)
        self.at = np.zeros(1, np.float32)
        return self.at, {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.at += self.np_random.integers(1, 10) * (1 if action else -1)
        return self.at, 0.0, False, False, {}


def walks(count: int, **kwargs: Any) -> Environments:
    return Environments(EnvironmentSpec(entry_point=f"{__name__}:Walk", kwargs=kwargs), count)


def test_what_is_done_to_a_copy_leaves_the_game_as_it_is() -> None:
    played, untouched = walks(2), walks(2)
    assert played.games is not None
    assert len(played.games) == 2
    for environments in (played, untouched):
        environments.reset(seed=5)
        environments.step(np.array([0, 1]))

    tried = [played.games.copy(index) for index in range(2)]
    ahead = [env.step(1)[0].copy() for env in tried]

    # The copies have the generator too, so the game goes where they went.
    np.testing.assert_array_equal(played.step(np.array([1, 1])).observation, ahead)
    np.testing.assert_array_equal(untouched.step(np.array([1, 1])).observation, ahead)


def test_an_environment_that_cannot_be_copied_is_told() -> None:
    games = walks(1, locked=True).games
    assert games is not None

    with pytest.raises(UserCodeError, match=r"environment 0 cannot be copied: TypeError: .*lock"):
        games.copy(0)


def test_a_vector_form_has_no_games() -> None:
    assert Environments(EnvironmentSpec(id="CartPole-v1"), 2).games is None
