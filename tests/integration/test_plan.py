"""`rljob plan` as a command: it measures the parts of real jobs and prints predictions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from rljob import spec
from rljob.plan.job_parts import job_parts
from rljob.plan.transport import MeasuredTransport
from rljob.roles.learner.batches import Batch

PATIENCE = 240.0
"""Seconds after which a command counts as hung."""
RLJOB = [sys.executable, "-P", "-m", "rljob"]
BRIEF = """
import sys
from rljob.cli.main import main
from rljob.plan import measure

measure.SECONDS = 1.0
sys.exit(main())
"""
"""The command, for tests that measure but do not need the full measuring time."""
SLEEPY = """
import gymnasium, numpy, time


class Sleepy(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), numpy.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, seconds=0.005):
        self.seconds = seconds

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return numpy.zeros(3, numpy.float32), {}

    def step(self, action):
        time.sleep(self.seconds)
        if self.seconds < 0:
            raise RuntimeError("the robot fell over")
        return numpy.zeros(3, numpy.float32), 1.0, False, False, {}
"""
KEYS = {
    "rollouts",
    "stepsPerSecond",
    "updatesPerSecond",
    "learnerBusy",
    "bottleneck",
    "coresBusy",
    "coresHeld",
    "coreSecondsPerMillionSteps",
}


def write(folder: Path, **sections: Any) -> Path:
    spec = {
        "environment": {"id": "CartPole-v1"},
        "algorithm": {"name": "PPO", "config": {"rolloutLength": 16}},
        "stop": {"steps": 1000},
        "rollout": {"replicas": 3, "envsPerReplica": 8},
        **sections,
    }
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump({"metadata": {"name": "small"}, "spec": spec}))
    return file


def run_plan(
    *words: str | Path, cwd: Path | None = None, brief: bool = False
) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-P", "-c", BRIEF] if brief else RLJOB
    command = [*program, "plan", *map(str, words)]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd, env=environment
    )


def planned(*words: str | Path) -> dict[str, Any]:
    done = run_plan(*words, "--json", brief=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_table(tmp_path: Path) -> None:
    done = run_plan(write(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Measuring small" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split("   ")[0] == "rollouts"
    assert [line.split()[0] for line in lines[1:6]] == ["1", "2", "3", "4", "8"]
    assert "learner busy" in lines[0]
    assert "An update of one segment takes" in " ".join(" ".join(lines).split())


def test_ppo(tmp_path: Path) -> None:
    found = planned(write(tmp_path), "--rollouts", "2,1", "--cores", "2")
    assert [one["rollouts"] for one in found["predictions"]] == [1, 2]
    for one in found["predictions"]:
        assert one.keys() == KEYS
        assert one["stepsPerSecond"] > 100
        assert one["coresBusy"] <= 2.001
    measured = found["costs"]
    assert (measured["length"], measured["envs"]) == (16, 8)
    assert (measured["onPolicy"], measured["alternating"]) == (True, False)
    assert measured["segmentsPerVersion"] == 0
    assert 100 < measured["segmentSteps"] <= 128
    for name in ("collecting", "sending", "loading", "buffering", "receiving", "publishing"):
        assert 0 < measured[name]["cpu"] < 0.5, name
    assert measured["update"]["cpu"] + measured["updatePerSegment"]["cpu"] > 0
    assert 0 < measured["steppingShare"] < measured["steppingShare"] + measured["actingShare"] <= 1


def test_collecting_and_training_take_turns_without_lag(tmp_path: Path) -> None:
    found = planned(
        write(tmp_path, buffer={"maxPolicyLag": 0}), "--rollouts", "8", "--cores-per-pod", "1"
    )
    assert found["costs"]["alternating"] is True
    assert found["predictions"][0]["coresHeld"] == 10


def test_dqn(tmp_path: Path) -> None:
    config = {"minSize": 500_000, "batchSize": 32, "samplesPerInsert": 4}
    algorithm = {"name": "DQN", "config": config}
    found = planned(write(tmp_path, algorithm=algorithm, buffer={"capacity": 1_000_000}))
    one = found["predictions"][0]
    assert one["updatesPerSecond"] / one["stepsPerSecond"] == pytest.approx(4 / 32)
    assert found["costs"]["onPolicy"] is False


def test_an_environment_of_ones_own_that_sleeps(tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    job = write(
        tmp_path,
        environment={"entryPoint": "sleepy:Sleepy"},
        rollout={"replicas": 1, "envsPerReplica": 2},
    )
    found = planned(job, "--rollouts", "1,4", "--cores", "2")
    collecting = found["costs"]["collecting"]
    assert collecting["seconds"] >= 16 * 2 * 0.005, "16 steps of two environments of 5 ms each"
    assert collecting["cpu"] < collecting["seconds"] / 2
    one, four = (each["stepsPerSecond"] for each in found["predictions"])
    assert one <= 200
    assert four > 2 * one, "they leave the cores to each other"
    assert found["predictions"][0]["bottleneck"] == "stepping environments"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rollouts", "0"), "'0' is no list of whole numbers"),
        (("--rollouts", "1,x"), "'1,x' is no list of whole numbers"),
        (("--cores", "-1"), "'-1' is no whole number of 1 or more"),
        (("--cores-per-pod", "half"), "'half' is no whole number of 1 or more"),
        (("--cores", "1", "--cores-per-pod", "1"), "not allowed with argument --cores"),
        (("--set", "algorithm.config.clipp=1"), "algorithm.config.clipp: unknown setting of PPO"),
        (("--set", "environment.id=CartPoll-v1"), "did you mean CartPole-v1"),
    ],
)
def test_bad_input_is_said(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    write(tmp_path)
    done = run_plan("job.yaml", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    broken = {"entryPoint": "sleepy:Sleepy", "kwargs": {"seconds": -1}}
    done = run_plan(write(tmp_path, environment=broken), brief=True)
    assert done.returncode == 1
    assert "the environments raised" in done.stderr or "raised at step" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_segments_reach_the_learner_and_versions_the_rollout(tmp_path: Path, name: str) -> None:
    job = spec.parse(write(tmp_path, algorithm={"name": name}).read_text())
    with ExitStack() as stack:
        parts = stack.enter_context(job_parts(job, 1))
        _, segment = parts.plan.layout.allocate()
        segment["valid"][...] = True
        transport = MeasuredTransport(parts, segment, stack)
        deadline, batches = time.monotonic() + PATIENCE, list[Batch]()
        while len(batches) < 20 and time.monotonic() < deadline:
            if transport.credited():
                transport.send()
            batch = transport.take()
            if batch is not None:
                batches.append(batch)
                transport.publish()
        assert len(batches) == transport.deliveries == transport.versions == 20
        assert transport.segments > 0
        if name == "DQN":
            assert {len(batch.updates) for batch in batches} == {8}
        else:
            shapes = {batch.updates[0]["reward"].shape for batch in batches}
            assert shapes == {(parts.plan.length, 8)}, "one segment"
        assert all(work.cpu > 0 for work in transport.works().values())


def test_without_a_job() -> None:
    done = run_plan()
    assert done.returncode == 2
    assert "name a job" in done.stderr
