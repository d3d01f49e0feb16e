"""Algorithms as users write them, each in one short file, learn what they promise."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rljob
from rljob.roles.evaluator.play import evaluate, evaluate_run, find
from tests.learning.bars import by_chance, reach

EXAMPLES = Path(__file__).parents[2] / "examples" / "algorithms"
USERS = Path(__file__).parent / "users"
FULL = pytest.mark.full
SEEDS = (1, *(pytest.param(seed, marks=FULL) for seed in (2, 3)))
LINES = {
    EXAMPLES / "alphazero.py": 140,
    EXAMPLES / "tictactoe.py": 60,
    EXAMPLES / "impala.py": 60,
    EXAMPLES / "qmix.py": 90,
    EXAMPLES / "qr_dqn.py": 60,
    EXAMPLES / "r2d2.py": 90,
    EXAMPLES / "two_step.py": 40,
    USERS / "q_learning.py": 40,
    USERS / "sac.py": 90,
}
"""How many lines each has at most, without blanks, comments and docstrings."""


def lines_of_code(source: str) -> int:
    """Lines that hold a statement or a part of one, docstrings left out."""
    texts = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    rows = enumerate(source.splitlines(), start=1)
    return sum(bool(row.strip()) and row.strip()[0] != "#" and n not in texts for n, row in rows)


@pytest.mark.parametrize("file", LINES, ids=lambda file: file.stem)
def test_it_is_short(file: Path) -> None:
    assert lines_of_code(file.read_text()) <= LINES[file]


def test_lines_are_counted_without_blanks_comments_and_docstrings() -> None:
    assert lines_of_code('"""Text\n\nof it."""\n\n# Why.\nx = [  # one\n    1,\n]\n') == 3


# Folder, job and least mean return of the greedy policy over so many episodes. The best policy of FrozenLake
# reaches its goal in 74.02% of the episodes. Without velocities, a policy that does not remember gets about 45.
# Agents whose values are only added get 7 in the two-step game.
JOBS = {
    "impala": (EXAMPLES, 450.0, 50),
    "q_learning": (USERS, 0.7, 1000),
    "qmix": (EXAMPLES, 8.0, 4),
    "qr_dqn": (EXAMPLES, 475.0, 50),
    "sac": (USERS, -170.0, 100),
}
LONG = ("qr_dqn", "sac")
NAMES = [pytest.param(name, marks=FULL if name in LONG else ()) for name in JOBS]


def train(file: Path, folder: Path, seed: int, *overrides: str) -> rljob.Result:
    """Run a job whose code is beside its file; it ends by itself."""
    result = rljob.run(file, dir=folder, seed=seed, overrides=overrides)
    assert (result.outcome, result.restarts) == ("Complete", 0)
    return result


@by_chance
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_final_policy_is_good_greedily(name: str, seed: int, tmp_path: Path) -> None:
    folder, bar, episodes = JOBS[name]

    result = train(folder / f"{name}.yaml", tmp_path / "run", seed)

    assert result.reason == "StepsReached"
    reach(evaluate_run(result.folder, episodes, seed=seed).mean, bar)


@by_chance
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_file_learns_without_memory(seed: int, tmp_path: Path) -> None:
    overrides = (
        "environment={id: CartPole-v1}",
        "network={name: mlp}",
        "algorithm.config={rewardScale: 0.1}",
        "rollout.replicas=2",
        "stop={meanReturn: 475, steps: 200000}",
    )
    result = train(EXAMPLES / "impala.yaml", tmp_path / "run", seed, *overrides)

    reach(result.mean_return, 475)
    assert result.reason == "MeanReturnReached"


@FULL
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_values_that_are_only_added_find_the_lesser_reward(seed: int, tmp_path: Path) -> None:
    result = train(EXAMPLES / "qmix.yaml", tmp_path / "run", seed, "algorithm.config.mixer=sum")

    assert evaluate_run(result.folder, 4, seed=seed).mean == 7.0


@FULL
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_alphazero_never_loses_to_perfect_play(seed: int, tmp_path: Path) -> None:
    result = train(EXAMPLES / "alphazero.yaml", tmp_path / "run", seed)

    job, policy = find(result.folder)
    for perfect in (1, -1):
        environment = job.spec.environment.model_copy(update={"kwargs": {"perfect": perfect}})
        spec = job.spec.model_copy(update={"environment": environment})
        against = evaluate(job.model_copy(update={"spec": spec}), policy, 200, seed)
        # Random moves lose 9 of 10.
        assert not (against.returns < 0).any()


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("q_learning", 5000),
        pytest.param("qmix", 3000, marks=FULL),
        pytest.param("impala", 4000, marks=FULL),
        pytest.param("qr_dqn", 2000, marks=FULL),
        pytest.param("sac", 1000, marks=FULL),
    ],
)
def test_it_repeats_itself_where_runs_are_strict(name: str, steps: int, tmp_path: Path) -> None:
    file = JOBS[name][0] / f"{name}.yaml"
    once, again, other = (
        train(file, tmp_path / run, seed, "strict=true", f"stop={{steps: {steps}}}")
        for run, seed in (("once", 1), ("again", 1), ("other", 2))
    )
    learned = [
        (result.policy_path / "policy.safetensors").read_bytes() for result in (once, again, other)
    ]
    assert learned[0] == learned[1] != learned[2]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("alphazero", EXAMPLES),
        ("impala", EXAMPLES),
        *(pytest.param(name, JOBS[name][0], marks=FULL) for name in JOBS if name != "impala"),
    ],
)
def test_check_finds_nothing_wrong(name: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rljob", "check", f"{name}.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "The job can train."


def test_a_table_needs_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The processes of a run search for modules where this one does.
    (tmp_path / "torch.py").write_text("raise ImportError('torch must not be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)

    train(USERS / "q_learning.yaml", tmp_path / "table", 1, "stop.steps=5000")
    # Else nothing was searched there.
    with pytest.raises(rljob.InputError, match="torch must not be imported"):
        train(USERS / "sac.yaml", tmp_path / "networks", 1)
