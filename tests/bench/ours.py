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
    counts as `cap`."""
    content = copy.deepcopy(content)
    content["spec"]["stop"]["duration"] = f"{cap:.0f}s"
    with tempfile.TemporaryDirectory(prefix="rljob-bench-") as name:
        folder, file = Path(name) / "run", Path(name) / "job.yaml"
        file.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-m", "rljob", "run", str(file), "--plain"]
        command += ["--seed", str(seed), "--dir", str(folder)]
        started = time.time()
        _, costs = watched(command, cap + GRACE)
        ended = time.time()
        result = json.loads((folder / "result.json").read_text())
        records = [json.loads(one) for one in (folder / "metrics.jsonl").read_text().splitlines()]
    reached = records[-1]["time"] - started
    solved = result["reason"] == "MeanReturnReached"
    return costs | {
        **solving(solved, result["seconds"], reached, ended - started, cap),
        "steps": result["steps"],
    }
