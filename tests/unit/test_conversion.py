"""Continuous spaces as discrete and the reverse: values by hand, and what cannot be converted."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rljob.envs.conversion import convert_action, convert_observation
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space
from rljob.errors import InputError, RunError
from rljob.spec import ActionConversionSpec, ObservationConversionSpec

INT32 = np.dtype(np.int32)
PAIR = BoxSpace((2,), low=(-1.0, 0.0), high=(1.0, 10.0))


def observation(**values: Any) -> ObservationConversionSpec:
    return ObservationConversionSpec.model_validate({"to": "discrete"} | values)


def action(to: str, **values: Any) -> ActionConversionSpec:
    return ActionConversionSpec.model_validate({"to": to} | values)


def test_what_is_not_asked_for_is_not_converted() -> None:
    assert convert_observation(PAIR, None) == (PAIR, PAIR)
    assert convert_action(PAIR, None) == (PAIR, PAIR)
    assert convert_action(PAIR, action("continuous")) == (PAIR, PAIR)
    four = DiscreteSpace(4, start=1)
    assert convert_observation(four, observation()) == (four, four)
    assert convert_action(four, action("discrete")) == (four, four)


def test_cells_of_an_observation() -> None:
    space, converted = convert_observation(PAIR, observation(divisions=[2, 5]))

    # The first number has cells -1..0..1, the second 0..2..4..6..8..10; the second counts fastest.
    seen = {
        (-1.0, 0.0): 0,
        (-0.01, 1.99): 0,
        (-0.01, 2.0): 1,
        (0.0, 9.9): 9,
        (1.0, 10.0): 9,
        (5.0, -3.0): 5,
        (-math.inf, math.inf): 4,
    }
    assert space == DiscreteSpace(10)
    numbers = converted.from_environment(np.array(list(seen), np.float32))
    assert numbers.tolist() == list(seen.values())
    assert numbers.dtype == np.int64


def test_bounds_of_cells_can_be_set() -> None:
    """As CartPole's velocities need it."""
    endless = BoxSpace((2,), low=(-2.0, -math.inf), high=(2.0, math.inf))
    spec = observation(divisions=[4], low=[-2, -1], high=[2, 1])

    space, converted = convert_observation(endless, spec)

    assert space == DiscreteSpace(16)
    assert converted.from_environment(np.array([[-1.5, 0.6], [1.5, -9.0]])).tolist() == [3, 12]


def test_an_observation_that_is_not_a_number_is_told() -> None:
    _, converted = convert_observation(PAIR, observation(divisions=[2]))

    with pytest.raises(
        RunError, match="environment 1 returned an observation that is not a number"
    ):
        converted.from_environment(np.array([[0.0, 1.0], [math.nan, 1.0]]))


def test_a_grid_of_actions_has_both_bounds() -> None:
    space, converted = convert_action(PAIR, action("discrete", divisions=[3, 2]))

    assert space == DiscreteSpace(6)
    sent = converted.to_environment(np.arange(6))
    assert sent.tolist() == [list(pair) for pair in itertools.product([-1, 0, 1], [0, 10])]
    assert sent.dtype == np.float32


def test_a_grid_keeps_the_shape_and_dtype_of_the_action() -> None:
    image = BoxSpace((1, 2), low=0.0, high=4.0, environment_dtype=INT32)

    space, converted = convert_action(image, action("discrete", divisions=[5]))

    assert space == DiscreteSpace(25)
    sent = converted.to_environment(np.array([0, 7, 24]))
    assert (sent.tolist(), sent.dtype) == ([[[0, 0]], [[1, 2]], [[4, 4]]], INT32)


def test_several_choices_are_one() -> None:
    pair = MultiDiscreteSpace((2, 3), start=(5, 0))

    space, converted = convert_action(pair, action("discrete"))

    assert space == DiscreteSpace(6)
    each = converted.to_environment(np.arange(6))
    assert each.tolist() == [list(pair) for pair in itertools.product([5, 6], [0, 1, 2])]
    seen, back = convert_observation(pair, observation())
    assert (seen, back.from_environment(each).tolist()) == (space, list(range(6)))


def test_choices_have_equal_parts_of_a_number() -> None:
    three = DiscreteSpace(3, start=1)

    space, converted = convert_action(three, action("continuous"))

    assert space == BoxSpace((1,), low=-1.0, high=1.0)
    assert isinstance(space, BoxSpace)
    assert space.bounded
    stored = np.array([[-7.0], [-1.0], [-0.34], [-0.33], [0.33], [0.34], [1.0], [9.0]], np.float32)
    assert converted.to_environment(stored).tolist() == [1, 1, 1, 2, 2, 3, 3, 3]
    space, converted = convert_action(MultiDiscreteSpace((2, 4)), action("continuous"))
    assert space == BoxSpace((2,), low=-1.0, high=1.0)
    assert converted.to_environment(np.array([[0.1, -0.1]])).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("space", "spec", "path", "message"),
    [
        (PAIR, {}, ".divisions", "is needed for Box"),
        (PAIR, {"divisions": [2, 2, 2]}, ".divisions", "has 3 entries; the space has 2 numbers"),
        (PAIR, {"divisions": [2], "low": [1], "high": [1]}, "", "goes from 1 to 1"),
        (PAIR, {"divisions": [65_536]}, "", "65536 x 65536 are 4294967296 choices; at most"),
        (BoxSpace((1,)), {"divisions": [2]}, "", "-inf to inf, .* set low and high"),
        (DiscreteSpace(2), {"divisions": [2]}, ".divisions", "is for a Box; .* Discrete"),
        (DiscreteSpace(2), {"low": [0]}, ".low", "is for a Box"),
        (MultiDiscreteSpace((2, 2)), {"low": [0]}, ".low", "is for a Box"),
    ],
)
def test_an_observation_that_cannot_be_converted_is_refused(
    space: Space, spec: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        convert_observation(space, observation(**spec))
    assert caught.value.path == f"environment.convert.observation{path}"


@pytest.mark.parametrize(
    ("space", "spec", "path", "message"),
    [
        (PAIR, action("discrete"), ".divisions", "is needed for Box"),
        (PAIR, action("discrete", divisions=[65]), "", "65 x 65 are 4225 choices; at most 4096"),
        (BoxSpace((1,)), action("discrete", divisions=[2]), "", "-inf to inf, which cannot be"),
        (PAIR, action("continuous", divisions=[2]), ".divisions", "to is continuous"),
        (DiscreteSpace(2), action("discrete", divisions=[2]), ".divisions", "is for a Box"),
    ],
)
def test_an_action_that_cannot_be_converted_is_refused(
    space: Space, spec: ActionConversionSpec, path: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        convert_action(space, spec)
    assert caught.value.path == f"environment.convert.action{path}"


@pytest.mark.parametrize("divisions", [[], [1], [0], [-2], [2.5], ["x"], 5])
def test_divisions_are_at_least_two(divisions: Any) -> None:
    with pytest.raises(ValidationError):
        observation(divisions=divisions)
