"""A full disk: lines are dropped and told, and writing goes on by itself. `/dev/full` refuses every write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from rljob.checkpoints.checkpoint import Snapshot
from rljob.local.targets import Targets
from rljob.process.hardware import HardwareUse
from rljob.roles.evaluator.loop import append
from rljob.roles.evaluator.play import GreedyEpisodes
from rljob.roles.learner import saving
from rljob.roles.learner.saving import Saver
from rljob.run_folder import json_files
from rljob.run_folder.events import Events
from rljob.run_folder.json_files import Appender
from rljob.run_folder.names import EVALUATIONS
from rljob.telemetry.metrics import LearnerMetrics

ENOSPC = "No space left on device"


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """From here on, and until `undo`, a file takes five more bytes and then is full."""
    real, left = os.write, [5]

    def write(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, ENOSPC)
        taken, left[0] = data[: left[0]], 0
        return real(descriptor, taken)

    monkeypatch.setattr(os, "write", write)
    return monkeypatch


def lines(path: Path) -> list[dict[str, int]]:
    return json_files.parse_lines(path.read_bytes())[0]


def test_records_go_on_after_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, full: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"n": 0}\n')
    file = Appender(path)
    for number in (1, 2, 3):
        file.write({"n": number})
    full.undo()
    file.write({"n": 4})
    file.write({"n": 5})
    file.close()
    assert lines(path) == [{"n": 0}, {"n": 4}, {"n": 5}]
    assert [ENOSPC in each.message for each in caplog.records] == [True], "told once"


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"n": 0}\n{"n"')
    file = Appender(path)
    file.write({"n": 1})
    file.close()
    assert lines(path) == [{"n": 0}, {"n": 1}]


def test_an_evaluator_goes_on_after_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, full: pytest.MonkeyPatch
) -> None:
    played = GreedyEpisodes.of(np.ones(2), np.ones(2, np.int64), 1.0)
    folder = tmp_path / "run"
    append(folder, (1, 1), played, HardwareUse())
    full.undo()
    append(folder, (1, 2), played, HardwareUse())
    assert [line["policyVersion"] for line in lines(folder / EVALUATIONS)] == [2]
    (folder / EVALUATIONS).unlink()
    (folder / EVALUATIONS).mkdir()
    append(folder, (1, 3), played, HardwareUse())
    assert ["evaluations.jsonl" in each.message for each in caplog.records] == [True, True]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_events_on_a_full_disk_end_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.symlink_to("/dev/full")
    Events(path).add("rollout-0", "died", "was killed")


def test_targets_are_written_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Role:
        name, kind, port = "rollout-0", "rollout", 1234

    def no_room(*_: object) -> None:
        raise OSError(28, ENOSPC)

    targets = Targets(tmp_path / "targets.json", "job")
    with monkeypatch.context() as patched:
        patched.setattr("rljob.local.targets.write_whole", no_room)
        targets.show([Role()])  # type: ignore[list-item]
    targets.show([Role()])  # type: ignore[list-item]
    assert json.loads((tmp_path / "targets.json").read_text())[0]["targets"] == ["127.0.0.1:1234"]


def test_training_goes_on_after_a_failed_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = LearnerMetrics()
    saver = Saver(tmp_path / "checkpoints", 3, metrics)
    first, second = (
        Snapshot(version, 0, {"w": np.zeros(2)}, {"w": np.zeros(2)}, {}) for version in (1, 2)
    )
    with monkeypatch.context() as patched:
        patched.setattr(
            saving.checkpoint, "_write_file", lambda *_: (_ for _ in ()).throw(OSError(28, ENOSPC))
        )
        saver.save(first)
        with pytest.raises(Exception, match="free some space"):
            saver._writing.result()  # type: ignore[union-attr]
    saver.save(second)
    saver.finish()
    assert saver.last is not None
    assert saver.last.version == 2
    assert "training goes on without the last checkpoint" in caplog.text
    failures = metrics.registry.get_sample_value("rljob_learner_checkpoint_failures_total")
    assert failures == 1
    saver.close()
