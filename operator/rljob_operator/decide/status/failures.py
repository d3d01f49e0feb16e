"""The last failure of a role and its cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from rljob.errors import INTERRUPTED
from rljob.spec.roles import ROLES, RoleName
from rljob.spec.status import Failure
from rljob_operator.decide import times
from rljob_operator.decide.job_resources import ContainerEnd, JobResources, PodState, at, condition
from rljob_operator.decide.status import endings


def last_failure(
    previous: Failure | None, world: JobResources, stalled: Failure | None = None
) -> Failure | None:
    """The newest known failure; a hanging process counts as a failure."""
    found = [] if stalled is None else [stalled]
    found += [failure for role in ROLES for failure in _failures(role, world.of_role(role))]
    if previous is not None:
        found.append(previous)
    # The previous failure wins a tie: the same failure seen again changes nothing.
    return max(found, key=lambda failure: (failure.time, failure is previous), default=None)


def cause(role: RoleName, pods: Sequence[PodState]) -> str:
    """Why a pod or container of a role was replaced, as far as known."""
    lost = [(_lost_at(pod), pod) for pod in pods if _lost_at(pod)]
    if not lost:
        return "its pod no longer exists"
    pod = max(lost, key=lambda entry: entry[0])[1]
    failure = failure_of(role, pod)
    if failure is None:
        return f"{pod.name} was deleted"
    return f"{pod.name}: {failure.reason}" + (f", {failure.message}" if failure.message else "")


def failure_of(role: RoleName, pod: PodState) -> Failure | None:
    """How this pod failed, if it did. A pod that was deleted, or ended on request, did not fail."""
    disrupted = condition(pod.manifest, "DisruptionTarget")
    if disrupted is not None:
        return Failure(
            role=role,
            pod=pod.name,
            reason=str(disrupted.get("reason") or "Disrupted"),
            message=endings.last_line(str(disrupted.get("message") or "")),
            time=str(disrupted.get("lastTransitionTime") or pod.created),
        )
    failed = [end for end in pod.ends if _failed(pod, end)]
    if failed:
        end = failed[-1]
        return Failure(
            role=role,
            pod=pod.name,
            reason=endings.reason(end, end.reason or "Error"),
            exit_code=end.exit_code,
            message=endings.words(end),
            time=end.finished or pod.created,
        )
    if pod.phase == "Failed" and at(pod.manifest, "status", "reason"):
        status = pod.manifest["status"]
        return Failure(
            role=role,
            pod=pod.name,
            reason=status["reason"],
            message=endings.last_line(str(status.get("message") or "")),
            time=str(status.get("startTime") or pod.created),
        )
    return None


def _failures(role: RoleName, pods: Sequence[PodState]) -> Iterator[Failure]:
    for pod in pods:
        failure = failure_of(role, pod)
        if failure is not None:
            yield failure


def _failed(pod: PodState, end: ContainerEnd) -> bool:
    if end.exit_code in (0, INTERRUPTED):
        return False
    asked = _asked_to_end(pod)
    return asked is None or not end.finished or end.finished < asked


def _asked_to_end(pod: PodState) -> str | None:
    """When its deletion was requested: the grace period before the deletion time."""
    if pod.gone_by is None:
        return None
    grace = at(pod.manifest, "metadata", "deletionGracePeriodSeconds") or 0
    return times.rfc3339(times.parse(pod.gone_by) - timedelta(seconds=grace))


def _lost_at(pod: PodState) -> str:
    """When the pod or a container in it was lost; empty for a healthy pod."""
    asked = _asked_to_end(pod) or ("" if pod.exists else pod.created)
    return max([asked, *(end.finished for end in pod.ends if not end.init or end.exit_code)])
