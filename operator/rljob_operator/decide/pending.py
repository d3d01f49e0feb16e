"""Why the pods of a role are not ready: one word and one sentence.

Parts that change each time (back-off times, names of refused pods) are left out: otherwise each
change would create an Event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.spec.roles import RoleName
from rljob_operator.decide import times
from rljob_operator.decide.job_resources import (
    ContainerEnd,
    JobResources,
    PodState,
    at,
    condition,
    ended_life,
    uid,
)
from rljob_operator.decide.status import endings
from rljob_operator.decide.status.failures import failure_of

_IMAGE = ("ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "RegistryUnavailable")
_CONTAINER = (
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
_MOUNT = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume")
_VOLUME = ("ProvisioningFailed", "FailedBinding")
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: *ErrImagePull)?:? *')
_FORBIDDEN = re.compile(r"^.*? is forbidden: ", re.DOTALL)
_WORST = (
    *_CONTAINER,
    "ImagePullBackOff",
    "InitContainerFailed",
    "CrashLoopBackOff",
    "VolumePending",
    "Unschedulable",
)


@dataclass(frozen=True)
class Waiting:
    """What a role waits for.

    Attributes:
        reason: one word, Kubernetes' own where it has one.
        message: a sentence.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Found:
    """Result of `explain`.

    Attributes:
        waiting: None if no problem is known.
        again: seconds until the result may change by time alone; None if it does not.
    """

    waiting: Waiting | None = None
    again: float | None = None


def refusal(message: str) -> Waiting:
    """The problem of a child that the API server refused."""
    return Waiting(_refusal_reason(message), message)


def explain(
    world: JobResources,
    warnings: tuple[Manifest, ...],
    role: RoleName,
    wanted: int,
    grace: float,
    now: datetime,
) -> Found:
    """Why fewer than `wanted` pods of a role are ready.

    Args:
        grace: grace period in seconds before a pod is reported.
    """
    if world.ready(role) >= wanted:
        return Found()
    waiting: list[Waiting] = []
    again: list[float] = []
    alive = world.alive(role)
    for pod in alive:
        if pod.ready:
            continue
        waiting += _broken(pod)
        left = grace - (now - times.parse(pod.created)).total_seconds()
        if left > 0:
            again.append(left)
        else:
            waiting += _slow(pod, world, warnings)
    if not waiting and len(alive) < wanted:
        waiting += _missing(world, warnings, role, now)
        again += _until_overdue(world, role, now)
    waiting.sort(key=_rank)
    return Found(waiting[0] if waiting else None, min(again, default=None))


def _rank(waiting: Waiting) -> int:
    return _WORST.index(waiting.reason) if waiting.reason in _WORST else len(_WORST)


def _broken(pod: PodState) -> Iterator[Waiting]:
    """Problems that do not resolve by themselves."""
    for status in pod.init_containers:
        yield from _unstartable(pod, status)
        yield from _failing_init(pod, status)
    for status in pod.containers:
        yield from _unstartable(pod, status)
        yield from _crashing(pod, status)


def _unstartable(pod: PodState, status: dict[str, Any]) -> Iterator[Waiting]:
    reason = at(status, "state", "waiting", "reason")
    message = str(at(status, "state", "waiting", "message") or "")
    if reason in _IMAGE:
        detail = _BACK_OFF.sub("", message)
        image = f"cannot pull image {status.get('image')}"
        yield Waiting("ImagePullBackOff", f"{image}: {detail}" if detail else image)
    elif reason in _CONTAINER:
        yield Waiting(str(reason), _about(pod, status, message))


def _failing_init(pod: PodState, status: dict[str, Any]) -> Iterator[Waiting]:
    end = _last_failed(pod, status)
    if end is not None and not status.get("ready"):
        yield Waiting(
            "InitContainerFailed", f"init container {end.container}: {endings.sentence(end)}"
        )


def _crashing(pod: PodState, status: dict[str, Any]) -> Iterator[Waiting]:
    """A container that ended repeatedly; a single end is reported as a restart."""
    backing_off = at(status, "state", "waiting", "reason") == "CrashLoopBackOff"
    if not backing_off and int(status.get("restartCount", 0)) < 2:
        return
    terminated = at(status, "lastState", "terminated") or at(status, "state", "terminated")
    if terminated and terminated.get("exitCode") != 0:
        message = endings.sentence(ended_life(status, terminated, init=False))
        yield Waiting("CrashLoopBackOff", _about(pod, status, message))
    elif backing_off:
        yield Waiting(
            "CrashLoopBackOff", _about(pod, status, "the container ends right after it starts")
        )


def _slow(pod: PodState, world: JobResources, warnings: tuple[Manifest, ...]) -> Iterator[Waiting]:
    """Problems that usually resolve by themselves."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") != "True":
        yield from _unbound(world, warnings, pod.role)
        reason = scheduled.get("reason")
        if reason:
            yield Waiting(str(reason), str(scheduled.get("message") or ""))
    elif not pod.main or at(pod.main, "state", "waiting"):
        for warning in _about_object(warnings, pod.uid, _MOUNT):
            yield Waiting(warning["reason"], endings.last_line(str(warning.get("message") or "")))


def _unbound(
    world: JobResources, warnings: tuple[Manifest, ...], role: str | None
) -> Iterator[Waiting]:
    """Volume claims of the role that are not bound."""
    claims = {
        "learner": names.checkpoint_claim(world.name),
        "buffer": names.buffer_claim(world.name),
    }
    claim = world.children.get(("PersistentVolumeClaim", claims.get(role or "", "")))
    if claim is None or at(claim, "status", "phase") != "Pending":
        return
    for warning in _about_object(warnings, uid(claim), _VOLUME):
        message = endings.last_line(str(warning.get("message") or ""))
        yield Waiting("VolumePending", f"volume claim {claim['metadata']['name']}: {message}")


def _missing(
    world: JobResources, warnings: tuple[Manifest, ...], role: RoleName, now: datetime
) -> Iterator[Waiting]:
    """Why there are fewer pods than wanted."""
    name = names.workload(world.name, role)
    for child in world.workloads():
        if child["metadata"]["name"] != name:
            continue
        failed = condition(child, "ReplicaFailure")
        if failed is not None:
            yield _not_created(str(failed.get("message") or ""))
        elif not world.alive(role):
            for warning in _about_object(warnings, uid(child), ("FailedCreate",)):
                yield _not_created(str(warning.get("message") or ""))
    if role == "learner":
        yield from _learner_missing(world, now)


def _learner_missing(world: JobResources, now: datetime) -> Iterator[Waiting]:
    for pod in world.learners_left:
        if pod.gone_by is not None and now >= times.parse(pod.gone_by):
            node = f"; node {pod.node} may be lost" if pod.node else ""
            yield Waiting("Terminating", f"{pod.name} did not terminate by {pod.gone_by}{node}")
    pods = world.of_role("learner")
    if pods and pods[-1].ended:
        failure = failure_of("learner", pods[-1])
        if failure is not None:
            yield Waiting(failure.reason, f"waiting to be restarted; {_last_end(pods[-1])}")


def _last_end(pod: PodState) -> str:
    failed = [end for end in pod.ends if end.exit_code != 0]
    return f"last failure: {endings.sentence(failed[-1])}" if failed else "the last pod was lost"


def _until_overdue(world: JobResources, role: RoleName, now: datetime) -> Iterator[float]:
    if role == "learner":
        for pod in world.learners_left:
            if pod.gone_by is not None and now < times.parse(pod.gone_by):
                yield (times.parse(pod.gone_by) - now) / timedelta(seconds=1)


def _not_created(message: str) -> Waiting:
    reason = _refusal_reason(message)
    if reason == "InvalidTemplate" and "is invalid" not in message:
        reason = "FailedCreate"
    return Waiting(reason, endings.last_line(_FORBIDDEN.sub("", message)))


def _refusal_reason(message: str) -> str:
    if "exceeded quota" in message:
        return "QuotaExceeded"
    if "is invalid" not in message and "forbidden" in message:
        return "Forbidden"
    return "InvalidTemplate"


def _about(pod: PodState, status: dict[str, Any], message: str) -> str:
    """The message, with the container's name unless it is the role's own."""
    own = status.get("name") == pod.role
    return message if own else f"container {status.get('name')}: {message}"


def _last_failed(pod: PodState, status: dict[str, Any]) -> ContainerEnd | None:
    ends = [end for end in pod.ends if end.container == status.get("name") and end.exit_code]
    return ends[-1] if ends else None


def _condition(pod: PodState, kind: str) -> dict[str, Any]:
    for found in at(pod.manifest, "status", "conditions") or ():
        if found.get("type") == kind:
            return dict(found)
    return {}


def _about_object(
    warnings: tuple[Manifest, ...], object_uid: str, reasons: tuple[str, ...]
) -> list[Manifest]:
    """Warnings with one of these reasons about the object with this uid, newest first."""
    found = [
        warning
        for warning in warnings
        if warning.get("reason") in reasons and at(warning, "involvedObject", "uid") == object_uid
    ]
    return sorted(found, key=_seen, reverse=True)


def _seen(warning: Manifest) -> str:
    series = at(warning, "series", "lastObservedTime")
    return str(series or warning.get("lastTimestamp") or warning.get("eventTime") or "")
