"""Converts the status of a job on a cluster for the live view. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rljob.client.job import ClusterJob, JobEvent, one_line, parse_time
from rljob.run_folder.record import Record, SavedCheckpoint
from rljob.show.view.figures import span_text
from rljob.show.view.lines import ending, hints
from rljob.show.view.panel import TextLine
from rljob.spec.status import RLJobStatus


def record(status: RLJobStatus) -> Record:
    """The status as a record of `metrics.jsonl`."""
    rollout = next((role for role in status.role_statuses if role.name == "rollout"), None)
    progress, policy, buffer = status.progress, status.policy, status.buffer
    saved = status.last_checkpoint
    found = Record(rollouts_ready=rollout.ready_replicas if rollout else 0)
    if progress is not None:
        found = replace(found, **dict(progress))
    if policy is not None:
        lag = policy.lag
        found = replace(
            found,
            policy_version=policy.version,
            lag_p50=lag.p50,
            lag_p95=lag.p95,
            lag_bound=lag.bound,
        )
    if buffer is not None:
        found = replace(
            found,
            buffer_fill=buffer.fill,
            rollouts_waiting=buffer.rollouts_waiting,
            learner_waiting=buffer.learner_waiting,
        )
    if status.applications is not None:
        found = replace(found, applications_connected=status.applications.connected)
    if saved is not None:
        time = parse_time(saved.time).timestamp()
        found = replace(found, checkpoint=SavedCheckpoint(saved.policy_version, time=time))
    return found


def roles(status: RLJobStatus) -> dict[str, str]:
    """State of each role: `ready` or the reason why it is not."""
    found: dict[str, str] = {}
    for role in status.role_statuses:
        if role.ready_replicas >= role.replicas or not role.reason:
            found[role.name] = "ready"
        else:
            found[role.name] = f"{role.ready_replicas}/{role.replicas} ready ({role.reason})"
            if role.message:
                found[role.name] += f": {one_line(role.message)}"
    return found


def event_line(event: JobEvent, since: datetime) -> TextLine:
    """An Event and its time since the job's creation."""
    age = span_text(max(0.0, (event.time - since).total_seconds()))
    return [(f"  {age:>7}  ", "dim"), (event.message, "warning" if event.warning else "")]


def ending_lines(job: ClusterJob, flags: str) -> list[TextLine]:
    """The end of the job and commands to run next.

    Args:
        flags: cluster options for the commands.
    """
    end, status = job.end, job.status
    assert end is not None
    progress = status.progress
    lines = [
        ending(
            end.type,
            end.reason,
            progress.steps if progress else 0,
            progress.seconds if progress else 0.0,
            progress.mean_return if progress else None,
            one_line(end.message),
        )
    ]
    commands = []
    if status.last_checkpoint is not None:
        commands += [
            (f"rljob get-policy {job.name} --out {job.name}{flags}", "fetch the policy"),
            (f"rljob eval {job.name} --episodes 20", "play the policy"),
        ]
    if end.type == "Failed":
        role = status.last_failure.role if status.last_failure is not None else "learner"
        commands.insert(0, (f"rljob logs {job.name} --role {role}{flags}", "show the log"))
    return lines + hints(commands)
