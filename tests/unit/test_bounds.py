"""Observations outside the bounds of their space are told once, and nothing is done about them."""

from __future__ import annotations

import numpy as np

from rljob.envs.spaces import BoxSpace, DiscreteSpace
from rljob.roles.rollout.bounds import EVERY, FIRST, BoundsCheck


def observations(value: float = 0.0) -> np.ndarray:
    made = np.zeros((3, 2, 4), np.float32)
    made[1, 1, 2] = value
    return made


def test_the_first_one_outside_is_told_once() -> None:
    check = BoundsCheck(BoxSpace((4,), low=-1, high=[1, 1, 2, 1]))
    assert check.warning(observations(1.5)) is None

    text = check.warning(observations(2.5))

    assert text is not None
    assert text.startswith("an observation of environment 1 is outside its space Box(-1, 2, (4,)")
    assert "element [2] is 2.5" in text
    assert check.warning(observations(2.5)) is None


def test_an_agent_is_told_with_its_environment() -> None:
    text = BoundsCheck(BoxSpace((4,), low=-1, high=1), agents=2).warning(observations(2.5))
    assert text is not None
    assert text.startswith("an observation of agent 1 of environment 0 is outside")


def test_later_only_some_segments_are_looked_at() -> None:
    check = BoundsCheck(BoxSpace((4,), low=-1, high=1))
    for _ in range(FIRST):
        assert check.warning(observations()) is None
    told = [check.warning(observations(-7.0)) is not None for _ in range(EVERY)]
    assert told.count(True) == 1


def test_without_bounds_there_is_nothing_to_look_at() -> None:
    for space in (BoxSpace((4,)), BoxSpace((4,), np.dtype(np.uint8), 0, 255), DiscreteSpace(3)):
        assert BoundsCheck(space).warning(observations(9.0)) is None


def test_a_bound_that_float32_rounds_is_kept() -> None:
    check = BoundsCheck(BoxSpace((4,), low=-0.1, high=0.1))
    assert check.warning(observations(float(np.float32(0.1)))) is None
