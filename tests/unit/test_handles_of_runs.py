"""Handles of runs in folders as runs leave them; no process works on them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rljob
from rljob import spec
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.handles import run as runs
from rljob.handles.cluster import status_of
from rljob.handles.run import RunHandle
from rljob.local import background, situation
from rljob.local.prepare import Request, prepare, write_job
from rljob.local.roles import make_roles
from rljob.local.scaling import RolloutScaling
from rljob.local.supervisor import GRACE, Supervisor
from rljob.run_folder import rollouts
from rljob.run_folder.folder import RunFolder
from tests.unit.specs import application_job, job

APPLICATIONS: dict[str, Any] = application_job()["spec"]


def made(folder: Path, **sections: Any) -> RunHandle:
    folder.mkdir()
    write_job(spec.parse(job(**sections)), folder)
    handle = rljob.attach(folder)
    assert isinstance(handle, RunHandle)
    return handle


@contextmanager
def worked_on(folder: Path, pid: int | None = None) -> Iterator[None]:
    """As by a run."""
    locked = RunFolder.existing(folder, None)
    if pid is not None:
        value = {"pid": pid, "host": os.uname().nodename}
        (folder / "process.json").write_text(json.dumps(value))
    try:
        yield
    finally:
        locked.close()


def test_a_run_that_only_applications_feed_has_no_rollouts(tmp_path: Path) -> None:
    handle = made(tmp_path / "run", **APPLICATIONS)
    with worked_on(handle.folder):
        assert (handle.status.phase, handle.status.rollouts) == ("Starting", 0)
        with pytest.raises(rljob.InputError, match="has no rollouts: only applications feed it"):
            handle.scale(2)
    assert rollouts.asked(handle.folder) is None


def test_a_job_that_only_applications_feed_is_not_scaled() -> None:
    raw = job(**APPLICATIONS)
    raw["metadata"] = {"name": "x", "namespace": "rl", "uid": "1"}
    found = ClusterJob.of(raw)
    jobs = Jobs(SimpleNamespace(get=lambda *_: raw), "rl")  # type: ignore[arg-type]
    assert status_of(found).rollouts == 0
    with pytest.raises(rljob.InputError, match="x has no rollouts: only applications feed it"):
        jobs.scale("x", 2)


def test_what_was_asked_for_while_a_run_worked_is_what_it_wants(tmp_path: Path) -> None:
    handle = made(tmp_path / "run")
    with worked_on(handle.folder):
        handle.scale(3)
        assert handle.status.rollouts == 3
        (rollout,) = [
            each
            for each in situation.situation(handle.folder, time.time()).roles
            if each.role == "rollout"
        ]
    assert rollout.wanted == 3
    # A number in the job that is resumed is newer; without one, it stays.
    for overrides, left in (((), 3), (("rollout.replicas=4",), None)):
        _, folder = prepare(
            Request(None, overrides=overrides, directory=handle.folder, resume=True)
        )
        folder.close()
        assert rollouts.asked(handle.folder) == left


def test_a_rollout_that_is_too_many_and_hangs_is_killed(tmp_path: Path) -> None:
    parsed = spec.parse(job(rollout={"replicas": 2})).spec
    told: list[tuple[str, int]] = []
    one = object.__new__(Supervisor)
    one.folder, one.roles, one.clock = tmp_path, make_roles(parsed, tmp_path), lambda: 100.0
    one.view = SimpleNamespace(event=lambda _: None)  # type: ignore[assignment]
    one._scaling = RolloutScaling(parsed, tmp_path)
    one.spawner = SimpleNamespace(  # type: ignore[assignment]
        running={"rollout-1"}, signal=lambda *call: told.append(call)
    )
    rollouts.ask(tmp_path, 1)
    one._scale()
    one._kill_late(100.0)
    assert told == [("rollout-1", signal.SIGTERM)]
    for _ in range(2):
        one._kill_late(100.0 + GRACE)
    assert told[1:] == [("rollout-1", signal.SIGKILL)]


def test_a_look_at_a_folder_is_not_taken_for_a_run(tmp_path: Path) -> None:
    folder = made(tmp_path / "run").folder
    looking = os.open(folder, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, os.close, (looking,))
    timer.start()
    RunFolder.existing(folder, None).close()
    timer.join()


def test_a_run_that_has_just_begun_can_be_stopped_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names its process shortly after it has locked its folder."""
    handle, told = made(tmp_path / "run"), threading.Event()
    monkeypatch.setattr(os, "kill", lambda pid, number: told.set())
    stopping = threading.Thread(target=handle.stop)
    with worked_on(handle.folder):
        stopping.start()
        time.sleep(3 * runs.LOOK_EVERY)
        value = {"pid": 12345, "host": os.uname().nodename}
        (handle.folder / "process.json").write_text(json.dumps(value))
        assert told.wait(30)
    stopping.join(30)
    assert not stopping.is_alive()


def test_a_run_of_another_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, number: signal.Signals) -> None:
        raise PermissionError

    handle = made(tmp_path / "run")
    monkeypatch.setattr(os, "kill", kill)
    with (
        worked_on(handle.folder, 12345),
        pytest.raises(rljob.RunError, match="is another user's: process 12345"),
    ):
        handle.stop()


def test_a_deletion_that_was_broken_off_is_brought_to_its_end(tmp_path: Path) -> None:
    handle = made(tmp_path / "run")
    (handle.folder / "job.yaml").unlink()
    handle.delete()
    assert not handle.folder.exists()


def test_a_run_without_a_result_is_told(tmp_path: Path) -> None:
    handle = made(tmp_path / "run")
    with pytest.raises(rljob.RunError, match="has no result: the process that ran it was killed"):
        handle.result()


def test_a_process_that_dies_at_once_is_told_by_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_BOOT", "import os; os.close(0); os._exit(3)")
    large = "# " + 100_000 * "x"
    handle = rljob.start(job(code={"large.py": large}), dir=tmp_path / "run")
    assert handle.status.phase == "Failed"
    assert "ended (exit code 3)" in handle.status.message


@pytest.mark.parametrize(
    ("outcome", "later", "phase"),
    [
        ("Complete", True, "Complete"),
        ("Complete", False, "Failed"),
        # What the roles of a killed process write.
        ("Stopped", True, "Failed"),
    ],
)
def test_a_handle_sees_that_others_resumed_its_run(
    outcome: str, later: bool, phase: str, tmp_path: Path
) -> None:
    handle = made(tmp_path / "run")
    error: Callable[[], rljob.RunError] = lambda: rljob.RunError("ended (signal 9)")  # noqa: E731
    ended = time.time() + (-60 if later else 60)
    handle._run = SimpleNamespace(error=error, ended_at=ended)  # type: ignore[assignment]
    result = {"outcome": outcome, "reason": "StepsReached"}
    (handle.folder / "result.json").write_text(json.dumps(result))
    assert handle.status.phase == phase
