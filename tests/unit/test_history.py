"""Records of a run as columns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import rljob
from rljob.errors import InputError

RESULT = {
    "outcome": "Complete",
    "reason": "StepsReached",
    "meanReturn": 2.0,
    "bestReturn": None,
    "steps": 20,
    "episodes": 2,
    "updates": 2,
    "seconds": 1.0,
    "policyVersion": 2,
    "seed": 1,
    "versions": {},
}


@pytest.fixture
def run(tmp_path: Path) -> rljob.Result:
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    return rljob.Result.read(tmp_path)


def write(run: rljob.Result, name: str, *lines: dict[str, object]) -> None:
    (run.folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_columns_of_the_records(run: rljob.Result) -> None:
    write(
        run,
        "metrics.jsonl",
        {"steps": 10, "meanReturn": None, "stages": {"update": 0.5}, "checkpoint": {"step": 3}},
        {"steps": 20, "meanReturn": 2.5, "lagBound": 4, "metrics": {"entropy": 0.25}},
    )
    found = run.history()
    assert found["steps"].dtype == np.int64
    assert found["steps"].tolist() == [10, 20]
    for name, values in (
        ("mean_return", [np.nan, 2.5]),
        ("lag_bound", [np.nan, 4.0]),
        ("metrics.entropy", [np.nan, 0.25]),
        ("stages.update", [0.5, np.nan]),
    ):
        assert found[name].dtype == np.float64
        np.testing.assert_array_equal(found[name], values)
    assert "checkpoint" not in found
    assert {len(column) for column in found.values()} == {2}


def test_columns_of_the_evaluations(run: rljob.Result) -> None:
    write(
        run,
        "evaluations.jsonl",
        {"policyVersion": 3, "mean": 1.5},
        {"policyVersion": 9, "mean": 2, "cutOff": 1},
    )
    found = run.evaluations()
    assert found["policy_version"].tolist() == [3, 9]
    assert found["mean"].tolist() == [1.5, 2.0]
    np.testing.assert_array_equal(found["cut_off"], [np.nan, 1.0])


def test_what_is_no_number_is_in_no_column(run: rljob.Result) -> None:
    """Of a job with hooks that failed, and of one that applications feed."""
    told = {"name": "game", "acts": 3, "address": "10.0.0.1"}
    failed = {"count": 2, "message": "m:H.on_update: ValueError", "time": 1e9}
    write(
        run,
        "metrics.jsonl",
        {"steps": 10, "applications": []},
        {"steps": 20, "applications": [told], "applicationsConnected": 1, "hookFailures": failed},
    )
    found = run.history()
    assert found["hook_failures"].tolist() == [0, 2]
    assert found["applications_connected"].tolist() == [0, 1]
    assert "applications" not in found
    assert {column.shape for column in found.values()} == {(2,)}


def test_without_records_columns_are_empty(run: rljob.Result) -> None:
    """So that a curve of a job that has just begun is empty, and no KeyError."""
    assert run.history()["steps"].tolist() == []
    assert run.episode_history()["return"].tolist() == []
    assert run.evaluations() == {}


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"has no result\.json; give the folder of a run that has ended"
    ):
        rljob.Result.read(tmp_path)
