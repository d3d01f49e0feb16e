"""The pure parts of `rljob run`: command line, results, error files, stop conditions already reached."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from rljob.cli.run import chosen, configure, exit_code, job_name
from rljob.errors import InputError
from rljob.local.prepare import _check_unfinished
from rljob.local.result import Evaluation, Result, RunProgress
from rljob.run_folder.json_files import Tail
from rljob.run_folder.record import Record, SavedCheckpoint
from rljob.spec import parse


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    configure(parser)
    return parser.parse_args(words)


def test_a_job_without_a_file() -> None:
    job, overrides = chosen(arguments("--env", "CartPole-v1", "--seed", "3"))
    assert isinstance(job, dict)
    parsed = parse(job, overrides=overrides)
    assert parsed.metadata.name == "cartpole-v1-ppo"
    assert (parsed.spec.environment.id, parsed.spec.algorithm.name) == ("CartPole-v1", "PPO")
    assert (parsed.spec.stop.steps, parsed.spec.seed) == (1_000_000, 3)


def test_options_override_a_file() -> None:
    job, overrides = chosen(
        arguments("a.yaml", "--env", "ALE/Pong-v5", "--algorithm", "DQN", "--set", "seed=1")
    )
    assert job == Path("a.yaml")
    raw = {"environment": {"entryPoint": "a:b"}, "algorithm": {"name": "PPO"}, "stop": {"steps": 1}}
    parsed = parse({"metadata": {"name": "a"}, "spec": raw}, overrides=overrides)
    assert (parsed.spec.environment.id, parsed.spec.environment.entry_point) == (
        "ALE/Pong-v5",
        None,
    )
    assert (parsed.spec.algorithm.name, parsed.spec.seed) == ("DQN", 1)


def test_neither_file_nor_environment() -> None:
    with pytest.raises(InputError, match="--env"):
        chosen(arguments())
    assert chosen(arguments("--resume"))[0] is None


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ("CartPole-v1", "cartpole-v1-ppo"),
        ("ALE/Ms_Pac-Man:v5", "ale-ms-pac-man-v5-ppo"),
        ("2048", "ppo"),
        ("A" * 60, "a" * 40),
        ("A" * 39 + "/b", "a" * 39),
    ],
)
def test_names_made_of_environments_are_valid(environment: str, name: str) -> None:
    assert job_name(environment, "PPO") == name


@pytest.mark.parametrize(
    ("outcome", "reason", "number", "code"),
    [
        ("Complete", "StepsReached", None, 0),
        ("Complete", "StepsReached", 2, 0),
        ("Stopped", "Interrupted", 2, 130),
        ("Stopped", "Interrupted", 15, 143),
        ("Failed", "CrashLoop", None, 1),
        ("Failed", "DeadlineExceeded", None, 1),
        ("Failed", "InputError", None, 2),
    ],
)
def test_exit_codes(outcome: str, reason: str, number: int | None, code: int) -> None:
    assert exit_code({"outcome": outcome, "reason": reason}, number) == code


RESULT: dict[str, Any] = {
    "outcome": "Complete",
    "reason": "StepsReached",
    "meanReturn": 20.5,
    "bestReturn": None,
    "steps": 3000,
    "episodes": 150,
    "updates": 3,
    "seconds": 1.5,
    "policyVersion": 3,
    "seed": 0,
    "versions": {"rljob": "0.1.0"},
}


def test_result_from_json(tmp_path: Path) -> None:
    evaluation = {"mean": 9.0, "std": 1.0, "min": 8.0, "max": 10.0, "episodes": 3}
    result = Result.from_json({**RESULT, "evaluation": evaluation, "unknown": 1}, tmp_path)
    assert (result.mean_return, result.best_return, result.policy_version) == (20.5, None, 3)
    assert result.evaluation == Evaluation(9.0, 1.0, 8.0, 10.0, 3)
    assert result.policy_path is None
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    (tmp_path / "checkpoints" / "latest").symlink_to("1")
    assert result.policy_path == tmp_path / "checkpoints" / "latest"


def test_a_complete_run_is_resumed_only_beyond_its_end(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "outcome": "Complete"}))
    job = {
        "metadata": {"name": "a"},
        "spec": {"environment": {"id": "A"}, "algorithm": {"name": "PPO"}},
    }

    def check(**stop: Any) -> None:
        _check_unfinished(parse({**job, "spec": {**job["spec"], "stop": stop}}), tmp_path)

    with pytest.raises(InputError, match=r"stop\.steps 3000 was .*--set stop\.steps=2000000"):
        check(steps=3000)
    with pytest.raises(InputError, match=r"meanReturn 20 was reached with 20.5.*meanReturn=null"):
        check(meanReturn=20)
    with pytest.raises(InputError, match=r"stop\.duration 1s was reached.*stop\.duration=1h"):
        check(duration="1s")
    with pytest.raises(InputError, match=r"stop\.updates 3 was .*--set stop\.updates=20000"):
        check(updates=3)
    with pytest.raises(InputError, match=r"stop\.episodes 15 was .*--set stop\.episodes=20000"):
        check(episodes=15)
    check(steps=3001, updates=4, episodes=151)
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "outcome": "Stopped"}))
    check(steps=3000)
    few = {**RESULT, "outcome": "Complete", "episodes": 99}
    (tmp_path / "result.json").write_text(json.dumps(few))
    check(meanReturn=20)


def test_tail_takes_whole_new_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"old": 1}\n')
    tail = Tail(path)
    assert list(tail.new()) == []
    with path.open("a") as file:
        file.write('{"a": 1}\nnoise\n{"b"')
        file.flush()
        assert list(tail.new()) == [{"a": 1}]
        file.write(": 2}\n")
    assert list(tail.new()) == [{"b": 2}]
    assert list(Tail(tmp_path / "absent").new()) == []


def test_progress_of_a_record() -> None:
    record = Record.from_json({"lagP95": 7, "metrics": {"entropy": 0.5}, "evicted": 3, "new": 1})
    progress = RunProgress.of(record, restarts=2, roles={"learner-0": "running"})
    assert (progress.lag_p95, progress.metrics) == (7, {"entropy": 0.5})
    assert (progress.restarts, progress.roles) == (2, {"learner-0": "running"})


def test_a_record_is_the_same_after_a_file() -> None:
    saved = SavedCheckpoint(policy_version=3, step=10, path="checkpoints/3", sha256="a", time=1.5)
    record = Record(steps=12, mean_return=1.5, lag_p95=2, checkpoint=saved, stages={"update": 0.5})
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert record.to_json()["checkpoint"]["policyVersion"] == 3
    assert record.to_json()["lagP95"] == 2


def test_counters_do_not_turn_back() -> None:
    before = Record(steps=20, updates=5, policy_version=3, mean_return=9.0)
    after = Record(steps=10, updates=6, mean_return=1.0).at_least(before)
    assert (after.steps, after.updates, after.policy_version) == (20, 6, 3)
    assert after.mean_return == 1.0


def test_names_of_the_package() -> None:
    import rljob

    for name in rljob.__all__:
        assert getattr(rljob, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = rljob.trian
