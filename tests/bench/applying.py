"""What an agent costs the program that it acts for: `python -m tests.bench.applying`.

One process steps LunarLander in blocks, in turn with the agent of a job that learns, and with the same policy alone. Prints JSON:
steps a second of both, and the time of one call of `act` beyond that of the policy, as the clock and as the processor's time of the
thread see it. The second does not depend on what else the machine does.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import yaml

import rljob
from rljob.run_folder.names import APPLICATION_ACCESS

JOB: dict[str, Any] = {
    "metadata": {"name": "bench"},
    "spec": {
        "environment": {
            "spaces": {
                "observation": {"type": "Box", "shape": [8]},
                "action": {"type": "Discrete", "choices": 4},
            }
        },
        "algorithm": {"name": "PPO", "config": {"rolloutLength": 128, "segmentsPerBatch": 8}},
        "network": {"config": {"hidden": [64, 64]}},
        "stop": {"duration": "1h"},
        "rollout": {"applications": {}},
    },
}
BLOCK, ROUNDS = 2000, 10
PERCENTILES = (50, 90, 99)
Chooses = Callable[[np.ndarray], int]


def measure(folder: Path) -> dict[str, Any]:
    """The figures, against the run in this folder."""
    environment = gymnasium.make("LunarLander-v3")
    with rljob.Agent(folder, name="bench") as agent:
        core = agent._core
        group, row = core.take_group(), np.zeros((1, 8), np.float32)

        def alone(observation: np.ndarray) -> int:
            row[0] = observation
            return int(group.act(row, core.valid, None).action[0])

        rates: dict[str, list[float]] = {"agent": [], "alone": []}
        for _ in range(ROUNDS):
            rates["alone"].append(_plain_block(environment, alone))
            rates["agent"].append(_block(environment, agent))
        seen = np.random.default_rng(0).standard_normal((BLOCK, 8)).astype(np.float32)
        result: dict[str, Any] = {
            name: round(statistics.median(each)) for name, each in rates.items()
        }
        result["ratio"] = round(
            statistics.median(
                one / other for one, other in zip(rates["agent"], rates["alone"], strict=True)
            ),
            3,
        )
        for name, clock in (("wall", time.perf_counter), ("cpu", time.thread_time)):
            with_agent, without = [], []
            for _ in range(ROUNDS):
                without.append(_times(seen, alone, clock))
                episode = agent.episode()
                with_agent.append(_times(seen, episode.act, clock))
                episode.abandon()
            a, b = np.concatenate(with_agent), np.concatenate(without)
            result[name] = {
                f"p{p}": [round(float(np.percentile(each, p)) * 1e6, 1) for each in (a, b)]
                for p in PERCENTILES
            }
        result["counted"] = agent.counted
        return result


def _times(seen: np.ndarray, choose: Chooses, clock: Callable[[], float]) -> np.ndarray:
    times = np.empty(len(seen))
    for index, observation in enumerate(seen):
        before = clock()
        choose(observation)
        times[index] = clock() - before
    return times


def _plain_block(environment: Any, choose: Chooses) -> float:
    began, (observation, _) = time.perf_counter(), environment.reset()
    for _ in range(BLOCK):
        observation, _, terminated, truncated, _ = environment.step(choose(observation))
        if terminated or truncated:
            observation, _ = environment.reset()
    return BLOCK / (time.perf_counter() - began)


def _block(environment: Any, agent: rljob.Agent) -> float:
    began, (observation, _) = time.perf_counter(), environment.reset()
    episode = agent.episode()
    for _ in range(BLOCK):
        observation, reward, terminated, truncated, _ = environment.step(episode.act(observation))
        episode.reward(float(reward))
        if terminated or truncated:
            episode.end(terminated, truncated, observation)
            observation, _ = environment.reset()
            episode = agent.episode()
    episode.abandon()
    return BLOCK / (time.perf_counter() - began)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "job.yaml").write_text(yaml.safe_dump(JOB))
        command = [sys.executable, "-m", "rljob", "run", "job.yaml", "--plain", "--dir", "run"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            while not (folder / "run" / APPLICATION_ACCESS).exists():
                if process.poll() is not None:
                    raise SystemExit("the run has ended")
                time.sleep(0.1)
            print(json.dumps(measure(folder / "run")))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


if __name__ == "__main__":
    main()
