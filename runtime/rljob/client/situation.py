"""The situation of a job on a cluster, from its status and the state pages of its pods."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import get_args

from rljob.client.errors import ClusterError, Forbidden
from rljob.client.job import ClusterJob, JobPod, parse_time
from rljob.client.jobs import Jobs
from rljob.diagnosis import probes
from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.situation import OVER, RoleCount, Situation, stall_of
from rljob.diagnosis.stall import STALL_REASONS, Stall
from rljob.errors import RunError
from rljob.kube import names
from rljob.spec import RLJobSpec
from rljob.spec.roles import RoleName
from rljob.spec.stall import StallSpec
from rljob.spec.status import RLJobStatus
from rljob.telemetry.asking import states_and_metrics

SILENT_SECONDS = 20.0
"""Seconds without progress before a diagnosis; the operator updates the status every few seconds."""
PAGE_SECONDS = 5.0
LARGEST_BYTES = 4 * 1024 * 1024


def situation(jobs: Jobs, job: ClusterJob, now: datetime) -> Situation:
    """Situation of a job. Without the right to query pods, only the status is used."""
    status = job.status
    processes, unreached = _processes(jobs, job) if job.phase not in OVER else ([], "")
    silent = _silent(job, now)
    reason, message = job.why
    spec = _spec(job)
    timeout = (spec.stall if spec is not None else StallSpec()).timeout.seconds
    stall = stall_of(processes, silent, SILENT_SECONDS, timeout, spec)
    if stall is None:
        stall = next((Stall(each, message) for each in STALL_REASONS if each == reason), None)
    saved = status.last_checkpoint
    lag = status.policy.lag if status.policy is not None else None
    return Situation(
        name=job.name,
        place=job.namespace,
        local=False,
        phase=job.phase,
        spec=spec,
        reason=reason,
        message=message,
        blocked_seconds=_blocked_seconds(job, now) if reason and job.end is None else None,
        managed_by=_managed_by(job),
        unseen=status.observed_generation != job.raw["metadata"].get("generation"),
        stall=stall,
        silent_seconds=silent,
        roles=tuple(_roles(status)),
        processes=processes,
        progress=status.progress,
        lag=(lag.p50, lag.p95, lag.bound) if lag is not None else None,
        fill=status.buffer.fill if status.buffer is not None else None,
        checkpoint=saved,
        checkpoint_age=(now - parse_time(saved.time)).total_seconds() if saved else None,
        last_failure=status.last_failure,
        unreached=unreached,
        applications=status.applications,
    )


def _spec(job: ClusterJob) -> RLJobSpec | None:
    try:
        return job.job().spec
    except RunError:
        return None


def _managed_by(job: ClusterJob) -> str:
    found = str(job.raw["spec"].get("managedBy") or "")
    return "" if found == names.OURS else found


def _blocked_seconds(job: ClusterJob, now: datetime) -> float | None:
    progressing = job.condition("Progressing")
    if progressing is None:
        return None
    return max(0.0, (now - parse_time(progressing.last_transition_time)).total_seconds())


def _roles(status: RLJobStatus) -> Iterator[RoleCount]:
    for role in status.role_statuses:
        yield RoleCount(
            role.name,
            role.replicas,
            role.ready_replicas,
            role.restarts,
            role.reason or "",
            role.message or "",
        )


def _silent(job: ClusterJob, now: datetime) -> float | None:
    ledger = job.status.ledger
    if job.phase != "Training" or ledger is None or ledger.advanced is None:
        return None
    return max(0.0, (now - parse_time(ledger.advanced)).total_seconds())


def _processes(jobs: Jobs, job: ClusterJob) -> tuple[list[RoleProbe], str]:
    """Probes of the pods, and the error if the pods cannot be queried."""
    try:
        pods = [pod for role in get_args(RoleName) for pod in jobs.pods(job, role)]
    except ClusterError as error:
        return [], str(error)
    running = [pod for pod in pods if pod.state == "running" and not pod.deleting]
    try:
        for pod in running[:1]:
            _page(jobs, pod, "state")
    except Forbidden as error:
        return [], str(error)
    except ClusterError:
        pass  # This pod does not answer; others may.
    answers = states_and_metrics([partial(_fetch, jobs, pod) for pod in running])
    found = [
        probes.read(_role(pod), pod.name, pages)
        for pod, pages in zip(running, answers, strict=True)
    ]
    return found, ""


def _role(pod: JobPod) -> RoleName:
    role: RoleName = pod.role  # type: ignore[assignment]
    return role


def _fetch(jobs: Jobs, pod: JobPod, page: str) -> bytes | None:
    try:
        return _page(jobs, pod, page)
    except ClusterError:
        return None


def _page(jobs: Jobs, pod: JobPod, page: str) -> bytes:
    port = names.LOOPBACK_PORT
    with jobs.api.page(jobs.namespace, pod.name, port, f"/{page}", PAGE_SECONDS) as chunks:
        body = b""
        for chunk in chunks:
            body += chunk
            if len(body) > LARGEST_BYTES:
                break
        return body
