"""CartPole-v1 to 475 with the `rljob run` command, and with the peer."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.bench.peer import CAP_SECONDS
from tests.bench.roles import ENVIRONMENT, ROOT, Roles, roles

if TYPE_CHECKING:
    import gymnasium

EXAMPLE = ROOT / "examples" / "cartpole-ppo.yaml"
Values = dict[str, float]


def single() -> gymnasium.Env[Any, Any]:
    """CartPole without its vector form, stepped in Python as the peer does."""
    import gymnasium

    return gymnasium.make("CartPole-v1")


def _example(scalar: bool) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    if scalar:
        content["spec"]["environment"] = {"entryPoint": "tests.bench.cartpole:single"}
    return content


def ours(seed: int, scalar: bool = False) -> Values:
    """One run: seconds from before the first environment step, from the command's start until the
    stop condition was reached, and until the command had ended."""
    with tempfile.TemporaryDirectory(prefix="rljob-bench-") as name:
        folder, file = Path(name) / "run", Path(name) / "job.yaml"
        file.write_text(yaml.safe_dump(_example(scalar)))
        command = [sys.executable, "-m", "rljob", "run", str(file), "--plain"]
        command += ["--seed", str(seed), "--dir", str(folder)]
        started = time.time()
        _run(command)
        ended = time.time()
        result = json.loads((folder / "result.json").read_text())
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return _values(
        result["reason"] == "MeanReturnReached",
        result["seconds"],
        last["time"] - started,
        ended - started,
        result["steps"],
    )


def peer(seed: int) -> Values:
    """The same for Stable-Baselines3."""
    started = time.time()
    done = _run([sys.executable, "-m", "tests.bench.peer", str(seed)])
    ended = time.time()
    said = json.loads(done.stdout.splitlines()[-1])
    return _values(
        said["solved"], said["seconds"], said["reached"] - started, ended - started, said["steps"]
    )


def _values(solved: bool, seconds: float, reached: float, ended: float, steps: int) -> Values:
    if not solved:
        seconds = reached = ended = CAP_SECONDS
    return {
        "solved": float(solved),
        "seconds": seconds,
        "reached": reached,
        "ended": ended,
        "steps": steps,
    }


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=ENVIRONMENT, check=True, capture_output=True, text=True, timeout=180
    )


def stages(seed: int) -> Values:
    """Where learner and rollouts spend their time while the example trains on, in shares of 1."""
    content = _example(scalar=False)
    content["spec"] |= {"stop": {"duration": "1h"}, "seed": seed, "evaluation": None}
    with roles(content) as running:
        for role in ("learner", "buffer", "rollout"):
            running.start(role)
        running.start("rollout", index=1)
        running.until(1.0)
        first, before = _spent(running), time.monotonic()
        running.until(running.records()[-1]["seconds"] + 4.0)
        last, seconds = _spent(running), time.monotonic() - before
    return {name: (last[name] - first[name]) / seconds for name in last}


def _spent(running: Roles) -> Values:
    return {
        f"{role} {stage}": seconds
        for role in ("learner", "rollout")
        for stage, seconds in running.stages(role).items()
    }
