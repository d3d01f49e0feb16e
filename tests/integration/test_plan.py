"""`rljob plan` as a command: it measures real parts of real jobs, and says what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from rljob.plan.exchange import Exchange
from rljob.roles.learner.cores import usable_cores
from rljob.spec.experience import Replay
from rljob.wire.experience import ExperienceFormat
from tests.unit.experience import on_policy_plan, replay_plan

PATIENCE = 240.0
"""Seconds after which a command counts as hung."""
RLJOB = [sys.executable, "-P", "-m", "rljob"]
BRIEF = """
import sys
from rljob.cli.main import main
from rljob.plan import calibrate

calibrate.SECONDS = 1.0
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
    "rolloutsBusy",
    "bufferBusy",
    "bottleneck",
    "lag",
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


def test_ppo_is_measured_once_and_planned_again(tmp_path: Path) -> None:
    job, kept = write(tmp_path), tmp_path / "costs.json"
    done = run_plan(job, "--costs", kept, "--price", "0.05", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Measuring small" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split("   ")[0] == "rollouts"
    assert [line.split()[0] for line in lines[1:6]] == ["1", "2", "3", "4", "8"]
    assert "learner busy" in lines[0]
    assert "An update of one segment takes" in " ".join(" ".join(lines).split())

    measured = json.loads(kept.read_text())
    assert (measured["length"], measured["envs"]) == (16, 8)
    assert measured["use"] == {"kind": "on-policy", "segmentsPerBatch": 0, "maxPolicyLag": 4}
    for name in ("stepping", "acting", "shipping", "storing", "delivering", "receiving"):
        assert 0 < measured[name]["cpu"] < 0.1, name
    assert measured["stepping"]["wait"] == 0, "CartPole computes"
    assert measured["updating"]["fixed"]["cpu"] + measured["updating"]["each"]["cpu"] > 0
    assert measured["publishing"]["fixed"]["cpu"] > 0
    assert measured["weightsBytes"] > 1000

    again = planned(job, "--costs", kept, "--rollouts", "2,1", "--cores", "2")
    assert [one["rollouts"] for one in again["predictions"]] == [1, 2]
    for one in again["predictions"]:
        assert one.keys() == KEYS
        assert one["stepsPerSecond"] > 100
        assert one["coresBusy"] <= 2.001
        assert one["lag"]["p95"] <= 4
    pods = planned(job, "--costs", kept, "--rollouts", "8", "--cores-per-pod", "1")
    assert pods["predictions"][0]["coresHeld"] == 10

    other = run_plan(job, "--costs", kept, "--set", "rollout.envsPerReplica=16")
    assert other.returncode == 2
    assert "measured of another job" in other.stderr


def test_dqn(tmp_path: Path) -> None:
    config = {"minSize": 500_000, "batchSize": 32, "samplesPerInsert": 4}
    algorithm = {"name": "DQN", "config": config}
    found = planned(write(tmp_path, algorithm=algorithm, buffer={"capacity": 1_000_000}))
    one = found["predictions"][0]
    assert one["lag"] is None
    assert one["updatesPerSecond"] / one["stepsPerSecond"] == pytest.approx(4 / 32, rel=0.1)
    assert found["costs"]["use"]["samplesPerInsert"] == 4


def test_an_environment_of_ones_own_that_sleeps(tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    job = write(
        tmp_path,
        environment={"entryPoint": "sleepy:Sleepy"},
        rollout={"replicas": 1, "envsPerReplica": 2},
    )
    found = planned(job, "--rollouts", "1,4", "--cores", "2")
    assert found["costs"]["stepping"]["wait"] >= 0.01, "two environments of 5 ms each"
    one, four = (each["stepsPerSecond"] for each in found["predictions"])
    assert one <= 200
    assert four > 2 * one, "they leave the cores to each other"
    assert found["predictions"][0]["bottleneck"] == "stepping environments"


COUNTED = """
import os, pathlib, sleepy

HERE = pathlib.Path(__file__).parent


class Counted(sleepy.Sleepy):
    def __init__(self, most):
        super().__init__(0.0)
        if len(list(HERE.glob("had-*"))) == most:
            raise RuntimeError("there is no other robot")
        (HERE / f"had-{os.getpid()}").touch()
"""


@pytest.mark.skipif(usable_cores() < 2, reason="company needs a core of its own")
@pytest.mark.parametrize(
    ("most", "words", "processes"), [(9, (), 2), (1, (), 1), (9, ("--cores-per-pod", "1"), 1)]
)
def test_a_second_rollout_is_at_work_beside_what_is_measured(
    tmp_path: Path, most: int, words: tuple[str, ...], processes: int
) -> None:
    """Where the roles share a machine and there may be a second one; and it is gone afterwards."""
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    (tmp_path / "counted.py").write_text(COUNTED)
    job = write(
        tmp_path,
        environment={"entryPoint": "counted:Counted", "kwargs": {"most": most}},
        rollout={"replicas": 1, "envsPerReplica": 1},
    )
    done = run_plan(job, *words, brief=True)
    assert done.returncode == 0, done.stderr
    assert ("no second rollout" in done.stderr) == (most == 1)
    pids = [int(file.name.removeprefix("had-")) for file in tmp_path.glob("had-*")]
    assert len(pids) == processes
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rollouts", "0"), "'0' is no list of whole numbers"),
        (("--rollouts", "1,x"), "'1,x' is no list of whole numbers"),
        (("--cores", "-1"), "'-1' is no number above 0"),
        (("--price", "free"), "'free' is no number above 0"),
        (("--cores", "1", "--cores-per-pod", "1"), "not allowed with argument --cores"),
        (("--set", "algorithm.config.clipp=1"), "algorithm.config.clipp: unknown setting of PPO"),
        (("--set", "environment.id=CartPoll-v1"), "did you mean CartPole-v1"),
        (("--costs", "job.yaml"), "no costs that rljob plan has saved"),
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


@pytest.mark.parametrize(
    "plan", [on_policy_plan(segments_per_batch=3), replay_plan(min_size=10**6)]
)
def test_what_is_measured_goes_all_the_way(plan: ExperienceFormat) -> None:
    _, segment = plan.layout.allocate()
    segment["valid"][...] = True
    deadline, batches = time.monotonic() + PATIENCE, []
    with Exchange(plan, segment, None, 4) as exchange:
        exchange.open()
        while len(batches) < 20 and time.monotonic() < deadline:
            if exchange.credited():
                exchange.send()
            batch = exchange.take()
            if batch is not None:
                batches.append(batch)
        meters = exchange.meters
    assert len(batches) == meters.deliveries == 20
    assert meters.segments > 0
    if isinstance(plan.data, Replay):
        assert {len(batch.updates) for batch in batches} == {plan.data.updates_per_publish}
    else:
        shapes = {batch.updates[0]["reward"].shape for batch in batches}
        assert shapes == {(plan.length, plan.envs)}, "one segment, whatever the algorithm takes"
    for meter in (meters.shipping, meters.storing, meters.delivering, meters.receiving):
        assert meter.cpu > 0


def test_without_a_job() -> None:
    done = run_plan()
    assert done.returncode == 2
    assert "name a job" in done.stderr
