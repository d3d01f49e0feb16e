"""Real runs in environments that raise at a forbidden action, and allow none at the end of an episode."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rljob import spec
from rljob.algorithms.base import (
    Acted,
    Actor,
    AlgorithmConfig,
    Field,
    Learner,
    Net,
    OnPolicy,
    Place,
    Policy,
    Seen,
)
from rljob.cli.check import lines
from rljob.envs.spaces import Spaces
from rljob.errors import RunError
from rljob.plan import trial
from tests.integration import doors
from tests.integration.doors import LENGTH
from tests.integration.test_run import Place as Folder
from tests.integration.test_run import result
from tests.unit.specs import job


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path)
    shutil.copy(doors.__file__, tmp_path / "doors.py")
    yield made
    made.close()


PPO = {"rolloutLength": 16, "learningRate": 3e-3, "gamma": 0.0, "gaeLambda": 0.0}
DQN = {"minSize": 200, "gamma": 0.5, "epsilon": {"from": 1.0, "to": 0.0, "steps": 2000}}


@pytest.mark.parametrize(
    ("name", "config", "kwargs", "strict"),
    [
        ("PPO", PPO, {"form": "info"}, False),
        ("DQN", DQN, {"form": "dict"}, False),
        ("DQN", {**DQN, "replay": "prioritised"}, {"form": "info"}, True),
        ("PPO", PPO, {"form": "tuple", "nvec": [4, 2]}, False),
    ],
    ids=["ppo-info", "dqn-dict", "dqn-strict", "ppo-multi"],
)
def test_it_learns_which_of_the_allowed_actions_is_best(
    place: Folder, name: str, config: dict[str, Any], kwargs: dict[str, Any], strict: bool
) -> None:
    """With the best policy every step of an episode is worth 1; to know it takes the masks, also in evaluations."""
    file = place.write(
        environment={"entryPoint": "doors:Doors", "kwargs": kwargs},
        algorithm={"name": name, "config": config},
        rollout={"replicas": 1 if strict else 2, "envsPerReplica": 8},
        stop={"meanReturn": 0.97 * LENGTH, "steps": 150_000},
        strict=strict,
    )
    done = place.run("run", file, "--plain", "--dir", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    ended = result(place.folder / "run")
    assert (ended["outcome"], ended["reason"], ended["restarts"]) == (
        "Complete",
        "MeanReturnReached",
        0,
    )
    played = place.run("eval", "run", "--episodes", "16", "--json")
    assert played.returncode == 0, played.stderr
    assert json.loads(played.stdout)["mean"] == LENGTH


def test_an_algorithm_without_masks_trains_where_they_are_ignored(place: Folder) -> None:
    sections = {
        "algorithm": {"name": "SAC", "config": {"minSize": 300, "batchSize": 16}},
        "rollout": {"replicas": 1, "envsPerReplica": 2},
        "stop": {"updates": 50},
        "evaluation": {"episodes": 1},
    }
    taxi = {"id": "Taxi-v4", "convert": {"action": {"to": "continuous"}}, "maxEpisodeSteps": 50}
    refused = place.run("run", place.write(environment=taxi, **sections), "--dir", "run")
    assert refused.returncode == 2
    assert "environment.masks: false ignores them" in refused.stderr
    file = place.write(environment={**taxi, "masks": False}, **sections)
    done = place.run("run", file, "--dir", "run")
    assert done.returncode == 0, done.stderr
    assert result(place.folder / "run")["reason"] == "UpdatesReached"
    played = place.run("eval", "run", "--episodes", "2", "--json")
    assert played.returncode == 0, played.stderr


class Deaf:
    """An algorithm whose actor knows no masks."""

    Config = AlgorithmConfig
    networks: ClassVar[Mapping[str, Net]] = {}
    fields: ClassVar[tuple[Field, ...]] = ()

    def __init__(self, config: AlgorithmConfig, spaces: Spaces) -> None:
        self.data = OnPolicy(16)

    def actor(self, policy: Policy, place: Place) -> Actor:
        return DeafActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> Learner:
        return Learner()


class DeafActor(Actor):
    def act(self, seen: Seen) -> Acted:
        return Acted(self.rng.integers(doors.DOORS, size=len(seen.valid)))


def trial_of(monkeypatch: pytest.MonkeyPatch, **sections: Any) -> trial.JobTrial:
    monkeypatch.setattr(trial, "SECONDS", 0.0)
    environment = {"entryPoint": f"{doors.__name__}:Doors"}
    return trial.try_out(spec.parse(job(environment=environment, **sections)))


def test_a_check_says_that_there_are_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trial_of(monkeypatch)
    assert found.masked
    assert found.to_json()["masked"] is True
    made = spec.parse(job(environment={"entryPoint": "doors:Doors"}))
    assert any("Discrete(4, start=3), with action masks" in line for line in lines(made, found))
    assert not any("masks" in line for line in lines(made, replace(found, masked=False)))


def test_a_check_refuses_an_algorithm_that_does_not_look_at_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RunError, match=r"Its actor has to choose by `seen\.mask`"):
        trial_of(monkeypatch, algorithm={"entryPoint": f"{__name__}:Deaf"})
