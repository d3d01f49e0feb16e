"""The oracle of the fault tests can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from rljob.process.trace import Trace
from tests.oracle import judge, vanished


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / f"{name}.trace").write_text("".join(line + "\n" for line in lines), encoding="ascii")


def sound(folder: Path) -> None:
    write(folder, "rollout-0.1", "acked 1 1 0", "acked 1 1 1")
    write(folder, "buffer-0.2", "stored 1 1 0", "stored 1 1 1", "stored 1 1 2", "evicted 1 1 2")
    write(folder, "learner-0.3", "consumed 1 1 0", "consumed 1 1 1")


def test_a_sound_run_is_valid(tmp_path: Path) -> None:
    sound(tmp_path)
    judgement = judge(tmp_path, least=4)
    assert judgement.verdict == "valid", judgement
    assert judgement.operations == 4


def test_too_little_happened_to_say(tmp_path: Path) -> None:
    sound(tmp_path)
    assert judge(tmp_path, least=5).verdict == "unknown"
    assert judge(tmp_path / "nothing", least=1).verdict == "unknown"


@pytest.mark.parametrize(
    ("name", "line", "fault", "origin"),
    [
        ("rollout-9.9", "acked 1 1 9", "missing", (1, 1, 9)),
        ("rollout-9.9", "acked 1 2 0", "missing", (1, 2, 0)),
        ("buffer-9.9", "stored 1 1 1", "stored_twice", (1, 1, 1)),
        ("learner-9.9", "consumed 1 1 9", "invented", (1, 1, 9)),
        ("buffer-9.9", "evicted 2 1 0", "invented", (2, 1, 0)),
    ],
)
def test_each_fault_is_found(
    tmp_path: Path, name: str, line: str, fault: str, origin: tuple[int, int, int]
) -> None:
    sound(tmp_path)
    write(tmp_path, name, line)
    judgement = judge(tmp_path, least=1)
    assert judgement.verdict == "invalid"
    assert getattr(judgement, fault) == {origin}
    assert str(origin) in str(judgement)


def test_one_life_trains_on_a_segment_once_but_the_next_may_repeat_it(tmp_path: Path) -> None:
    sound(tmp_path)
    write(tmp_path, "learner-0.4", "consumed 1 1 1")
    assert judge(tmp_path, least=1).verdict == "valid"
    write(tmp_path, "learner-0.4", "consumed 1 1 1", "consumed 1 1 1")
    assert judge(tmp_path, least=1).consumed_twice == {(1, 1, 1)}


def test_what_a_killed_buffer_stored_is_recovered_not_stored_twice(tmp_path: Path) -> None:
    sound(tmp_path)
    write(tmp_path, "rollout-9.9", "acked 1 1 3")
    write(tmp_path, "buffer-0.9", "recovered 1 1 3", "recovered 1 1 2")
    assert judge(tmp_path, least=1).verdict == "valid"


def test_a_broken_line_is_a_fault(tmp_path: Path) -> None:
    sound(tmp_path)
    write(tmp_path, "buffer-9.9", "stored 1 1")
    assert judge(tmp_path, least=1).verdict == "invalid"


def test_it_reads_what_the_processes_write(tmp_path: Path) -> None:
    trace = Trace(tmp_path, "buffer-0")
    trace.event("stored", 2**64 - 1, 5, 0)
    Trace(None, "silent").event("stored", 1, 1, 1)
    Trace(tmp_path, "rollout-0").event("acked", 2**64 - 1, 5, 0)
    judgement = judge(tmp_path, least=1)
    assert (judgement.verdict, judgement.operations) == ("valid", 1)


def test_what_was_stored_and_never_came_out_has_vanished(tmp_path: Path) -> None:
    write(tmp_path, "buffer-0.2", *(f"stored 1 1 {seq}" for seq in range(6)), "evicted 1 1 1")
    write(tmp_path, "learner-0.3", "consumed 1 1 0", "consumed 1 1 3")
    assert vanished(tmp_path, held=2) == [(1, 1, 2)]
    assert vanished(tmp_path, held=4) == []
