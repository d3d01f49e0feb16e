"""A batch that kills the learner is set aside after two deaths, and the run goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.test_run import DEADLINE, ENDLESS, Place, records, until

MODULE = '''
import os, pathlib, signal
import gymnasium
from rljob.algorithms.built_in.dqn import DQN
from rljob.algorithms.built_in.ppo import PPO

MARK = 77.0


class Marked(gymnasium.Wrapper):
    """One reward of all, at the fifth step of the run, is MARK."""

    def __init__(self, env, file):
        super().__init__(env)
        self.file, self.steps = pathlib.Path(file), 0

    def step(self, action):
        observation, reward, *rest = super().step(action)
        self.steps += 1
        if self.steps == 5 and not self.file.exists():
            self.file.touch()
            reward = MARK
        return observation, reward, *rest


def make(file):
    return Marked(gymnasium.make("CartPole-v1"), file)


def mortal(learner, way):
    """The learner ends its process at the mark."""
    update = learner.update

    def fatal(batch, progress):
        if (batch["reward"] == MARK).any():
            way()
        return update(batch, progress)

    learner.update = fatal
    return learner


class MortalPPO(PPO):
    def learner(self, network, seed):
        return mortal(super().learner(network, seed), lambda: os._exit(7))


class MortalDQN(DQN):
    def learner(self, network, seed):
        return mortal(super().learner(network, seed), lambda: os.kill(os.getpid(), signal.SIGKILL))
'''


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    (tmp_path / "mortal.py").write_text(MODULE)
    yield made
    made.close()


def told(folder: Path) -> bool:
    """Whether a batch was set aside and training has gone on since."""
    seen = [record for record in records(folder) if record["setAside"]]
    return bool(seen) and seen[-1]["updates"] > seen[0]["updates"]


PPO = {"entryPoint": "mortal:MortalPPO", "config": {"rolloutLength": 16}}
DQN = {"entryPoint": "mortal:MortalDQN", "config": {"minSize": 200, "nStep": 1}}


@pytest.mark.parametrize(("algorithm", "how"), [(PPO, "exit code 7"), (DQN, "SIGKILL")])
def test_a_batch_that_kills_the_learner_twice_is_set_aside_and_training_goes_on(
    place: Place, algorithm: dict[str, Any], how: str
) -> None:
    sections = {
        **ENDLESS,
        "environment": {
            "entryPoint": "mortal:make",
            "kwargs": {"file": str(place.folder / "marked")},
        },
        "algorithm": algorithm,
        "rollout": {"replicas": 1, "envsPerReplica": 2},
    }
    process = place.start("run", place.write(**sections), "--plain", "--dir", "run")
    folder = place.folder / "run"
    until(lambda: told(folder) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    explained = place.run("explain", str(folder)).stdout
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=DEADLINE)
    kept = sorted(path.name for path in (folder / "set-aside").iterdir())
    assert kept[0] == "1.npz"
    with np.load(folder / "set-aside" / "1.npz") as batch:
        assert (batch["reward"] == 77.0).any()
    assert out.count(how) == 2 * len(kept), out
    assert f"set aside, because the learner died twice in training on it: see {folder}" in out
    assert "BatchSetAside" in explained
    assert str(folder / "set-aside") in explained
    assert "numpy.load" in explained
