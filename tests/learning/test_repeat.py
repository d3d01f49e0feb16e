"""`strict: true`: the same seed makes the same weights, whatever happens to the run on its way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import rljob
from rljob.roles.learner.training import boundary_after

PATIENCE = 240.0
"""Seconds until what a test waits for counts as hung."""
# PPO with every state that a checkpoint has to hold: random numbers of the minibatches, schedule,
# running means. DQN: target network, noise, priorities, the replay's content and the state of its sampling.
ALGORITHMS: dict[str, dict[str, Any]] = {
    "PPO": {
        "rolloutLength": 32,
        "learningRate": {"from": 3e-4, "to": 0},
        "normaliseObservations": True,
        "normaliseRewards": True,
    },
    "DQN": {
        "minSize": 500,
        "epsilon": {"from": 1.0, "to": 0.05, "steps": 4000},
        "targetUpdateInterval": 30,
        "replay": "prioritised",
        "noisy": True,
    },
}
# With what a run of its own would repeat as well: Rainbow, and ranks.
PARTS: dict[str, dict[str, Any]] = {
    "R2D2": {"minSize": 500, "retraceLambda": 0.9},
    "C51": {
        "double": True,
        "dueling": True,
        "noisy": True,
        "epsilon": 0.05,
        "nStep": 3,
        "replay": "rank",
    },
}
VERSIONS = 300
"""At the end of each run: its steps are set so that there are about as many."""
ENVS = {"PPO": 8, "DQN": 4}
STEPS = {"PPO": VERSIONS * 32 * 8, "DQN": 500 + VERSIONS * 64}


def job(algorithm: str, seed: int = 5) -> dict[str, Any]:
    spec = {
        "environment": {"id": "CartPole-v1"},
        "algorithm": {"name": algorithm, "config": ALGORITHMS[algorithm]},
        "stop": {"steps": STEPS[algorithm]},
        "seed": seed,
        "strict": True,
        "rollout": {"replicas": 1, "envsPerReplica": ENVS[algorithm]},
    }
    return {"metadata": {"name": "strict"}, "spec": spec}


def policy(folder: Path) -> bytes:
    """What a finished run has learned."""
    return (folder / "checkpoints" / "latest" / "policy.safetensors").read_bytes()


def rows(folder: Path) -> str:
    """Those of its episodes."""
    return (folder / "episodes.csv").read_text()


def counters(folder: Path) -> dict[str, Any]:
    """What a run says at its end, without its times."""
    result = json.loads((folder / "result.json").read_text())
    names = ("outcome", "reason", "meanReturn", "steps", "episodes", "updates", "policyVersion")
    return {name: result[name] for name in names}


@contextmanager
def running(
    content: dict[str, Any], folder: Path, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`rljob run` as a process; what is left of it at the end is killed."""
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "rljob", "run", str(file), "--plain", "--dir", str(folder)]
    with output(folder).open("wb") as log:
        process = subprocess.Popen(
            [*command, *options], cwd=folder.parent, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def output(folder: Path) -> Path:
    """Where the newest command for this run's folder said what it had to say."""
    return folder.with_suffix(".out")


def version(folder: Path, since: float) -> int:
    """The newest policy version that was reported after a Unix time; 0 before there is one."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return max((int(r["policyVersion"]) for r in records if r["time"] > since), default=0)


def interrupt(content: dict[str, Any], folder: Path, at: int, *options: str) -> tuple[int, int]:
    """Train beyond a policy version, then SIGTERM; version and steps of the checkpoint left."""
    started, deadline = time.time(), time.monotonic() + PATIENCE
    with running(content, folder, *options) as process:
        while version(folder, started) < at:
            assert process.poll() is None, output(folder).read_text()
            assert time.monotonic() < deadline, f"version {at} did not come"
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM, output(folder).read_text()
    saved = json.loads((folder / "checkpoints" / "latest" / "manifest.json").read_text())
    return int(saved["policyVersion"]), int(saved["steps"])


@pytest.fixture(scope="module", params=ALGORITHMS)
def uninterrupted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """An algorithm, and the folder of its run from the beginning to the end."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    result = rljob.run(job(request.param), dir=folder)
    assert result.outcome == "Complete"
    assert result.policy_version >= VERSIONS * 0.9
    return request.param, folder


def test_the_same_seed_makes_the_same_weights(
    uninterrupted: tuple[str, Path], tmp_path: Path
) -> None:
    algorithm, folder = uninterrupted

    rljob.run(job(algorithm), dir=tmp_path / "again")

    assert counters(tmp_path / "again") == counters(folder)
    assert policy(tmp_path / "again") == policy(folder)


def test_another_seed_makes_other_weights(uninterrupted: tuple[str, Path], tmp_path: Path) -> None:
    algorithm, folder = uninterrupted

    rljob.run(job(algorithm, seed=6), dir=tmp_path / "other")

    assert policy(tmp_path / "other") != policy(folder)


def test_a_run_that_was_interrupted_twice_ends_as_one_that_was_not(
    uninterrupted: tuple[str, Path], tmp_path: Path
) -> None:
    algorithm, folder = uninterrupted
    content, resumed = job(algorithm), tmp_path / "run"

    first, steps = interrupt(content, resumed, VERSIONS // 4)
    second, _ = interrupt(content, resumed, first + VERSIONS // 4, "--resume")
    with running(content, resumed, "--resume") as process:
        assert process.wait(PATIENCE) == 0, output(resumed).read_text()

    # Else nothing was interrupted, or nothing went on from where it was.
    assert 0 < first < second < counters(folder)["policyVersion"]
    assert steps >= boundary_after(0, ENVS[algorithm])
    assert counters(resumed) == counters(folder)
    assert policy(resumed) == policy(folder)
    assert rows(resumed) == rows(folder)
    assert rows(folder).count("\n") == 1 + counters(folder)["episodes"]


@pytest.mark.parametrize(
    ("algorithm", "environment", "network", "steps"),
    [
        ("IMPALA", "CartPole-v1", "mlp", 8000),
        ("IMPALA", "CartPole-v1", "gru", 4000),
        ("A2C", "CartPole-v1", "gru", 2000),
        ("PPO", "CartPole-v1", "lstm", 4000),
        ("R2D2", "CartPole-v1", "lstm", 1500),
        pytest.param("APPO", "CartPole-v1", "gru", 4000, marks=pytest.mark.full),
        ("TRPO", "CartPole-v1", "mlp", 4000),
        pytest.param("REINFORCE", "CartPole-v1", "mlp", 8000, marks=pytest.mark.full),
        ("SAC", "Pendulum-v1", "mlp", 1200),
        pytest.param("SAC", "CartPole-v1", "mlp", 1200, marks=pytest.mark.full),
        ("TD3", "Pendulum-v1", "mlp", 1700),
        pytest.param("DDPG", "Pendulum-v1", "mlp", 1700, marks=pytest.mark.full),
        ("C51", "CartPole-v1", "mlp", 2000),
        pytest.param("QRDQN", "CartPole-v1", "mlp", 1600, marks=pytest.mark.full),
        pytest.param("IQN", "CartPole-v1", "mlp", 1600, marks=pytest.mark.full),
        ("QLearning", "Taxi-v4", "mlp", 20_000),
        ("DynaQ", "rljob/Grid-v0", "mlp", 5000),
        pytest.param("VanillaPolicy", "rljob/Grid-v0", "mlp", 10_000, marks=pytest.mark.full),
        pytest.param("SearchDynaQ", "rljob/Grid-v0", "mlp", 5000, marks=pytest.mark.full),
        pytest.param("QLAgent57", "rljob/Grid-v0", "mlp", 3000, marks=pytest.mark.full),
    ],
)
def test_every_algorithm_repeats_itself(
    algorithm: str, environment: str, network: str, steps: int, tmp_path: Path
) -> None:
    content = {
        "metadata": {"name": "strict"},
        "spec": {
            "environment": {"id": environment},
            "algorithm": {"name": algorithm, "config": PARTS.get(algorithm, {})},
            "network": {"name": network},
            "stop": {"steps": steps},
            "seed": 3,
            "strict": True,
            "rollout": {"replicas": 1, "envsPerReplica": 4},
        },
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(content))
    once, again, other = (
        rljob.run(tmp_path / "job.yaml", dir=tmp_path / name, seed=seed)
        for name, seed in (("once", 3), ("again", 3), ("other", 4))
    )
    assert policy(once.folder) == policy(again.folder)
    assert policy(once.folder) != policy(other.folder)
