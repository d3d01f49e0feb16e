"""Table of RLJobs with the columns of `kubectl get rlj`. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from rljob.client.job import ClusterJob
from rljob.show.view.figures import score, share_text

HEAD = (
    *("NAME", "PHASE", "ROLLOUTS", "APPS", "LEARNER", "STEP", "RETURN", "STEPS/S", "LAG"),
    *("RESTARTS", "AGE"),
)
WIDE = ("BEST", "BUFFER", "CHECKPOINT", "REASON")
NAMESPACE = "NAMESPACE"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def head(everywhere: bool = False, wide: bool = False) -> list[str]:
    return [*([NAMESPACE] if everywhere else []), *HEAD, *(WIDE if wide else [])]


def row(job: ClusterJob, now: datetime, everywhere: bool = False, wide: bool = False) -> list[str]:
    """Row of one job; unknown values are `-`."""
    status = job.status
    progress, policy, saved = status.progress, status.policy, status.last_checkpoint
    cells: list[object] = [
        job.name,
        job.phase,
        status.rollout.ready if status.rollout is not None else "",
        status.applications.connected if status.applications is not None else "",
        status.learner.state if status.learner is not None else "",
        progress.steps if progress is not None else "",
        _return(progress.mean_return if progress is not None else None),
        progress.steps_per_second if progress is not None else "",
        policy.lag.p95 if policy is not None else "",
        status.restarts,
        age(now - job.created),
    ]
    if wide:
        ready = job.condition("Ready")
        cells += [
            _return(progress.best_return if progress is not None else None),
            share_text(status.buffer.fill).strip() if status.buffer is not None else "",
            saved.step if saved is not None else "",
            ready.reason if ready is not None else "",
        ]
    texts = [str(cell) or "-" for cell in cells]
    return [job.namespace, *texts] if everywhere else texts


def _return(value: float | None) -> str:
    return score(value) if value is not None else ""


def age(span: timedelta) -> str:
    """Time span in the format of kubectl: at most two units."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    for below, unit, name, rest, rest_name in (
        (10 * _MINUTE, _MINUTE, "m", 1, "s"),
        (3 * _HOUR, _MINUTE, "m", 0, ""),
        (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
        (2 * _DAY, _HOUR, "h", 0, ""),
        (8 * _DAY, _DAY, "d", _HOUR, "h"),
    ):
        if seconds < below:
            left = seconds % unit // rest if rest else 0
            return f"{seconds // unit}{name}" + (f"{left}{rest_name}" if left else "")
    return f"{seconds // _DAY}d"
