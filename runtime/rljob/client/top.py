"""Table of the training rates of a cluster's jobs, fastest first. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rljob.client.job import ClusterJob
from rljob.client.live import record
from rljob.client.table import NAMESPACE, age
from rljob.show.view.columns import columns
from rljob.show.view.figures import ReturnCurve, count, reached, score, share_text
from rljob.show.view.panel import TextLine

HEAD = (
    *(
        "NAME",
        "PHASE",
        "STEPS/S",
        "UPDATES/S",
        "ROLLOUTS",
        "ROLLOUTS WAIT",
        "LEARNER WAITS",
        "BUFFER",
    ),
    *("LAG", "RETURN", "REACHED", "AGE"),
)
_OVER = ("Complete", "Failed")


def lines(jobs: Iterable[ClusterJob], now: datetime, everywhere: bool = False) -> list[TextLine]:
    """Table of the jobs that have not ended, and a summary line."""
    alive = sorted((job for job in jobs if job.phase not in _OVER), key=_order)
    head = [*([NAMESPACE] if everywhere else []), *HEAD]
    rows = [head, *(_row(job, now, everywhere) for job in alive)]
    texts, _ = columns(rows)
    styles = ["name", *("warning" if _is_held_up(job) else "" for job in alive)]
    total = sum(_rate(job) for job in alive)
    number = f"{len(alive)} job{'' if len(alive) == 1 else 's'}"
    summary: TextLine = [(f"{number}, {count(total)} steps/s", "dim")]
    return [*([(text, style)] for text, style in zip(texts, styles, strict=True)), summary]


def _row(job: ClusterJob, now: datetime, everywhere: bool) -> list[str]:
    status = job.status
    progress, buffer, policy = status.progress, status.buffer, status.policy
    cells = [
        job.name,
        _phase(job),
        count(progress.steps_per_second) if progress else "",
        f"{progress.updates_per_second:,.1f}" if progress else "",
        status.rollout.ready if status.rollout else "",
        share_text(buffer.rollouts_waiting).strip() if buffer else "",
        share_text(buffer.learner_waiting).strip() if buffer else "",
        share_text(buffer.fill).strip() if buffer else "",
        str(policy.lag.p95) if policy else "",
        score(progress.mean_return) if progress and progress.mean_return is not None else "",
        share_text(_reached(job)).strip() if progress else "",
        age(now - job.created),
    ]
    texts = [cell or "-" for cell in cells]
    return [job.namespace, *texts] if everywhere else texts


def _phase(job: ClusterJob) -> str:
    """The phase; for a blocked job, the reason."""
    progressing = job.condition("Progressing")
    return progressing.reason if _is_held_up(job) and progressing else job.phase


def _is_held_up(job: ClusterJob) -> bool:
    found = job.condition("Progressing")
    return found is not None and found.status == "False" and found.reason != job.phase


def _reached(job: ClusterJob) -> float:
    history = ReturnCurve()
    values = record(job.status)
    history.add(values)
    return reached(job.job().spec.stop, values, history.first).share


def _rate(job: ClusterJob) -> int:
    progress = job.status.progress
    return progress.steps_per_second if progress is not None and job.phase == "Training" else 0


def _order(job: ClusterJob) -> tuple[int, str, str]:
    return -_rate(job), job.namespace, job.name
