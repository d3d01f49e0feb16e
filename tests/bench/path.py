"""The way of the experience: rollout, buffer and learner as processes, the learner counts or trains."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from tests.bench.roles import ENVIRONMENT, Roles, job, roles

LENGTH = 32
"""Steps in a segment of each environment."""
WARM = 1.0
SECONDS = 4.0
"""Training before measuring, and while measuring."""

Values = dict[str, float]

COUNTING = {"entryPoint": "tests.bench.counting:Counting", "config": {"rolloutLength": LENGTH}}


def counting_replay(samples_per_insert: float = 8.0) -> dict[str, Any]:
    """Batches of 256 that are sampled, sent and counted."""
    return {
        "entryPoint": "tests.bench.counting:CountingReplay",
        "config": {"batchSize": 256, "samplesPerInsert": samples_per_insert},
    }


def dqn(samples_per_insert: float) -> dict[str, Any]:
    """DQN with the defaults and batches of 64."""
    config = {"batchSize": 64, "samplesPerInsert": samples_per_insert}
    return {"name": "DQN", "config": config}


def measure(
    algorithm: dict[str, Any], seed: int, *, envs: int, transport: str, encrypted: bool = False
) -> Values:
    """Rates of one job: environment steps and updates each second at the learner, CPU and memory."""
    content = job(algorithm, envs=envs, seconds=3600, seed=seed)
    with roles(content, transport, encrypted) as running:
        for role in ("learner", "buffer", "rollout"):
            running.start(role)
        return rates(running)


def rates(running: Roles) -> Values:
    """Rates of a job that was just started, after a moment of warming up."""
    running.until(WARM)
    first, cpu = running.records()[-1], running.cpu()
    running.until(first["seconds"] + SECONDS)
    last, used = running.records()[-1], running.cpu()
    seconds = last["time"] - first["time"]
    steps = last["steps"] - first["steps"]
    values = {
        "steps/s": steps / seconds,
        "updates/s": (last["updates"] - first["updates"]) / seconds,
        "lag p95": last["lagP95"],
        "cores": sum(used[name] - cpu[name] for name in cpu) / seconds,
    }
    for name in cpu:
        values[f"{name} us/step"] = 1e6 * (used[name] - cpu[name]) / max(1, steps)
        values[f"{name} MiB"] = running.resident()[name]
    return values


def rollout_alone(seed: int, envs: int) -> Values:
    """The same rollout loop in a process of its own, without sending anything."""
    command = [sys.executable, "-m", "tests.bench.path", str(seed), str(envs)]
    done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    values: Values = json.loads(done.stdout)
    return values


def _collect(seed: int, envs: int) -> Values:
    from rljob import spec
    from rljob.algorithms import load_config, resolve_algorithm
    from rljob.envs import Environments
    from rljob.nets import build_engine, build_module, export
    from rljob.rollout.collect import Collector
    from rljob.rollout.loop import make_plan

    parsed = spec.parse(job(COUNTING, envs=envs, seconds=1, seed=seed)).spec
    environments = Environments(parsed.environment, envs)
    made = resolve_algorithm(parsed.algorithm)(load_config(parsed.algorithm), environments.spaces)
    spaces, heads, acting = environments.spaces, made.heads, made.acting_heads
    engine = build_engine(parsed.network, spaces, heads, acting)
    engine.load(export(build_module(parsed.network, spaces, heads, seed), acting))
    collector = Collector([environments], engine, made, LENGTH)
    collector.reset((seed,))
    _, segment = make_plan(parsed, spaces, made).layout.allocate()
    started, steps = time.monotonic(), 0
    cpu = time.process_time()
    while (now := time.monotonic()) - started < WARM + SECONDS:
        if now - started < WARM:
            steps, cpu, begun = 0, time.process_time(), now
        collector.collect(segment, {}, lambda: None)
        steps += int(segment["valid"].sum())
    return {
        "steps/s": steps / (time.monotonic() - begun),
        "rollout us/step": 1e6 * (time.process_time() - cpu) / steps,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("envs", type=int)
    arguments = parser.parse_args()
    print(json.dumps(_collect(arguments.seed, arguments.envs)))
