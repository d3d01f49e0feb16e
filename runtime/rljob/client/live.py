"""A job on a cluster as the live view shows it. Pure: from a status to what is drawn."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rljob.client.job import ClusterJob, JobEvent, one_line, parse_time
from rljob.show.view.figures import span_text
from rljob.show.view.lines import ending, hints
from rljob.show.view.panel import TextLine
from rljob.spec.status import RLJobStatus


def record(status: RLJobStatus) -> dict[str, Any]:
    """The status under the names that `metrics.jsonl` has for the same things."""
    rollout = next((role for role in status.role_statuses if role.name == "rollout"), None)
    found: dict[str, Any] = {"rolloutsReady": rollout.ready_replicas if rollout else 0}
    if status.progress is not None:
        found |= status.progress.model_dump(by_alias=True)
    if status.policy is not None:
        lag = status.policy.lag
        found |= {"policyVersion": status.policy.version}
        found |= {"lagP50": lag.p50, "lagP95": lag.p95, "lagBound": lag.bound}
    if status.buffer is not None:
        found |= {
            "bufferFill": status.buffer.fill,
            "rolloutsWaiting": status.buffer.rollouts_waiting,
            "learnerWaiting": status.buffer.learner_waiting,
        }
    if (saved := status.last_checkpoint) is not None:
        found["checkpoint"] = {
            "policyVersion": saved.policy_version,
            "time": parse_time(saved.time).timestamp(),
        }
    return found


def roles(status: RLJobStatus) -> dict[str, str]:
    """State of each role: `ready`, or why it is not."""
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
    """What happened, and how long after the job was made."""
    age = span_text(max(0.0, (event.time - since).total_seconds()))
    return [(f"  {age:>7}  ", "dim"), (event.message, "warning" if event.warning else "")]


def ending_lines(job: ClusterJob, flags: str) -> list[TextLine]:
    """How the job ended, and what can be done next.

    Args:
        flags: that name the cluster and namespace in commands.
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
            (f"rljob eval {job.name} --episodes 20", "play it"),
        ]
    if end.type == "Failed":
        role = status.last_failure.role if status.last_failure is not None else "learner"
        commands.insert(0, (f"rljob logs {job.name} --role {role}{flags}", "what it said last"))
    return lines + hints(commands)
