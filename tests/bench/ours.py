"""Runs `rljob run` on a job as a user does."""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from rljob import spec
from rljob.algorithms import load_config
from rljob.algorithms.built_in.ppo import PPOConfig
from tests.bench.group import Values
from tests.bench.peer import GRACE, solving, watched
from tests.bench.roles import ROOT

Content = dict[str, Any]


def example(name: str, **environment: Any) -> Content:
    """An example's YAML; with `environment`, in another one."""
    content: Content = yaml.safe_load((ROOT / "examples" / name).read_text())
    if environment:
        content["spec"]["environment"] = environment
    return content


def train(content: Content, seed: int, cap: float) -> Values:
    """One run until its stop condition, at most `cap` seconds; without reaching the mean return it
    counts as `cap`. `steps` are those trained on, `collected` those that the buffer stored, used or not."""
    content = copy.deepcopy(content)
    content["spec"]["stop"]["duration"] = f"{cap:.0f}s"
    with tempfile.TemporaryDirectory(prefix="rljob-bench-") as name:
        folder, trace, file = (Path(name) / one for one in ("run", "trace", "job.yaml"))
        file.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-m", "rljob", "run", str(file), "--plain"]
        command += ["--seed", str(seed), "--dir", str(folder), "--trace", str(trace)]
        started = time.time()
        _, costs = watched(command, cap + GRACE)
        ended = time.time()
        result = json.loads((folder / "result.json").read_text())
        records = [json.loads(one) for one in (folder / "metrics.jsonl").read_text().splitlines()]
        stored = _stored(trace)
    reached = records[-1]["time"] - started
    solved = result["reason"] == "MeanReturnReached"
    return costs | {
        **solving(solved, result["seconds"], reached, ended - started, cap),
        "steps": result["steps"],
        "collected": stored * _segment_steps(content),
    }


def _stored(trace: Path) -> int:
    """Segments that the buffer stored; see `rljob.trace`."""
    lines = [one for file in trace.glob("buffer-*") for one in file.read_text().splitlines()]
    return sum(one.startswith("stored ") for one in lines)


def _segment_steps(content: Content) -> int:
    """Rows of a segment of PPO, also those in which an environment was reset."""
    job = spec.parse(content).spec
    config = load_config(job.algorithm)
    assert isinstance(config, PPOConfig)
    return config.rollout_length * job.rollout.envs_per_replica
