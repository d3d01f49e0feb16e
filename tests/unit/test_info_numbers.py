"""Numbers of `info` at the ends of episodes, whatever the environment tells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rljob.envs.info_numbers import InfoNumbers


class Broken:
    def __float__(self) -> float:
        raise KeyError("inside")

    def __repr__(self) -> str:
        # The address of an object would give each process of the tests another name for its test.
        return "Broken()"


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"lives": 3}, "score is missing: info has lives"),
        ({}, "score is missing: info has nothing"),
        (None, "score is missing: info is a NoneType"),
        ({"score": "12"}, "score is '12' (str), expected one number"),
        ({"score": None}, "score is None (NoneType), expected one number"),
        ({"score": [1, 2]}, "score is [1, 2] (list), expected one number"),
        ({"score": math.inf}, "score is inf, expected a finite number"),
        ({"score": 10**400}, "score cannot be read: OverflowError"),
        ({"score": Broken()}, "score cannot be read: KeyError"),
        ({"score": 1j}, "score cannot be read: TypeError"),
    ],
    ids=str,
)
def test_what_is_no_number_is_told_once(
    info: Any, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = InfoNumbers(["score"])
    over = np.array([True])
    numbers.read([info], over)
    numbers.read([info], over)
    numbers.read([{"score": np.float32(2.5)}], over)
    np.testing.assert_array_equal(numbers.take(), [[math.nan], [math.nan], [2.5]])
    assert numbers.take() == []
    assert [told in each.message for each in caplog.records] == [True]


def test_only_environments_whose_episode_ended_are_read() -> None:
    numbers = InfoNumbers(["score", "won"])
    infos = [{"score": 1, "won": True}, None, {"score": np.array(3), "won": False}]
    numbers.read(infos, np.array([True, False, True]))
    assert numbers.take() == [[1.0, 1.0], [3.0, 0.0]]


def test_infos_of_vector_environments(caplog: pytest.LogCaptureFixture) -> None:
    """Gymnasium's form: an array for each key, and which environments told it."""
    numbers = InfoNumbers(["score", "lives"])
    infos = {
        "score": np.array([5, 6, 7]),
        "_score": np.array([True, True, False]),
        "lives": np.array([1.0, 2.0, 3.0]),
    }
    numbers.read(infos, np.array([False, True, True]))
    np.testing.assert_array_equal(numbers.take(), [[6.0, 2.0], [math.nan, 3.0]])
    assert "info has it for other environments only" in caplog.text


def test_of_several_agents_the_mean_is_taken() -> None:
    numbers = InfoNumbers(["score"], agents=2)
    infos = [{"score": 1}, {"score": 4}, {"score": 8}, None, {}, {}]
    numbers.read(infos, np.array([True, True, False]))
    assert numbers.take() == [[2.5], [8.0]]
