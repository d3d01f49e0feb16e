"""The situation of a run on this machine, from its folder and the state pages of its processes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from rljob import spec
from rljob.diagnosis import hook_failures, probes, set_aside
from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.situation import RoleCount, Situation, stall_of
from rljob.errors import InputError
from rljob.local.stalled import fetch
from rljob.run_folder import json_files, rollouts, token
from rljob.run_folder.applications import applications_status
from rljob.run_folder.json_files import read_lines
from rljob.run_folder.names import EVENTS, JOB, METRICS, RESULT, SET_ASIDE, TARGETS, TOKEN
from rljob.run_folder.record import Record, SavedCheckpoint, read_records
from rljob.spec import RLJob
from rljob.spec.status import CheckpointStatus, ProgressStatus
from rljob.telemetry.asking import Fetch, Pages, states, states_and_metrics

SILENT_SECONDS = 10.0
"""Seconds without progress before a diagnosis; the learner records progress every few seconds."""


def situation(folder: Path, now: float) -> Situation:
    """The situation of a run.

    Args:
        now: Unix time in seconds.

    Raises:
        InputError: the folder is not a run's folder.
    """
    if not (folder / JOB).is_file():
        raise InputError(f"{folder} is not a run's folder: it has no {JOB}")
    job = spec.load(folder / JOB)
    records = read_records(folder / METRICS)
    record = records[-1] if records else Record()
    alive = is_worked_on(folder)
    processes, unreached = _ask(folder) if alive else ([], "")
    silent = now - _advanced(records) if records and alive else None
    timeout = job.spec.stall.timeout.seconds
    phase, reason, message = phase_of(folder, alive, bool(records))
    saved = record.checkpoint
    return Situation(
        name=job.metadata.name,
        place=str(folder),
        local=True,
        phase=phase,
        spec=job.spec,
        reason=reason,
        message=message,
        stall=stall_of(processes, silent, SILENT_SECONDS, timeout, job.spec),
        silent_seconds=silent,
        roles=tuple(_roles(job, processes, folder, record, now)) if alive else (),
        processes=processes,
        progress=_progress(record) if records else None,
        lag=(record.lag_p50 or 0, record.lag_p95 or 0, record.lag_bound) if records else None,
        fill=record.buffer_fill if records else None,
        checkpoint=_checkpoint(saved) if saved else None,
        checkpoint_age=now - saved.time if saved else None,
        unreached=unreached,
        applications=applications_status(record) if job.spec.rollout.applications else None,
    )


def is_worked_on(folder: Path) -> bool:
    """Whether a run holds the folder's lock."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def phase_of(folder: Path, alive: bool, begun: bool) -> tuple[str, str, str]:
    """Phase, reason and message of a run.

    Args:
        alive: whether a process works on it.
        begun: whether it has records.
    """
    if alive:
        return ("Training" if begun else "Starting"), "", ""
    result = json_files.read(folder / RESULT)
    if result is None:
        return "Stopped", "", ""
    message = str(result.get("message") or "")
    last = str(result.get("lastLines") or "").splitlines()
    return (
        result["outcome"],
        result["reason"],
        "; ".join([message, *last[-1:]]) if last else message,
    )


def _advanced(records: Sequence[Record]) -> float:
    """Time of the last progress in steps or updates, Unix time."""
    newest = records[-1]
    found = newest.time
    for record in reversed(records):
        if (record.steps, record.updates) != (newest.steps, newest.updates):
            break
        found = record.time
    return found


def _ask(folder: Path) -> tuple[list[RoleProbe], str]:
    """Probes of the processes listed in `targets.json`, and the error if they cannot be asked."""
    return _probes(folder, states_and_metrics)


def ask_states(folder: Path) -> list[RoleProbe]:
    """The states of the processes listed in `targets.json`, at once."""
    return _probes(folder, states)[0]


def _probes(
    folder: Path, ask: Callable[[Sequence[Fetch]], list[Pages]]
) -> tuple[list[RoleProbe], str]:
    try:
        entries = json.loads((folder / TARGETS).read_text())
        given = token.read(folder / TOKEN)
    except InputError as error:
        return [], str(error)
    except (OSError, ValueError):
        return [], ""
    answers = ask([partial(fetch, entry["targets"][0], given) for entry in entries])
    found = [
        probes.read(entry["labels"]["role"], entry["labels"]["pod"], pages)
        for entry, pages in zip(entries, answers, strict=True)
    ]
    return found, ""


def _roles(
    job: RLJob, processes: Sequence[RoleProbe], folder: Path, record: Record, now: float
) -> Iterator[RoleCount]:
    restarts = restarts_of(folder)
    for role, count in rollouts.counts(job.spec, folder).items():
        ready = [one for one in processes if one.role == role and _ready(one)]
        reason = message = ""
        recent = now - record.set_aside_last < set_aside.TOLD_SECONDS
        if role == "buffer" and record.set_aside and recent:
            reason = set_aside.REASON
            message = set_aside.words(record.set_aside, str(folder / SET_ASIDE))
        failed = record.hook_failures
        if role == "learner" and failed and now - failed.time < hook_failures.TOLD_SECONDS:
            reason = hook_failures.REASON
            message = hook_failures.words(failed.count, failed.message)
        yield RoleCount(role, count, len(ready), restarts.get(role, 0), reason, message)


def _ready(process: RoleProbe) -> bool:
    return process.state is not None and not process.state.waits_for


def restarts_of(folder: Path) -> dict[str, int]:
    """Deaths of each role's processes so far."""
    found: dict[str, int] = {}
    for event in read_lines(folder / EVENTS):
        if event.get("event") == "died":
            role = str(event["role"]).rpartition("-")[0]
            found[role] = found.get(role, 0) + 1
    return found


def _progress(record: Record) -> ProgressStatus:
    return ProgressStatus(
        steps=record.steps,
        episodes=record.episodes,
        updates=record.updates,
        mean_return=record.mean_return,
        best_return=record.best_return,
        steps_per_second=round(record.steps_per_second or 0),
        updates_per_second=record.updates_per_second or 0.0,
        seconds=record.seconds,
    )


def _checkpoint(saved: SavedCheckpoint) -> CheckpointStatus:
    return CheckpointStatus(
        step=saved.step,
        policy_version=saved.policy_version,
        time="",
        path=saved.path,
        sha256=saved.sha256,
        verified=True,
    )
