"""How a role ended: what Kubernetes keeps of it, and what the local supervisor reads back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rljob.errors import InputError, RunError
from rljob.process import termination_message
from rljob.process.termination_message import MOST_BYTES
from rljob.spec.invalid import Invalid
from rljob.spec.status import EndReport, LearnerReport, ProgressStatus

REPORT = LearnerReport(progress=ProgressStatus(steps=7), seed=1, versions={"torch": "2.0"})


def told(path: Path, end: EndReport) -> EndReport:
    """As whoever reads the termination message understands it."""
    termination_message.write(path, end)
    assert path.stat().st_size <= MOST_BYTES
    return EndReport.model_validate_json(path.read_bytes())


def test_bad_input_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "end"
    error = InputError("is odd", path="environment.id", file="a.yaml", line=3)
    end = told(path, termination_message.failed(error))
    assert (end.outcome, end.reason) == ("Failed", "InputError")
    assert end.message == "a.yaml:3: environment.id: is odd"
    found = termination_message.take(path)
    assert found is not None
    assert isinstance(found.error, InputError)
    assert (str(found.error), found.error.path) == (str(error), "environment.id")
    assert not path.exists()
    termination_message.write(
        path, termination_message.failed(Invalid([InputError("a"), InputError("b", path="c")]))
    )
    found = termination_message.take(path)
    assert found is not None
    assert str(found.error) == "a\nc: b"


def test_other_failures_name_their_kind(tmp_path: Path) -> None:
    end = told(tmp_path / "end", termination_message.failed(RunError("no space")))
    assert (end.reason, end.message) == ("RunError", "no space")
    found = termination_message.take(tmp_path / "end")
    assert found is not None
    assert isinstance(found.error, RunError)
    end = told(tmp_path / "end", termination_message.failed(ZeroDivisionError("by zero")))
    assert (end.reason, end.message) == ("ZeroDivisionError", "ZeroDivisionError: by zero")


def test_a_good_end_is_no_error(tmp_path: Path) -> None:
    given = EndReport(outcome="Complete", reason="StepsReached", message="ü", report=REPORT)
    assert told(tmp_path / "end", given) == given
    found = termination_message.take(tmp_path / "end")
    assert found is not None
    assert found.error is None


def test_nothing_or_half_a_file_is_none(tmp_path: Path) -> None:
    assert termination_message.take(tmp_path / "end") is None
    (tmp_path / "end").write_text(json.dumps({"message": "cut off"}))
    assert termination_message.take(tmp_path / "end") is None


@pytest.mark.parametrize("letter", ["a", "ü", "\n", "\ud800", "🤖"])
def test_whatever_is_said_fits(tmp_path: Path, letter: str) -> None:
    path, long = tmp_path / "end", letter * 5000
    end = told(path, EndReport(outcome="Failed", reason="RunError", message=long, report=REPORT))
    assert end.message.endswith("…")
    assert len(end.message) > 500
    assert end.report is not None
    assert end.report.progress.steps == 7
    found = told(
        path, termination_message.failed(Invalid([InputError(long, path="a"), InputError(long)]))
    )
    assert found.reason == "InputError"
    taken = termination_message.take(path)
    assert taken is not None
    assert isinstance(taken.error, InputError)


def test_versions_and_problems_give_way_before_the_message(tmp_path: Path) -> None:
    path = tmp_path / "end"
    report = REPORT.model_copy(update={"versions": {"x": "1" * 3000}})
    message = "m" * 2000
    end = told(path, EndReport(outcome="Failed", reason="R", message=message, report=report))
    assert end.message == message
    assert end.report is not None
    assert end.report.versions == {}
    many = Invalid([InputError("p" * 100, path=f"field{n}") for n in range(18)])
    termination_message.write(path, termination_message.failed(many))
    taken = termination_message.take(path)
    assert taken is not None
    assert taken.message == str(many)
    assert isinstance(taken.error, Invalid)
    assert 1 < len(taken.error.problems) < 18
