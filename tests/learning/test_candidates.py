"""The network `candidates` learns to choose among many, with the roles of a job as processes."""

from __future__ import annotations

from pathlib import Path

import pytest

import rljob
from rljob.roles.evaluator.play import evaluate_run
from tests.learning.bars import by_chance, reach
from tests.learning.pick import CHOICES

ENOUGH, BAR = 0.92 * CHOICES, 0.95 * CHOICES
"""Mean returns: at which training ends, and which the greedy policy must have. The network `mlp` has 60% of it then."""


@by_chance
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full)])
def test_it_picks_the_best_of_many(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The environment is found beside this file.
    monkeypatch.chdir(Path(__file__).parent)
    config = {"learningRate": 2e-3, "gamma": 0.0, "entropyCoefficient": 0.01}
    job = {
        "apiVersion": "rljob.dev/v1alpha1",
        "kind": "RLJob",
        "metadata": {"name": "pick"},
        "spec": {
            "environment": {"entryPoint": "pick:Pick"},
            "algorithm": {"name": "PPO", "config": config},
            "network": {"name": "candidates"},
            "stop": {"meanReturn": ENOUGH, "steps": 100_000},
            "rollout": {"replicas": 1, "envsPerReplica": 16},
        },
    }

    result = rljob.run(job, dir=tmp_path / "run", seed=seed)

    assert result.outcome == "Complete"
    reach(result.mean_return, ENOUGH)
    assert result.reason == "MeanReturnReached"
    reach(evaluate_run(result.folder, 50, seed=seed).mean, BAR)
