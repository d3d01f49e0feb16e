"""`environment.maxEpisodeSteps`: episodes are truncated in every form of an environment, also in real runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rljob.envs.vector import Environments
from rljob.errors import InputError
from rljob.spec import EnvironmentSpec
from tests.integration.test_envs import Everything, in_turn, vector
from tests.integration.test_run import Place, records, result


def wrapped(limit: int) -> gymnasium.Env[Any, Any]:
    """An environment with a limit of its own, below another wrapper."""
    made = gymnasium.make("MountainCar-v0", max_episode_steps=limit)
    return gymnasium.wrappers.ClipReward(made, -1, 1)


def bare() -> gymnasium.Env[Any, Any]:
    return Everything("box")


def several(
    num_envs: int, max_episode_steps: int = 100
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    def one() -> gymnasium.Env[Any, Any]:
        return wrapped(max_episode_steps)

    return gymnasium.vector.SyncVectorEnv([one] * num_envs, autoreset_mode="NextStep")


def spec_of(steps: int, made: Any, **kwargs: Any) -> EnvironmentSpec:
    named = (
        {"id": made}
        if isinstance(made, str)
        else {"entryPoint": f"{made.__module__}:{made.__name__}"}
    )
    return EnvironmentSpec.model_validate({**named, "kwargs": kwargs, "maxEpisodeSteps": steps})


def ends(spec: EnvironmentSpec, steps: int) -> list[int]:
    """At which steps both of two environments were truncated; nothing else ends an episode."""
    envs = Environments(spec, 2)
    envs.reset(0)
    found = []
    for index in range(steps):
        action = np.zeros((2, *envs.spaces.action.shape), envs.spaces.action.dtype)
        step = envs.step(action)
        assert not step.terminated.any()
        if step.truncated.all():
            found.append(index)
        assert step.truncated.all() == step.truncated.any()
    envs.close()
    return found


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(5, "CartPole-v1"),
        spec_of(5, "MountainCar-v0"),
        spec_of(5, bare),
        spec_of(5, wrapped, limit=3),
        spec_of(5, wrapped, limit=50),
        spec_of(5, several),
    ],
    ids=["vector", "single", "factory", "longer", "shorter", "vectors"],
)
def test_episodes_are_truncated(spec: EnvironmentSpec) -> None:
    assert ends(spec, 12) == [4, 10]


def test_single_environments_of_an_id_with_a_vector_form(monkeypatch: pytest.MonkeyPatch) -> None:
    in_turn(monkeypatch)
    assert ends(spec_of(5, "CartPole-v1"), 12) == [4, 10]


def test_it_is_longer_than_the_limit_of_the_registry() -> None:
    assert gymnasium.spec("MountainCar-v0").max_episode_steps == 200
    assert ends(spec_of(230, "MountainCar-v0"), 231) == [229]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            spec_of(5, "CartPole-v1", max_episode_steps=7),
            "is 5, and environment.kwargs.max_episode_steps is 7; only one of the two is allowed",
        ),
        (spec_of(5, vector), ":vector has no argument max_episode_steps. A factory of vector"),
        (
            spec_of(5, "ALE/Pong-v5"),
            "the vector form of ALE/Pong-v5 has no argument max_episode_steps. Limit its episodes by a setting",
        ),
    ],
)
def test_where_it_cannot_be_it_is_refused(spec: EnvironmentSpec, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Environments(spec, 2)
    assert caught.value.path == "environment.maxEpisodeSteps"
    assert words in caught.value.message


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_a_run_and_its_evaluation_have_the_limit(place: Place) -> None:
    file = place.write(
        environment={"entryPoint": "walks:Walk", "maxEpisodeSteps": 4}, evaluation={"episodes": 3}
    )
    ended = place.run("run", file, "--dir", "run")
    assert ended.returncode == 0, ended.stderr
    end = result(place.folder / "run")
    # Each step of the walk is worth 1; without the limit it has 10.
    assert (end["meanReturn"], end["evaluation"]["mean"]) == (4.0, 4.0)
    assert records(place.folder / "run")[-1]["episodes"] >= 3000 / 5

    refused = place.run(
        "run", file, "--set", "environment.kwargs.max_episode_steps=3", "--dir", "other"
    )
    assert refused.returncode == 2
    assert "environment.maxEpisodeSteps: is 4, and" in refused.stderr
