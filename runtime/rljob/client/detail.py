"""Details of one job as lines, from its status and Events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rljob.client.job import ClusterJob, JobEvent, one_line, parse_time
from rljob.client.live import record
from rljob.client.table import age
from rljob.show.view.columns import columns
from rljob.show.view.figures import count, score
from rljob.show.view.panel import State, TextLine, header, panel
from rljob.spec.status import RLJobStatus

NEWEST_EVENTS = 10
_BAD = ("Failed", "Degraded")


def detail(
    job: ClusterJob, events: Sequence[JobEvent], now: datetime, width: int
) -> list[TextLine]:
    """Details of the job as lines.

    Args:
        events: oldest first.
        now: current time, with a time zone.
        width: columns of the terminal.
    """
    status = job.status
    state = State(job.job(), f"namespace {job.namespace}", now=now.timestamp())
    state.advance(record(status), status.restarts, {})
    state.ended = job.end.reason if job.end is not None else ""
    lines = [*header(state.job, state.place, width), _phase(job, now)]
    if status.progress is not None:
        lines += panel(state, width)
    lines += _roles(status)
    lines += _conditions(status, now)
    lines += _checkpoint(status, now)
    lines += _evaluation(status)
    lines += _failure(status, now)
    lines += _provenance(status)
    return lines + _events(events, now)


def _phase(job: ClusterJob, now: datetime) -> TextLine:
    status = job.status
    since = f"created {age(now - job.created)} ago"
    if status.completion_time is not None:
        since += f", ended {_ago(status.completion_time, now)}"
    elif status.start_time is not None:
        since += f", started {_ago(status.start_time, now)}"
    generation = job.raw["metadata"].get("generation")
    unseen = status.observed_generation != generation
    late = "; the operator has not yet processed the latest change" if unseen else ""
    style = "bad" if job.phase in _BAD else "name"
    return [(job.phase, style), (f" · {since}{late}", "")]


def _section(
    title: str, rows: Sequence[Sequence[str]], styles: Sequence[str] = ()
) -> list[TextLine]:
    """A title and indented rows; empty without rows."""
    if not rows:
        return []
    texts, _ = columns([[one_line(cell) for cell in row] for row in rows])
    styles = styles or [""] * len(rows)
    shown: list[TextLine] = [[("  " + t, style)] for t, style in zip(texts, styles, strict=True)]
    return [[], [(title, "name")], *shown]


def _roles(status: RLJobStatus) -> list[TextLine]:
    rows, styles = [], []
    for role in status.role_statuses:
        why = ": ".join(filter(None, [role.reason, role.message]))
        restarts = f"{role.restarts} restart{'' if role.restarts == 1 else 's'}"
        rows.append([role.name, f"{role.ready_replicas}/{role.replicas} ready", restarts, why])
        styles.append("warning" if why else "")
    return _section("Roles", rows, styles)


def _conditions(status: RLJobStatus, now: datetime) -> list[TextLine]:
    rows = [
        [one.type, one.status, one.reason, _ago(one.last_transition_time, now), one.message]
        for one in status.conditions
    ]
    bad = [one.type in _BAD and one.status == "True" for one in status.conditions]
    return _section("Conditions", rows, ["warning" if each else "" for each in bad])


def _checkpoint(status: RLJobStatus, now: datetime) -> list[TextLine]:
    saved = status.last_checkpoint
    if saved is None:
        return []
    rows = [
        ["policy version", f"{saved.policy_version}, at step {count(saved.step)}"],
        ["written", _ago(saved.time, now)],
        ["verified", "yes" if saved.verified else "no"],
        ["path", saved.path],
        ["sha256", saved.sha256],
    ]
    return _section("Checkpoint", rows)


def _evaluation(status: RLJobStatus) -> list[TextLine]:
    played = status.evaluation
    if played is None:
        return []
    rows = [
        ["policy version", str(played.policy_version)],
        ["mean return", f"{score(played.mean)} ± {score(played.std, played.mean)}"],
        ["episodes", count(played.episodes)],
    ]
    return _section("Newest evaluation", rows)


def _failure(status: RLJobStatus, now: datetime) -> list[TextLine]:
    failure = status.last_failure
    if failure is None:
        return []
    code = f", exit code {failure.exit_code}" if failure.exit_code is not None else ""
    rows = [
        ["what", f"{failure.role} ({failure.pod}), {_ago(failure.time, now)}"],
        ["why", f"{failure.reason}{code}"],
    ]
    if failure.message:
        rows.append(["message", failure.message])
    return _section("Last failure", rows)


def _provenance(status: RLJobStatus) -> list[TextLine]:
    known = status.provenance
    if known is None:
        return []
    rows = [
        ["rljob", known.rljob_version or ""],
        ["seed", "" if known.seed is None else str(known.seed)],
        ["spec", known.spec_hash or ""],
        *([f"image of {role}", image] for role, image in (known.images or {}).items()),
    ]
    return _section("Provenance", [row for row in rows if row[1]])


def _events(events: Sequence[JobEvent], now: datetime) -> list[TextLine]:
    newest = events[-NEWEST_EVENTS:]
    rows = [
        [
            f"{age(now - one.time)} ago" + (f" (x{one.count})" if one.count > 1 else ""),
            one.reason,
            one.message,
        ]
        for one in newest
    ]
    return _section("Events", rows, ["warning" if one.warning else "" for one in newest])


def _ago(time: str, now: datetime) -> str:
    return f"{age(now - parse_time(time))} ago"
