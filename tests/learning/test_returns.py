"""The examples as they are learn what they promise, on every seed, with their roles as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rljob
from rljob.roles.evaluator.play import evaluate_run
from tests.learning.bars import by_chance, reach

EXAMPLES = Path(__file__).parents[2] / "examples"
FULL = pytest.mark.full
SEEDS = (1, *(pytest.param(seed, marks=FULL) for seed in (2, 3)))
# What the task calls solved. It stands here and not only in the examples, whose stop condition it is.
PPO = {"cartpole-ppo": 475.0, "acrobot-ppo": -110.0, "pendulum-ppo": -300.0}
SOLVED = {**PPO, "cartpole-a2c": 475.0, "cartpole-reinforce": 475.0, "cartpole-impala": 475.0}

# The best policy of Taxi gets about 7.9; the bars leave room for the places of 100 passengers, and for lag. A
# table of 1,080 cells balances for 270 to 440 steps, random actions for 22. Of seven runs of QRDQN one ended at 351
# (docs/reference/algorithms/qr-dqn.md).
# The best policy of Grid gets 0.745, and 100 episodes are within 0.06 of their mean.
GREEDY = {
    "taxi-q-learning": 7.2,
    "cartpole-q-learning": 200.0,
    "pendulum-sac": -200.0,
    "pendulum-td3": -200.0,
    "pendulum-ddpg": -180.0,
    "cartpole-c51": 475.0,
    "cartpole-qr-dqn": 300.0,
    "cartpole-appo": 450.0,
    "cartpole-sac": 200.0,
    "cartpole-trpo": 450.0,
    "cartpole-iqn": 475.0,
    "cartpole-rainbow": 475.0,
    "grid-dyna-q": 0.65,
    "grid-ql-agent57": 0.65,
    "grid-search-dyna-q": 0.65,
    "grid-vanilla-policy": 0.65,
    "grid-vanilla-policy-box": 0.65,
    "pendulum-trpo": -230.0,
    # Without a memory, a policy gets about 45.
    "cartpole-no-velocities-ppo": 250.0,
    "cartpole-no-velocities-r2d2": 250.0,
}
LONG = (
    "cartpole-no-velocities-ppo",
    "cartpole-no-velocities-r2d2",
    "cartpole-appo",
    "cartpole-iqn",
    "cartpole-qr-dqn",
    "cartpole-rainbow",
    "cartpole-sac",
    "grid-ql-agent57",
    "grid-vanilla-policy",
    "grid-vanilla-policy-box",
    "pendulum-ddpg",
    "pendulum-trpo",
)


def train(name: str, folder: Path, seed: int, *overrides: str) -> rljob.Result:
    """Run an example in `folder`; it ends by itself, at the latest after its `stop.steps`."""
    result = rljob.run(EXAMPLES / f"{name}.yaml", dir=folder, seed=seed, overrides=overrides)
    assert (result.outcome, result.restarts) == ("Complete", 0)
    assert result.seed == seed
    return result


def mean_return(result: rljob.Result) -> float:
    """Of the last 100 training episodes: fewer would prove nothing."""
    assert result.episodes >= 100
    assert result.mean_return is not None
    return result.mean_return


@by_chance
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=FULL if name == "acrobot-ppo" else ()) for name in SOLVED]
)
def test_it_learns(name: str, seed: int, tmp_path: Path) -> None:
    result = train(name, tmp_path / "run", seed)

    reach(mean_return(result), SOLVED[name])
    assert result.reason == "MeanReturnReached"


# A seed fixes the course of a run only with `strict`.
@by_chance
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("overrides", "bar"),
    [
        (("strict=true",), 475.0),
        (("strict=true", "algorithm.config.replay=prioritised"), 475.0),
        pytest.param((), 475.0, marks=FULL),
    ],
    ids=["strict", "strict-prioritised", "as-it-is"],
)
def test_the_final_policy_of_dqn_balances_greedily(
    overrides: tuple[str, ...], bar: float, seed: int, tmp_path: Path
) -> None:
    result = train("cartpole-dqn", tmp_path / "run", seed, *overrides)

    # Its episodes are drawn anew here: those of the run's own evaluation are not the only ones.
    evaluation = evaluate_run(result.folder, 20, seed=seed)
    assert evaluation.episodes == 20
    reach(evaluation.mean, bar)
    assert result.evaluation is not None
    reach(result.evaluation.mean, bar)


@by_chance
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=FULL if name in LONG else ()) for name in GREEDY]
)
def test_the_final_policy_is_good_greedily(name: str, seed: int, tmp_path: Path) -> None:
    result = train(name, tmp_path / "run", seed)

    reach(evaluate_run(result.folder, 100, seed=seed).mean, GREEDY[name])


@by_chance
@pytest.mark.parametrize(
    ("seed", "overrides", "bar"),
    [
        # With fewer updates it learns less, in less time.
        (1, ("algorithm.config.samplesPerInsert=16",), 120.0),
        *(pytest.param(seed, (), 400.0, marks=FULL) for seed in (1, 2, 3)),
    ],
)
def test_sequences_teach_a_network_with_memory(
    seed: int, overrides: tuple[str, ...], bar: float, tmp_path: Path
) -> None:
    """Without velocities, a policy that does not remember gets about 45."""
    for file in (EXAMPLES / "algorithms").iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    result = rljob.run(tmp_path / "r2d2.yaml", dir=tmp_path / "run", seed=seed, overrides=overrides)

    assert (result.outcome, result.restarts) == ("Complete", 0)
    reach(evaluate_run(result.folder, 50, seed=seed).mean, bar)


@by_chance
@pytest.mark.parametrize("seed", SEEDS)
def test_ppo_learns_with_normalised_observations(seed: int, tmp_path: Path) -> None:
    normalise = "algorithm.config.normaliseObservations=true"

    result = train("pendulum-ppo", tmp_path / "run", seed, normalise)

    reach(mean_return(result), PPO["pendulum-ppo"])
    # What it saw is part of the policy: acting alone, it normalises as it did in training.
    # Without, it would get about -1200; 100 greedy episodes are within 70 of their mean.
    reach(evaluate_run(result.folder, 100, seed=seed).mean, PPO["pendulum-ppo"] - 100)


# Experience that is older, comes from elsewhere, or in other portions, teaches the same.
@by_chance
@pytest.mark.parametrize(
    "overrides",
    [
        ("rollout.replicas=1",),
        ("rollout.replicas=4",),
        ("rollout.envsPerReplica=16", "algorithm.config.rolloutLength=64"),
        ("rollout.replicas=1", "rollout.envsPerReplica=64"),
        ("buffer.maxPolicyLag=0",),
        ("buffer.maxPolicyLag=4",),
    ],
    ids=lambda overrides: ",".join(overrides),
)
def test_ppo_learns_at_every_scale(overrides: tuple[str, ...], tmp_path: Path) -> None:
    result = train("cartpole-ppo", tmp_path / "run", 1, *overrides)

    reach(mean_return(result), PPO["cartpole-ppo"])


def custom_example(*command: str, folder: Path) -> str:
    """Run a command beside the custom example's files; what it printed."""
    for file in (EXAMPLES / "custom").iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@by_chance
@pytest.mark.parametrize(
    "command",
    # As the command does, -P leaves the working folder out of the paths.
    [(sys.executable, "-P", "-m", "rljob", "run", "job.yaml"), (sys.executable, "run.py")],
    ids=["yaml", "python"],
)
def test_own_environment_network_and_algorithm_learn(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    custom_example(*command, folder=tmp_path)

    (folder,) = (tmp_path / "runs").glob("custom-*")
    values = json.loads((folder / "result.json").read_text())
    result = rljob.Result.from_json(values, folder)
    assert result.outcome == "Complete"
    reach(mean_return(result), -20)
    assert result.reason == "MeanReturnReached"
