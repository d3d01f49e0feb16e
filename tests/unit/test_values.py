"""Which values experience may have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Spaces
from rljob.envs.values import problem

BOX = Spaces(BoxSpace((4,)), DiscreteSpace(3, start=-1))


def segment() -> dict[str, np.ndarray]:
    return {
        "observation": np.full((4, 2, 4), 9e14, np.float32),
        "action": np.full((3, 2), 2, np.int64),
        "reward": np.full((3, 2), -9e14, np.float32),
        "valid": np.ones((3, 2), np.bool_),
        "next_row": np.full((3, 2), -1, np.int32),
        "value": np.zeros((3, 2), np.float32),
    }


def test_finite_numbers_in_their_spaces_are_fine() -> None:
    assert problem(segment(), BOX) == ""
    assert problem(segment()) == ""
    assert problem({"observation": np.zeros((0, 2, 4), np.float32)}, BOX) == ""
    assert problem({"observation": np.full((1, 1, 4), 255, np.uint8)}, BOX) == ""


@pytest.mark.parametrize("name", ["observation", "reward", "value"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.nan, "NaN"),
        (-np.inf, "infinity"),
        (2e15, "2e+15, beyond"),
        (-1e30, "-1e+30, beyond"),
    ],
)
def test_numbers_that_break_training_are_named(name: str, value: float, shown: str) -> None:
    arrays = segment()
    arrays[name].reshape(len(arrays[name]), 2, -1)[2, 1, -1] = value
    found = problem(arrays, BOX, first_step=10)
    assert found.startswith(f"{name} contains {shown}")
    assert found.endswith("at step 12 of environment 1")


@pytest.mark.parametrize(
    ("name", "where"),
    [("reward", "agent 1 of environment 0"), ("state", "environment 1")],
)
def test_agents_are_named_with_their_environment(name: str, where: str) -> None:
    spaces = replace(BOX, agents=2, state=BoxSpace((4,)))
    arrays = {**segment(), "state": np.zeros((4, 2, 4), np.float32)}
    arrays[name].reshape(len(arrays[name]), 2, -1)[2, 1, -1] = np.nan
    assert problem(arrays, spaces) == f"{name} contains NaN at step 2 of {where}"
    assert problem({"state": np.full((1, 1), 9)}, replace(spaces, state=DiscreteSpace(9))) == (
        "state at step 0 of environment 0 is not in its space Discrete(9): counted from 0 it is 9"
    )


@pytest.mark.parametrize("value", [-1, 3, 2**40])
def test_actions_outside_their_space_are_named(value: int) -> None:
    arrays = segment()
    arrays["action"][1, 0] = value
    where = f"action at step 1 of environment 0 is not in its space {BOX.action}"
    assert problem(arrays, BOX) == f"{where}: counted from 0 it is {value}"
    assert problem(arrays) == ""


def test_observations_outside_their_space_are_named() -> None:
    observed = {"observation": np.full((3, 2), 15)}
    spaces = Spaces(DiscreteSpace(16), DiscreteSpace(2))
    assert problem(observed, spaces) == ""
    observed["observation"][2, 1] = 16
    assert "observation at step 2 of environment 1 is not in its space" in problem(observed, spaces)
    pairs = np.zeros((3, 2, 2), np.int64)
    pairs[0, 1] = 2, 3
    spaces = Spaces(MultiDiscreteSpace((3, 4)), DiscreteSpace(2))
    assert problem({"observation": pairs}, spaces) == ""
    pairs[0, 1] = 3, 0
    assert "at step 0 of environment 1" in problem({"observation": pairs}, spaces)
