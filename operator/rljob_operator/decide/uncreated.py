"""Why a role has fewer pods than wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from rljob.kube.kinds import Manifest
from rljob.spec.roles import RoleName
from rljob_operator.decide import times
from rljob_operator.decide.job_resources import JobResources, PodState, at, condition, uid
from rljob_operator.decide.status import endings
from rljob_operator.decide.status.failures import failure_of
from rljob_operator.decide.unstarted import SILENCE_SECONDS, about_object
from rljob_operator.decide.waiting import Due, Waiting

SUSPENDED_SECONDS = 10.0
"""Seconds after which a Job is told that another program suspended; a queue may admit it at once."""
_FORBIDDEN = re.compile(r"^.*? is forbidden: ", re.DOTALL)
_AT_ONCE = datetime.fromisoformat("1970-01-01T00:00:00Z")


def uncreated(world: JobResources, role: RoleName, warnings: tuple[Manifest, ...]) -> Iterator[Due]:
    """Why there are fewer pods than wanted, the surest first."""
    child = world.workload(role)
    if child is not None:
        yield from _not_created(child, world, role, warnings)
        yield from _suspended(child)
    yield from _left(world, role)
    if role == "learner":
        yield from _ended(world)
    if child is not None and not world.of_role(role):
        name, since = f"{child['kind']} {child['metadata']['name']}", _created(child)
        text = f"{name} has no pods, and nothing says why"
        yield Due(_later(since, SILENCE_SECONDS), Waiting("PodsMissing", text, since))


def refusal(message: str) -> Waiting:
    """The problem of a child that the API server refused."""
    return Waiting(_refusal_reason(message), message)


def _not_created(
    child: Manifest, world: JobResources, role: RoleName, warnings: tuple[Manifest, ...]
) -> Iterator[Due]:
    """What the controller of the workload says."""
    failed = condition(child, "ReplicaFailure")
    if failed is not None:
        since = str(failed.get("lastTransitionTime") or "")
        yield Due(_AT_ONCE, _refused_pod(str(failed.get("message") or ""), since))
    elif not world.alive(role):
        for warning in about_object(warnings, uid(child), ("FailedCreate",)):
            yield Due(_AT_ONCE, _refused_pod(str(warning.get("message") or ""), _created(child)))


def _suspended(child: Manifest) -> Iterator[Due]:
    """A Job that somebody else suspended: rljob deletes the Job of a suspended learner."""
    if child["kind"] != "Job" or at(child, "spec", "suspend") is not True:
        return
    found = condition(child, "Suspended")
    since = str((found or {}).get("lastTransitionTime") or _created(child))
    queue = at(child, "metadata", "labels", "kueue.x-k8s.io/queue-name")
    name = child["metadata"]["name"]
    waiting = Waiting("JobSuspended", f"Job {name} was suspended by another program", since)
    if queue:
        waiting = Waiting("JobQueued", f"Job {name} waits in the queue {queue} of Kueue", since)
    yield Due(_later(since, SUSPENDED_SECONDS), waiting)


def _left(world: JobResources, role: RoleName) -> Iterator[Due]:
    """Pods that do not terminate and keep others from starting."""
    pods = world.learners_left if role == "learner" else world.of_role(role)
    for pod in pods:
        if pod.gone_by is not None and pod.exists and not pod.ended:
            node = f"; node {pod.node} may be lost" if pod.node else ""
            text = f"{pod.name} did not terminate by {pod.gone_by}{node}"
            yield Due(times.parse(pod.gone_by), Waiting("Terminating", text))


def _ended(world: JobResources) -> Iterator[Due]:
    """The failure of a learner that waits for its next attempt."""
    pods = world.of_role("learner")
    if pods and pods[-1].ended:
        failure = failure_of("learner", pods[-1])
        if failure is not None:
            text = f"waiting to be restarted; {_last_end(pods[-1])}"
            yield Due(_AT_ONCE, Waiting(failure.reason, text))


def _last_end(pod: PodState) -> str:
    failed = [end for end in pod.ends if end.exit_code != 0]
    return f"last failure: {endings.sentence(failed[-1])}" if failed else "the last pod was lost"


def _refused_pod(message: str, since: str) -> Waiting:
    reason = _refusal_reason(message)
    if reason == "InvalidTemplate" and "is invalid" not in message:
        reason = "FailedCreate"
    return Waiting(reason, endings.last_line(_FORBIDDEN.sub("", message)), since)


def _refusal_reason(message: str) -> str:
    if "exceeded quota" in message:
        return "QuotaExceeded"
    if "is invalid" not in message and "forbidden" in message:
        return "Forbidden"
    return "InvalidTemplate"


def _created(child: Manifest) -> str:
    return str(at(child, "metadata", "creationTimestamp") or "")


def _later(since: str, seconds: float) -> datetime:
    return times.parse(since) + timedelta(seconds=seconds)
