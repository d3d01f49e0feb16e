"""Trains an example with several seeds and keeps what came of it in docs/runs, for the pages of algorithms.

python -m tests.learning.keep examples/cartpole-ppo.yaml [--seeds 1 2 3] [--runs FOLDER]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import yaml

from rljob import Result
from rljob.roles.evaluator.play import evaluate_run
from rljob.run_folder.provenance import git_commit
from tests.bench.machine import Load, describe
from tests.bench.peer import watched
from website.kept import RUNS, KeptRuns, KeptSeed, thinned

ROOT = Path(__file__).parents[2]
EPISODES = 50
"""Greedy ones, of each final policy."""
PATIENCE = 4 * 3600.0
"""Seconds after which a run counts as hung."""
COSTS = "costs.json"
"""Beside the records of a run: what `watched` and `Load` say."""


def main() -> None:
    """Train what is not trained yet, evaluate, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m tests.learning.keep")
    parser.add_argument("example", type=Path, help="the YAML of an example")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "runs" / "kept", help="where the runs' folders are"
    )
    told = parser.parse_args()
    example = told.example.resolve()
    seeds = []
    for seed in told.seeds:
        folder = told.runs.resolve() / f"{example.stem}-{seed}"
        if not (folder / COSTS).exists():
            _train(example, seed, folder)
        seeds.append(_seed(folder, seed))
        print(f"{example.stem}, seed {seed}: {seeds[-1].greedy:.1f}", flush=True)
    kept = KeptRuns(
        str(example.relative_to(ROOT)),
        yaml.safe_load(example.read_text()),
        time.strftime("%Y-%m-%d"),
        git_commit(ROOT) or "",
        describe(),
        tuple(seeds),
    )
    RUNS.mkdir(exist_ok=True)
    (RUNS / f"{kept.name}.json").write_text(kept.to_json())


def _train(example: Path, seed: int, folder: Path) -> None:
    command = [sys.executable, "-m", "rljob", "run", str(example), "--plain"]
    command += ["--seed", str(seed), "--dir", str(folder)]
    load = Load()
    _, costs = watched(command, PATIENCE, dict(os.environ))
    others = load.others(costs["cpu"])
    (folder / COSTS).write_text(json.dumps(costs | {"others": others}))


def _seed(folder: Path, seed: int) -> KeptSeed:
    """What is kept of a finished run."""
    result = Result.read(folder)
    assert result.outcome == "Complete", (folder, result.message)
    greedy = evaluate_run(folder, EPISODES, seed=seed)
    costs = json.loads((folder / COSTS).read_text())
    return KeptSeed(
        seed,
        result.reason,
        result.steps,
        result.updates,
        round(result.seconds, 2),
        round(costs["cpu"], 2),
        round(costs["others"], 2),
        round(greedy.mean, 3),
        round(greedy.std, 3),
        greedy.episodes,
        thinned(_curve(result)),
    )


def _curve(result: Result) -> list[list[float]]:
    history = result.history()
    rows = zip(history["steps"], history["seconds"], history["mean_return"], strict=True)
    return [
        [int(steps), round(float(seconds), 2), round(float(value), 3)]
        for steps, seconds, value in rows
        if not math.isnan(value)
    ]


if __name__ == "__main__":
    main()
