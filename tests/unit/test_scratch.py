"""Temporary folders of runs: those that nobody holds go."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from rljob.local import scratch


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "MAX_SOCKET_PATH_BYTES", 1000)
    return tmp_path


def test_a_folder_goes_when_no_process_holds_it(place: Path) -> None:
    folder, lock = scratch.make()
    (folder / "learner.secret").write_text("key")
    later = time.time() + 100
    scratch.remove_abandoned(place, later)
    assert folder.exists()
    inherited = os.dup(lock)
    os.close(lock)
    scratch.remove_abandoned(place, later)
    assert folder.exists()

    os.close(inherited)
    scratch.remove_abandoned(place, time.time())
    # It may belong to a run that starts just now.
    assert folder.exists()
    scratch.remove_abandoned(place, later)

    assert not folder.exists()


def test_what_is_not_a_run_stays(place: Path) -> None:
    for name in ("rljob-check-1", "other-1"):
        (place / name).mkdir()
    (place / "rljob-link").symlink_to(place / "other-1")
    (place / "rljob-file").write_text("")
    scratch.remove_abandoned(place, time.time() + 100)
    assert len(list(place.iterdir())) == 4


def test_only_this_user_can_enter_it() -> None:
    folder, lock = scratch.make()
    os.close(lock)
    assert folder.stat().st_mode & 0o077 == 0
