"""Sinks without their processes: lines to numbers, how far a sink has come, and the section of the job."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rljob import spec
from rljob.errors import InputError
from rljob.local.supervisor import LEARNER_GRACE
from rljob.roles.sinks import artifacts, children, process
from rljob.roles.sinks.base import Opening
from rljob.roles.sinks.following import Cursor, RecordFollower
from rljob.roles.sinks.mlflow import Mlflow, cleaned
from rljob.roles.sinks.scalars import ScalarPoint, VersionSteps, evaluated, settings, trained
from rljob.roles.sinks.tensorboard import file_name
from rljob.roles.sinks.wandb import Wandb
from rljob.spec import RLJob
from rljob.spec.roles import ROLES
from tests.unit.specs import job


def parsed(sinks: object) -> RLJob:
    return spec.parse(job(sinks=sinks))


def test_a_record_becomes_its_numbers() -> None:
    point = trained(
        {
            "time": 2.0,
            "steps": 30,
            "seconds": 1,
            "meanReturn": None,
            "checkpoint": {"policyVersion": 1},
            "lagBound": 4,
            "metrics": {"entropy": 0.5, "loss": math.nan},
        }
    )
    assert point is not None
    assert (point.step, point.time) == (30, 2.0)
    assert point.values == {"seconds": 1.0, "metrics/entropy": 0.5}
    assert trained({"steps": 3}) is None


def test_numbers_may_have_the_names_of_what_is_left_out() -> None:
    nested = {"time": 9, "steps": 3, "checkpoint": 1}
    point = trained(
        {
            "time": 2.0,
            "steps": 30,
            "info": nested,
            "metrics": nested,
            "hookFailures": {"count": 2, "message": "m", "time": 1e9},
        }
    )
    assert point is not None
    assert point.values == {
        "hookFailures": 2,
        **{
            f"{place}/{name}": value
            for place in ("info", "metrics")
            for name, value in nested.items()
        },
    }


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("metrics/loss", "metrics/loss"),
        ("info/lives left", "info/lives left"),
        ("metrics/loss%:pi(π)", "metrics/loss__pi_π_"),
        ("metrics//a/../b/", "metrics/a/b"),
        ("../x", "x"),
        ("%", "_"),
        ("//", "_"),
        ("a" * 300, "a" * 200),
    ],
)
def test_mlflow_takes_every_name(name: str, wanted: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert cleaned(name) == wanted
    _validate_metric_name(cleaned(name))


def test_a_run_of_mlflow_whose_settings_are_refused_is_not_left() -> None:
    """Each further attempt would make another one."""
    asked: list[str] = []

    def refuse(run: str, params: Sequence[Any]) -> None:
        asked.extend(param.key for param in params)
        raise ValueError("refused")

    sink = object.__new__(Mlflow)
    sink._client = SimpleNamespace(  # type: ignore[assignment]
        get_experiment_by_name=lambda _: SimpleNamespace(experiment_id="0"),
        create_run=lambda *_, **__: SimpleNamespace(info=SimpleNamespace(run_id="7")),
        log_batch=refuse,
        delete_run=asked.append,
    )
    opening = Opening(Path(), "pole", {"kwargs.a%": "1", "kwargs.a$": "2"}, "", 0)
    with pytest.raises(ValueError, match="refused"):
        sink._new(opening, "pole")
    assert asked == ["kwargs.a_", "kwargs.a__", "7"]


@given(st.lists(st.integers(0, 3 * 10**18)))
def test_event_files_sort_as_they_were_made_whatever_the_clock_says(clock: list[int]) -> None:
    names: list[str] = []
    for now in clock:
        names.append(file_name(names, now))
    assert names == sorted(set(names))


def test_an_event_file_comes_after_one_that_tensorboard_named() -> None:
    before = "events.out.tfevents.1700000000.host.32767.0"
    assert file_name([before], 1_700_000_000_000_000_001) > before
    assert file_name([before], 1_700_000_001_000_000_000) == (
        "events.out.tfevents.1700000001.000000000"
    )


def test_an_evaluation_lies_where_its_policy_was_made() -> None:
    versions = VersionSteps()
    for version, steps in ((1, 10), (3, 30)):
        versions.add({"policyVersion": version, "steps": steps})
    line = {"time": 1.0, "policyVersion": 2, "lineage": 7, "mean": 5.0}
    point = evaluated(line, versions)
    assert point is not None
    assert point.step == 10
    assert point.values == {"evaluation/policyVersion": 2.0, "evaluation/mean": 5.0}
    assert evaluated({"mean": 1}, versions) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 100))))
def test_versions_are_those_of_the_learner_that_went_on(seen: list[tuple[int, int]]) -> None:
    versions, kept = VersionSteps(), {}
    for version, steps in seen:
        versions.add({"policyVersion": version, "steps": steps})
        kept = {known: at for known, at in kept.items() if known < version} | {version: steps}
    for version in range(22):
        known = [at for at in kept if at <= version]
        assert versions.step(version) == (kept[max(known)] if known else 0)


def test_settings_have_dotted_paths() -> None:
    nested = {"algorithm": {"name": "PPO", "config": {"clip": 0.2}}, "seed": 1}
    assert settings(nested) == {
        "algorithm.name": "PPO",
        "algorithm.config.clip": "0.2",
        "seed": "1",
    }


def test_a_place_is_kept_and_a_damaged_one_is_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "sinks" / "x.json"
    assert Cursor.load(path) == Cursor()
    Cursor({"metrics.jsonl": 5}, "run").save(path)
    assert Cursor.load(path) == Cursor({"metrics.jsonl": 5}, "run")
    for text in ("", "[]", '{"offsets": 3, "run": ""}', '{"offsets": {"a": "b"}, "run": ""}'):
        path.write_text(text)
        assert Cursor.load(path) == Cursor()


def test_lines_come_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"time": 1, "steps": 1}\nbroken\n{"time": 2, ')
    place = Cursor()
    following = RecordFollower(tmp_path, place)
    points, place.offsets = following.new()
    assert [point.step for point in points] == [1]
    assert following.new()[0] == []
    with path.open("ab") as file:
        file.write(b'"steps": 2}\n')
    assert [point.step for point in following.new()[0]] == [2]


# ---- files, and the end


class Turns:
    """Says at the last of so many turns that the run has ended."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self, seconds: float) -> bool:
        self._left -= 1
        return self._left == 0


class Recorded:
    """A sink that writes down what it is asked."""

    run = "1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def add(self, points: Sequence[ScalarPoint]) -> None:
        self.asked.append("add")

    def checkpoint(self, path: Path) -> None:
        self.asked.append("checkpoint")

    def page(self, path: Path) -> None:
        self.asked.append("page")
        raise TimeoutError("as slow as a page can be")

    def finish(self, result: Mapping[str, Any]) -> None:
        self.asked.append(f"finish {result['outcome']}")

    def close(self) -> None:
        self.asked.append("close")


@pytest.mark.parametrize(
    ("sinks", "stored"),
    [
        ({"mlflow": {}}, ["checkpoint"]),
        ({"mlflow": {"artifacts": False}}, None),
        ({"wandb": {}}, ["checkpoint"]),
        # Each would stay in the run's folder.
        ({"wandb": {"mode": "offline"}}, []),
    ],
    ids=str,
)
def test_the_end_is_marked_before_files_that_may_take_too_long(
    sinks: dict[str, Any],
    stored: list[str] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, told = Recorded(), io.StringIO()
    monkeypatch.setattr(process, "open_sink", lambda *_: made)
    monkeypatch.setattr(artifacts.ArtifactFeed, "due", lambda _: True)
    monkeypatch.setattr(artifacts.ArtifactFeed, "checkpoint", lambda _, sink: sink.checkpoint(_))
    monkeypatch.setattr(artifacts.ArtifactFeed, "page", lambda _, sink: sink.page(_))
    (tmp_path / "job.yaml").write_text(spec.dump(parsed(sinks)))
    (tmp_path / "metrics.jsonl").write_text('{"time": 1, "steps": 1}\n')
    (tmp_path / "result.json").write_text('{"outcome": "Complete"}')
    (name,) = parsed(sinks).spec.sinks.wanted
    process.main(name, tmp_path, told, Turns(2))
    files = [] if stored is None else ["checkpoint", "page"]
    assert made.asked == ["add", *(stored or []), "finish Complete", *files, "close"]
    assert told.getvalue().count("\n") == len(files) // 2


def test_a_page_and_the_end_fit_into_the_time_that_sinks_have() -> None:
    assert artifacts.PAGE_SECONDS <= children.FINISH_SECONDS / 2
    assert children.HURRIED_SECONDS <= LEARNER_GRACE / 2 <= ROLES["learner"].pod.grace_seconds / 2


def test_what_a_killed_sink_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".files-abc"
    left.mkdir()
    (left / "checkpoint.tar").write_bytes(b"large")
    artifacts.ArtifactFeed(tmp_path, tmp_path, "")
    assert list(tmp_path.iterdir()) == []


def test_weights_and_biases_keeps_no_copy_of_what_it_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    sink, logged = object.__new__(Wandb), list[Any]()
    sink.run = "1"
    sink._run = SimpleNamespace(log_artifact=logged.append)  # type: ignore[assignment]
    (tmp_path / "checkpoint.tar").write_bytes(b"x")
    sink.checkpoint(tmp_path / "checkpoint.tar")
    (entry,) = logged[0].manifest.entries.values()
    assert entry.skip_cache


# ---- the section


def test_one_line_asks_for_a_sink() -> None:
    sinks = parsed({"wandb": {"mode": "offline"}, "tensorboard": {}}).spec.sinks
    assert sinks.wanted == ["tensorboard", "wandb"]
    assert parsed({}).spec.sinks.wanted == []
    assert spec.parse(spec.dump(parsed({"mlflow": {}}))).spec.sinks.wanted == ["mlflow"]


@pytest.mark.parametrize(
    ("sinks", "said"),
    [
        ({"tensorbord": {}}, "sinks.tensorbord: unknown"),
        ({"wandb": {"mode": "disabled"}}, "sinks.wandb.mode"),
        ({"wandb": {"apiKey": "s"}}, "sinks.wandb.apiKey: unknown"),
        (
            {"mlflow": {"trackingUri": "https://me:secret@host"}},
            "sinks.mlflow.trackingUri: contains",
        ),
    ],
)
def test_what_is_no_sink_is_refused(sinks: object, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        parsed(sinks)
    assert "secret" not in str(error.value)
