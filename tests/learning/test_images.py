"""The network `cnn` learns from pixels, on every seed, with the roles of a job as processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rljob
from rljob.roles.evaluator.play import evaluate_run
from tests.learning.bars import by_chance, reach

SEEDS = (1, pytest.param(2, marks=pytest.mark.full))
ENOUGH, BAR = 0.98, 0.8
"""Mean returns: at which training ends, and which the greedy policy must have; 1 is a ball always caught."""
# Once every ball is caught, advantages are noise. Normalised, they would make one more update spoil the policy.
PPO = {
    "name": "PPO",
    "config": {
        "learningRate": 1e-3,
        "rolloutLength": 32,
        "epochs": 2,
        "entropyCoefficient": 0.01,
        "normaliseAdvantages": False,
    },
}
DQN = {
    "name": "DQN",
    "config": {
        "learningRate": 1e-3,
        "batchSize": 32,
        "samplesPerInsert": 4,
        "targetUpdateInterval": 100,
        "epsilon": {"from": 1.0, "to": 0.01, "steps": 5000},
    },
}


def catch(algorithm: dict[str, Any], envs: int, precision: str = "float32") -> dict[str, Any]:
    config = {"channels": [16, 32], "kernels": [4, 3], "strides": [2, 1], "hidden": [64]}
    return {
        "apiVersion": "rljob.dev/v1alpha1",
        "kind": "RLJob",
        "metadata": {"name": "catch"},
        "spec": {
            "environment": {"entryPoint": "catch:Catch"},
            "algorithm": algorithm,
            "network": {"name": "cnn", "config": config},
            "stop": {"meanReturn": ENOUGH, "steps": 400_000},
            "rollout": {"replicas": 1, "envsPerReplica": envs},
            "learner": {"precision": precision},
        },
    }


@by_chance
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "job",
    [catch(PPO, 32), catch(PPO, 32, "bfloat16"), catch(DQN, 8)],
    ids=["ppo", "ppo-bfloat16", "dqn"],
)
def test_it_catches_what_it_sees(
    job: dict[str, Any], seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The environment is found beside this file.
    monkeypatch.chdir(Path(__file__).parent)

    result = rljob.run(job, dir=tmp_path / "run", seed=seed)

    assert result.outcome == "Complete"
    reach(result.mean_return, ENOUGH)
    assert result.reason == "MeanReturnReached"
    reach(evaluate_run(result.folder, 200, seed=seed).mean, BAR)
