"""`rljob check`: what it says of environments that work, that may not be meant so, and that do not work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENTS = """
import gymnasium, numpy

class Walk(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), numpy.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, largest=1.0, length=10, wrong=""):
        self.largest, self.length, self.wrong = largest, length, wrong
        print("the simulator greets")

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        noise = numpy.random.rand() if self.wrong == "seed" else 0
        return numpy.full(3, noise, numpy.float32), {}

    def step(self, action):
        self.now += 1
        observation = numpy.full(3, self.largest * self.now / 10, numpy.float32)
        if self.wrong == "old":
            return observation, 1.0, False, {}
        if self.wrong == "raises":
            self.look_up()
        return observation, 1.0, self.now == self.length, False, {}

    def look_up(self):
        raise KeyError("no such level")
"""


def check(folder: Path, *options: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    (folder / "walks.py").write_text(ENVIRONMENTS)
    environment = json.dumps({"entryPoint": "walks:Walk", "kwargs": kwargs})
    command = [
        sys.executable,
        "-m",
        "rljob",
        "check",
        "--env",
        "x",
        "--set",
        f"environment={environment}",
    ]
    command += ["--set", "rollout.envsPerReplica=2", *options]
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
        timeout=120,
    )


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_what_works_is_described(tmp_path: Path, algorithm: str) -> None:
    done = check(tmp_path, "--algorithm", algorithm, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "the simulator greets" in done.stderr
    assert (found["environments"], found["networkInput"]) == (2, [3])
    assert found["action"] == "Discrete(2)"
    assert (found["meanReturn"], found["meanLength"]) == (10.0, 10.0)
    assert found["steps"] > 100
    assert found["metrics"]
    assert sum(each["parameters"] for each in found["networks"]) == found["parameters"] > 0
    assert found["warnings"] == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix) == ["walks.py"], (
        "no run was made"
    )


def test_what_may_not_be_meant_is_warned_of(tmp_path: Path) -> None:
    own = "networks={policy: {config: {hidden: [8]}}}"
    done = check(tmp_path, "--layers", "--set", own, largest=5000.0, length=-1, wrong="seed")
    assert done.returncode == 0, done.stderr
    for words in (
        "reset(seed=0) gave different observations twice",
        "no episode ended within",
        "of the observations are outside the bounds",
        "networks learn better from numbers near 1",
        'mlp, policy: mlp {"hidden": [8]}, ',
        "The job can train; look at the warnings.",
        "body.trunks.policy.0  Linear                 32  weight [8, 3], bias [8]",
    ):
        assert words in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ("old", 2, "step returned 4 values, expected 5"),
        ("raises", 1, "KeyError: 'no such level' ("),
    ],
)
def test_what_does_not_work_is_told(tmp_path: Path, wrong: str, code: int, words: str) -> None:
    done = check(tmp_path, wrong=wrong)
    assert done.returncode == code, done.stderr
    assert words in done.stderr.splitlines()[-1]
    assert ("in look_up" in done.stderr) == (wrong == "raises")
    assert "rljob/envs" not in done.stderr


PUBLISHES = """
from rljob.algorithms.built_in.q_learning import QLearning, QLearningLearner


class Learner(QLearningLearner):
    updated = False

    def update(self, batch, progress):
        self.updated = True
        return super().update(batch, progress)

    def publish(self, progress):
        return {"q": self._q, "epsilon": float("nan") if self.updated else 1.0}


class Mine(QLearning):
    def learner(self, networks, seed):
        return Learner(self.config, __import__("numpy").zeros(self.shape))
"""


def test_a_published_nan_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PUBLISHES)
    command = [sys.executable, "-m", "rljob", "check", "--env", "Taxi-v4"]
    command += ["--set", "algorithm={entryPoint: mine:Mine}", "--set", "rollout.envsPerReplica=2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout
    assert done.stderr.splitlines()[-1].endswith(
        "after one update the learner publishes NaN in epsilon"
    )


def test_experience_that_does_not_fit_into_memory_is_refused(tmp_path: Path) -> None:
    done = check(tmp_path, "--algorithm", "DQN", "--set", "buffer.capacity=10000000000")
    assert done.returncode == 2
    assert "buffer.capacity: " in done.stderr
    assert "Set at most" in done.stderr


def test_a_learner_that_cannot_be_saved_is_told(tmp_path: Path) -> None:
    (tmp_path / "learns.py").write_text(
        """
import torch
from rljob.algorithms.built_in.ppo import PPO

class Half(PPO):
    def learner(self, networks, seed):
        made = super().learner(networks, seed)
        made.average = torch.zeros(2, dtype=torch.bfloat16)
        return made
"""
    )
    done = check(tmp_path, "--set", 'algorithm={"entryPoint": "learns:Half"}')
    assert done.returncode == 1
    assert "the learner cannot be saved: " in done.stderr
    assert "BFloat16" in done.stderr


SPOILS = """
    def update(self, batch, progress):
        update = super().update(batch, progress)
        for parameter in self._network.parameters():
            parameter.data.fill_(float("nan"))
        return update
"""
LISTS = """
    def publish(self, progress):
        return []
"""


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (SPOILS, "of the network policy is NaN or infinite"),
        (LISTS, "Learns.publish returned a list, expected a dict of arrays"),
    ],
    ids=["spoils", "lists"],
)
def test_what_an_own_learner_does_wrong_is_told(tmp_path: Path, method: str, words: str) -> None:
    (tmp_path / "learns.py").write_text(
        f"""
from rljob.algorithms.built_in.ppo import PPO, PPOLearner

class Learns(PPOLearner):
{method}

class Own(PPO):
    def learner(self, networks, seed):
        made = super().learner(networks, seed)
        made.__class__ = Learns
        return made
"""
    )
    done = check(tmp_path, "--set", 'algorithm={"entryPoint": "learns:Own"}')
    assert done.returncode == 1, done.stdout
    assert words in done.stderr
