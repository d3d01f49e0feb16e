"""What `rljob plan` predicts, against runs of the same jobs, and against many rollouts in simulated time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.bench.path import Values, rates
from tests.bench.roles import ENVIRONMENT, ROOT, roles
from tests.bench.shards import segment_cost

EXAMPLE = ROOT / "examples" / "cartpole-ppo.yaml"
SLEEPS = (1, 2, 4, 8)
"""Rollouts of the job whose environment sleeps."""
SLEEP_MILLISECONDS = 4.0
"""Before each step of all environments of a rollout: eight of them leave the cores free."""
TRAINS = (1, 2)
"""Rollouts of the example, which keeps two cores busy."""
SEGMENTS = 4000
"""Over which the cost of one is the mean."""


def sleeping(seed: int) -> Values:
    """PPO with an environment that takes time and no processor."""
    environment = {
        "entryPoint": "tests.bench.sleeping:Sleeping",
        "kwargs": {"milliseconds": SLEEP_MILLISECONDS},
    }
    return compare({**_example(seed), "environment": environment}, SLEEPS)


def cartpole(seed: int) -> Values:
    """The example, which computes all the time."""
    return compare(_example(seed), TRAINS)


def replay(seed: int) -> Values:
    """DQN, whose learner is the bound with any number of rollouts."""
    config = {"batchSize": 128, "samplesPerInsert": 16}
    return compare({**_example(seed), "algorithm": {"name": "DQN", "config": config}}, TRAINS)


def _example(seed: int) -> dict[str, Any]:
    """The example's spec, training for ever and with nobody else at work."""
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["spec"]
    return {**content, "stop": {"duration": "1h"}, "seed": seed, "evaluation": None}


def compare(spec: dict[str, Any], counts: tuple[int, ...]) -> Values:
    """Environment steps each second with each number of rollouts, predicted and measured.

    Returns:
        `predicted N`, `measured N` and `error N`, a share of what was measured; `error`, the largest.
    """
    predicted = _predicted(spec, counts)
    values: Values = {}
    for count, steps in predicted.items():
        measured = _measured(spec, count)
        values[f"predicted {count}"], values[f"measured {count}"] = steps, measured
        values[f"error {count}"] = abs(steps / measured - 1)
    values["error"] = max(values[f"error {count}"] for count in counts)
    return values


def _predicted(spec: dict[str, Any], counts: tuple[int, ...]) -> dict[int, float]:
    with TemporaryDirectory(prefix="rljob-bench-") as name:
        file = Path(name) / "job.yaml"
        file.write_text(yaml.safe_dump({"metadata": {"name": "bench"}, "spec": spec}))
        command = [sys.executable, "-m", "rljob", "plan", str(file), "--json"]
        command += ["--rollouts", ",".join(map(str, counts))]
        done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)["predictions"]
    return {one["rollouts"]: one["stepsPerSecond"] for one in found}


def _measured(spec: dict[str, Any], count: int) -> float:
    rollout = {**spec["rollout"], "replicas": count}
    content = {"metadata": {"name": "bench"}, "spec": {**spec, "rollout": rollout}}
    with roles(content) as running:
        for role in ("learner", "buffer"):
            running.start(role)
        for index in range(count):
            running.start("rollout", index)
        running.until(count, "rolloutsReady")
        return rates(running)["steps/s"]


def simulate(seed: int) -> Values:
    """What a segment costs the buffers: one of 1 rollout, one of 8, and eight of 125 each.

    Returns:
        microseconds of processor time, and `growth`: the cost of the largest over that of each smaller.
    """
    one, eight = segment_cost(1, 1, SEGMENTS, seed), segment_cost(8, 1, SEGMENTS, seed)
    thousand = segment_cost(1000, 8, SEGMENTS, seed)
    return {
        "1 rollout us": 1e6 * one,
        "8 rollouts us": 1e6 * eight,
        "1000 rollouts us": 1e6 * thousand,
        "growth": max(thousand / one, thousand / eight),
    }
