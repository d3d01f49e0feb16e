"""Spaces: what is stored, what the environment takes, what a network sees."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces as gym

from rljob.envs.spaces import (
    BoxSpace,
    DiscreteSpace,
    MultiDiscreteSpace,
    Space,
    Spaces,
    different,
    encode,
    encoded_shape,
    encoded_size,
    told_apart,
)
from rljob.errors import InputError

LEFT_OPEN = gym.Box(np.array([-np.inf, -2.5, 0.1]), np.array([1.0, np.inf, 0.7]), dtype=np.float64)
GRID = gym.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[0, 1], [-2, 3]]))
EVERY_SPACE: list[gym.Space[Any]] = [
    gym.Box(-1.0, 1.0, (3,), np.float32),
    gym.Box(-np.inf, np.inf, (), np.float64),
    LEFT_OPEN,
    gym.Box(0, 255, (4, 5, 3), np.uint8),
    gym.Box(-(2**62) - 1, 2**62 + 1, (2,), np.int64),
    gym.Box(-np.inf, np.inf, (2,), np.int32),
    gym.Discrete(7, start=-3),
    gym.Discrete(2, dtype=np.int32),
    gym.MultiDiscrete([2, 5, 3]),
    GRID,
]


def described(space: gym.Space[Any], role: str = "action") -> Any:
    other = gym.Discrete(2)
    if role == "action":
        return Spaces.from_gymnasium(other, space).action
    return Spaces.from_gymnasium(space, other).observation


@pytest.mark.parametrize("space", EVERY_SPACE, ids=str)
def test_json_round_trip_is_exact(space: gym.Space[Any]) -> None:
    spaces = Spaces.from_gymnasium(space, space)
    text = json.dumps(spaces.to_json(), allow_nan=False)
    again = Spaces.from_json(json.loads(text))
    assert again == spaces
    assert hash(again) == hash(spaces)
    assert json.dumps(again.to_json()) == text


def test_json_says_whether_there_are_masks() -> None:
    plain = Spaces(BoxSpace((2,)), MultiDiscreteSpace((2, 3)))
    masked = replace(plain, masked=True)
    assert "masked" not in plain.to_json()
    assert (plain.mask_size, masked.mask_size) == (0, 5)
    assert [Spaces.from_json(each.to_json()) for each in (plain, masked)] == [plain, masked]
    with pytest.raises(ValueError, match="masked is yes"):
        Spaces.from_json({**plain.to_json(), "masked": "yes"})
    box = Spaces(BoxSpace((2,)), BoxSpace((2,))).to_json()
    with pytest.raises(ValueError, match="cannot have a mask"):
        Spaces.from_json({**box, "masked": True})


def test_json_says_how_many_agents_there_are_and_what_the_state_is() -> None:
    plain = Spaces(BoxSpace((2,)), DiscreteSpace(3))
    assert not plain.to_json().keys() & {"agents", "state"}
    for state in (None, BoxSpace((7,)), DiscreteSpace(4)):
        several = replace(plain, agents=5, state=state)
        assert Spaces.from_json(several.to_json()) == several
    for odd in (0, -1, True, 2.0, "2", 2**40):
        with pytest.raises(ValueError, match=f"agents is {odd}"):
            Spaces.from_json({**plain.to_json(), "agents": odd})
    with pytest.raises(ValueError, match="not the description of spaces"):
        Spaces.from_json({**plain.to_json(), "state": 7})


def test_json_keeps_every_bound() -> None:
    values = Spaces.from_gymnasium(LEFT_OPEN, LEFT_OPEN).to_json()["action"]
    assert values["low"] == ["-inf", -2.5, 0.1]
    assert values["high"] == [1.0, "inf", 0.7]
    assert described(gym.Box(-(2**62) - 1, 2**62 + 1, (2,), np.int64)).low == -(2**62) - 1
    assert described(gym.Box(-np.inf, np.inf, (2,), np.int32)).low == -np.inf


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"observation": {"type": "Box"}, "action": {}},
        {"observation": {"type": "Discrete", "n": 2, "m": 3}, "action": {}},
        {"observation": {"type": "Box", "shape": [1], "dtype": "object"}, "action": {}},
        {
            "observation": {"type": "Text"},
            "action": {"type": "Text"},
        },
    ],
)
def test_json_that_describes_no_spaces_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not the description of spaces|a Box must hold numbers"):
        Spaces.from_json(values)


def test_spaces_are_written_as_gymnasium_does() -> None:
    texts = [str(described(space)) for space in EVERY_SPACE]
    for index in (0, 1, 3, 4, 6):
        assert texts[index] == str(EVERY_SPACE[index]), index
    assert texts[-1] == "MultiDiscrete([2, 3, 4, 5])"


def test_stored_shape_and_dtype() -> None:
    stored = [
        (s.shape, s.dtype) for s in (described(space, "observation") for space in EVERY_SPACE)
    ]
    assert stored == [
        ((3,), np.float32),
        ((), np.float32),
        ((3,), np.float32),
        ((4, 5, 3), np.uint8),
        ((2,), np.int64),
        ((2,), np.int32),
        ((), np.int64),
        ((), np.int64),
        ((3,), np.int64),
        ((4,), np.int64),
    ]
    # A Box action is what a Gaussian policy draws, whatever the environment counts in.
    assert {s.dtype for s in map(described, EVERY_SPACE[:6])} == {np.dtype(np.float32)}


def test_unit_interval_covers_a_bounded_box() -> None:
    space = described(gym.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32)))
    stored = np.array([[-1, -1], [0, 0], [0.5, -0.5], [1, 1], [7, -7]], np.float32)
    taken = space.to_environment(stored)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, [[-2, 0], [0, 5], [1, 2.5], [2, 10], [2, 0]])
    np.testing.assert_array_equal(stored[4], [7, -7])


def test_dimensions_without_two_bounds_keep_their_units() -> None:
    taken = described(LEFT_OPEN).to_environment(np.array([[5.0, -9.0, 0.0]], np.float32))
    assert taken.dtype == np.float64
    np.testing.assert_allclose(taken, [[1.0, -2.5, 0.4]], rtol=1e-15)
    largest = float(np.finfo(np.float32).max)
    unbounded = described(gym.Box(-largest, largest, (1,), np.float32))
    np.testing.assert_array_equal(unbounded.to_environment(np.array([[3.0]], np.float32)), [[3.0]])


@pytest.mark.parametrize("space", EVERY_SPACE, ids=str)
def test_extreme_actions_stay_inside_the_space(space: gym.Space[Any]) -> None:
    ours = described(space)
    for value in (-1.0, 0.0, 1.0) if isinstance(space, gym.Box) else (0, 1):
        taken = ours.to_environment(np.full((2, *ours.shape), value, ours.dtype))
        assert taken.dtype == space.dtype
        assert space.contains(np.asarray(taken[0])), (value, taken[0])


def test_integer_box_actions_are_rounded() -> None:
    space = described(gym.Box(0, 4, (1,), np.int32))
    taken = space.to_environment(np.array([[-1], [-0.4], [0.3], [1]], np.float32))
    np.testing.assert_array_equal(taken, [[0], [1], [3], [4]])


def test_discrete_counts_from_zero_when_stored() -> None:
    space = described(gym.Discrete(4, start=-2))
    assert space == DiscreteSpace(4, -2)
    np.testing.assert_array_equal(space.to_environment(np.array([0, 3])), [-2, 1])
    np.testing.assert_array_equal(space.from_environment(np.array([-2, 1])), [0, 3])
    assert (
        described(gym.Discrete(2, dtype=np.int32)).to_environment(np.array([1])).dtype == np.int32
    )


def test_multi_discrete_is_stored_flat_from_zero() -> None:
    space = described(GRID)
    stored = np.array([[0, 0, 0, 0], [1, 2, 3, 4]])
    taken = space.to_environment(stored)
    np.testing.assert_array_equal(taken, [[[0, 1], [-2, 3]], [[1, 3], [1, 7]]])
    np.testing.assert_array_equal(space.from_environment(taken), stored)


def test_nothing_is_copied_where_nothing_changes() -> None:
    actions = np.arange(2)
    assert DiscreteSpace(2).to_environment(actions) is actions
    pairs = np.zeros((3, 2), np.int64)
    assert np.shares_memory(MultiDiscreteSpace((2, 2)).to_environment(pairs), pairs)
    rows = np.zeros((5, 3), np.float32)
    assert encode(BoxSpace((3,)), rows) is rows
    assert BoxSpace((3,)).from_environment(rows) is rows


def test_encode_boxes() -> None:
    image = BoxSpace((1, 2, 3), np.dtype(np.uint8), 0, 255)
    encoded = encode(image, np.array([[[[0, 51, 102], [153, 204, 255]]]], np.uint8))
    assert encoded.dtype == np.float32
    expected = np.array([[[[0, 0.2, 0.4], [0.6, 0.8, 1]]]], np.float32)
    np.testing.assert_array_equal(encoded, expected)
    ram = BoxSpace((2,), np.dtype(np.uint8), 0, 255)
    np.testing.assert_array_equal(encode(ram, np.array([[0, 255]], np.uint8)), [[0, 255]])
    planes = BoxSpace((1, 1, 2), np.dtype(np.uint8), 0, 1)
    np.testing.assert_array_equal(encode(planes, np.array([[[[0, 1]]]], np.uint8)), [[[[0, 1]]]])


def test_encode_one_hot() -> None:
    one = encode(DiscreteSpace(3, start=5), np.array([2, 0]))
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, [[0, 0, 1], [1, 0, 0]])
    several = encode(MultiDiscreteSpace((2, 3)), np.array([[1, 0], [0, 2]]))
    assert several.dtype == np.float32
    np.testing.assert_array_equal(several, [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]])


@pytest.mark.parametrize("space", EVERY_SPACE, ids=str)
def test_encoded_shape_holds_for_any_leading_dimensions(space: gym.Space[Any]) -> None:
    ours = described(space, "observation")
    for lead in ((4,), (3, 2)):
        encoded = encode(ours, np.zeros((*lead, *ours.shape), ours.dtype))
        assert encoded.shape == (*lead, *encoded_shape(ours))
        assert encoded.dtype == np.float32
    assert encoded_size(ours) == np.prod(encoded_shape(ours))


@pytest.mark.parametrize(
    "space",
    [
        gym.Dict({"a": gym.Discrete(2)}),
        gym.Tuple((gym.Discrete(2),)),
        gym.MultiBinary(3),
        gym.Text(4),
        gym.Sequence(gym.Discrete(2)),
        gym.Box(0, 1, (0,)),
        None,
    ],
    ids=str,
)
def test_other_spaces_are_named(space: Any) -> None:
    for role, pair in (
        ("observation", (space, gym.Discrete(2))),
        ("action", (gym.Discrete(2), space)),
    ):
        with pytest.raises(InputError) as caught:
            Spaces.from_gymnasium(*pair)
        assert caught.value.path == "environment"
        assert f"the {role} space {space} is not supported" in caught.value.message
        assert "Box (not empty), Discrete and MultiDiscrete" in caught.value.message


@pytest.mark.parametrize(
    "space",
    [
        {"type": "Box", "shape": [10**6, 10**6], "dtype": "uint8"},
        {"type": "Box", "shape": [10**9, 2], "dtype": "float32", "low": [0, 1]},
        {"type": "Box", "shape": [0], "dtype": "float32"},
        {"type": "Box", "shape": [-1, -4], "dtype": "float32"},
        {"type": "Discrete", "n": 10**12},
        {"type": "Discrete", "n": 0},
        {"type": "MultiDiscrete", "nvec": [10**9, 10**9]},
    ],
)
def test_spaces_of_strangers_are_measured_before_anything_is_made(space: dict[str, Any]) -> None:
    good = {"type": "Discrete", "n": 2}
    with pytest.raises(ValueError, match=r"at most|instead of"):
        Spaces.from_json({"observation": space, "action": good})


@pytest.mark.parametrize(
    ("observation", "action", "found"),
    [
        (BoxSpace((2,), low=-1, high=1), MultiDiscreteSpace((3, 2)), []),
        (BoxSpace((2,), low=-9, high=9), MultiDiscreteSpace((3, 2)), []),
        (BoxSpace((3,), low=-1, high=1), MultiDiscreteSpace((3, 2)), ["observation"]),
        (BoxSpace((2,), low=-1, high=1), MultiDiscreteSpace((2, 3)), ["action"]),
        (BoxSpace((2,), low=-1, high=1), DiscreteSpace(5), ["action"]),
        (DiscreteSpace(2), DiscreteSpace(5), ["observation", "action"]),
    ],
)
def test_what_means_something_else_to_the_same_weights_differs(
    observation: Space, action: Space, found: list[str]
) -> None:
    spaces = Spaces(BoxSpace((2,), low=-1, high=1), MultiDiscreteSpace((3, 2)))

    assert different(spaces, Spaces(observation, action)) == found


def test_actions_with_other_bounds_differ_and_are_told_apart() -> None:
    one = BoxSpace((2,), low=[-1.0, -2.0], high=[1.0, 2.0])
    other = BoxSpace((2,), low=[-2.0, -1.0], high=[2.0, 1.0])

    assert different(Spaces(one, one), Spaces(one, other)) == ["action"]
    first, second = told_apart(one, other)
    assert "low [-1.0, -2.0] and high [1.0, 2.0]" in first
    assert "low [-2.0, -1.0] and high [2.0, 1.0]" in second
    assert told_apart(one, DiscreteSpace(2)) == (str(one), "Discrete(2)")
