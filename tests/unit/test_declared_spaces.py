"""Spaces that a job states in YAML: the same as Gymnasium's, and compared with those of the environment."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces as gym

from rljob import spec
from rljob.envs.declared import DeclaredSpaces, declared_spaces
from rljob.envs.factory import make
from rljob.envs.spaces import Spaces
from rljob.envs.vector import Environments
from rljob.errors import InputError
from rljob.spec import EnvironmentSpec
from tests.unit.specs import SPACES, application_job

CARTPOLE = {"id": "CartPole-v1"}
CHOICE = {"type": "Discrete", "choices": 2}


def environment(observation: Any = None, action: Any = None, **fields: Any) -> EnvironmentSpec:
    stated = {
        "observation": observation or SPACES["observation"],
        "action": action or SPACES["action"],
        "mask": fields.pop("mask", False),
    }
    job = application_job(environment={"spaces": stated, **fields})
    return spec.parse(job).spec.environment


def declared(**fields: Any) -> DeclaredSpaces:
    found = declared_spaces(environment(**fields))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("stated", "same"),
    [
        ({"type": "Box", "shape": [4]}, gym.Box(-np.inf, np.inf, (4,))),
        ({"type": "Box", "shape": []}, gym.Box(-np.inf, np.inf, ())),
        ({"type": "Box", "shape": [2], "low": -0.1, "high": [1, "inf"]}, gym.Box(np.array([-0.1, -0.1], np.float32), np.array([1, np.inf], np.float32))),
        ({"type": "Box", "shape": [2, 1], "low": [[0], [1]], "dtype": "float64"}, gym.Box(np.array([[0.0], [1.0]]), np.full((2, 1), np.inf), dtype=np.float64)),
        ({"type": "Box", "shape": [8, 8, 3], "low": 0, "high": 255, "dtype": "uint8"}, gym.Box(0, 255, (8, 8, 3), np.uint8)),
        ({"type": "Box", "shape": [3], "low": -(2**60), "high": 2**60 + 1, "dtype": "int64"}, gym.Box(-(2**60), 2**60 + 1, (3,), np.int64)),
        ({"type": "Box", "shape": [3], "dtype": "int32"}, gym.Box(-np.inf, np.inf, (3,), np.int32)),
        ({"type": "Discrete", "choices": 5}, gym.Discrete(5)),
        ({"type": "Discrete", "choices": 5, "start": -2}, gym.Discrete(5, start=-2)),
        ({"type": "MultiDiscrete", "nvec": [3, 4]}, gym.MultiDiscrete([3, 4])),
        ({"type": "MultiDiscrete", "nvec": [3, 4], "start": [1, -1]}, gym.MultiDiscrete([3, 4], start=[1, -1])),
    ],
)  # fmt: skip
def test_a_space_means_what_it_means_to_gymnasium(stated: Any, same: gym.Space[Any]) -> None:
    found = declared(observation=stated, action=stated).own
    assert found == Spaces.from_gymnasium(same, same)
    again = spec.parse(spec.dump(spec.parse(application_job(environment={"spaces": {"observation": stated, "action": stated}}))))  # fmt: skip
    kept = declared_spaces(again.spec.environment)
    assert kept is not None
    assert kept.own == found


@pytest.mark.parametrize(
    ("space", "path", "words"),
    [
        ({"type": "Box", "shape": [2], "low": [1, 2, 3]}, "low", "[1, 2, 3] is not allowed; one number, or nested lists of the shape [2]"),
        ({"type": "Box", "shape": [2], "low": [[1], [2, 3]]}, "low", "one number, or nested lists"),
        ({"type": "Box", "shape": [2], "low": 1, "high": [5, 0]}, "low", "1 is not allowed; at most high, which is 0"),
        ({"type": "Box", "shape": [2], "low": -1, "dtype": "uint8"}, "low", "-1 is not allowed; a whole number from 0 to 255"),
        ({"type": "Box", "shape": [2], "high": 0.5, "dtype": "int8"}, "high", "0.5 is not allowed; a whole number"),
        ({"type": "Box", "shape": [2**20, 2**10]}, "shape", "numbers; at most"),
        ({"type": "Discrete", "choices": 2, "start": [1]}, "start", "[1] is not allowed for a Discrete"),
        ({"type": "MultiDiscrete", "nvec": [2, 2], "start": 1}, "start", "a list of 2 whole numbers"),
        ({"type": "MultiDiscrete", "nvec": [2, 2], "start": [1]}, "start", "a list of 2 whole numbers"),
        ({"type": "MultiDiscrete", "nvec": [2**24, 1]}, "nvec", "has 16777217 choices"),
    ],
)  # fmt: skip
def test_what_is_no_space_is_told_before_anything_starts(space: Any, path: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        declared(action=space)
    assert raised.value.path == f"environment.spaces.action.{path}"
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("low", "abc", '"abc" is not allowed; a number, inf, -inf, or lists'),
        ("low", True, "true is not allowed"),
        ("high", [0, None], "null is not allowed"),
        ("high", float("nan"), "is not allowed; a number"),
        ("start", [0.5], "0.5 is not allowed; a whole number"),
        ("start", 1, "is not a field of this type; it is one of Discrete and MultiDiscrete"),
    ],
)
def test_bounds_are_numbers(field: str, value: Any, words: str) -> None:
    with pytest.raises(InputError) as raised:
        environment(action={"type": "Box", "shape": [2], field: value})
    assert raised.value.path.startswith(f"environment.spaces.action.{field}")
    assert words in raised.value.message


def test_arguments_without_an_environment_are_refused() -> None:
    # The API server cannot know: a rule cannot see fields of any type.
    with pytest.raises(InputError, match="is not allowed without id or entryPoint") as raised:
        environment(kwargs={"a": 1})
    assert raised.value.path == "environment.kwargs"


def test_conversions_apply_to_what_is_stated() -> None:
    found = declared(
        action={"type": "Box", "shape": [1], "low": -2, "high": 2},
        convert={"action": {"to": "discrete", "divisions": [5]}},
    )
    assert found.spaces.action.shape == ()
    assert found.taken.to_environment(np.array([0, 4])).tolist() == [[-2.0], [2.0]]


def test_masks_of_combinations() -> None:
    found = declared(
        action={"type": "MultiDiscrete", "nvec": [2, 2]},
        mask=True,
        convert={"action": {"to": "discrete"}},
    )
    assert found.masked is not None
    assert found.masked(np.array([[True, False, True, True]])).tolist() == [[1, 1, 0, 0]]
    ignored = declared(mask=True, masks=False)
    assert (ignored.masked, ignored.spaces.masked) == (None, False)


def test_spaces_that_the_environment_has_are_those_of_the_job() -> None:
    with closing(Environments(environment(**CARTPOLE), 1)) as found:
        assert found.spaces == declared().spaces
        assert found.reset(0).shape == (1, 4)


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        (
            {"observation": {"type": "Box", "shape": [5]}},
            "observation",
            "is Box(-inf, inf, (5,), float32), but CartPole-v1 has Box(-",
        ),
        (
            {"observation": {"type": "Box", "shape": [4], "high": 5}},
            "observation",
            "is Box(-inf, 5.0, (4,), float32), but CartPole-v1 has",
        ),
        ({"action": {"type": "Discrete", "choices": 3}}, "action", "is Discrete(3), but CartPole-v1 has Discrete(2)"),
        ({"action": {"type": "Discrete", "choices": 2, "start": 1}}, "action", "is Discrete(2, start=1), but CartPole-v1 has Discrete(2)"),
        ({"mask": True}, "mask", "is true, but CartPole-v1 gives none"),
    ],
)  # fmt: skip
def test_spaces_that_differ_from_the_environments_are_both_named(
    fields: Any, path: str, words: str
) -> None:
    with closing(Environments(environment(**CARTPOLE, **fields), 1)) as found:
        with pytest.raises(InputError) as raised:
            _ = found.spaces
        assert raised.value.path == f"environment.spaces.{path}"
        assert words in raised.value.message


def test_without_an_environment_nothing_can_be_made() -> None:
    with pytest.raises(InputError, match="only applications feed this job"):
        make(environment(), 1)
