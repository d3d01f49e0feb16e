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

from rljob.kube.kinds import Manifest
from rljob.spec.roles import RoleName
from rljob_operator.decide import memory, times
from rljob_operator.decide.job_resources import (
    ContainerEnd,
    JobResources,
    PodState,
    at,
    ended_life,
)
from rljob_operator.decide.status import endings
from rljob_operator.decide.uncreated import uncreated
from rljob_operator.decide.unstarted import unstarted
from rljob_operator.decide.waiting import Due, Waiting

_IMAGE = ("ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "RegistryUnavailable")
_CONTAINER = (
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: *ErrImagePull)?:? *')
_WORST = (
    *_CONTAINER,
    "ImagePullBackOff",
    "InitContainerFailed",
    endings.OUT_OF_MEMORY,
    "CrashLoopBackOff",
    "VolumePending",
    "Unschedulable",
)


@dataclass(frozen=True)
class Found:
    """Result of `explain`.

    Attributes:
        waiting: None if no problem is known.
        again: seconds until the result may change by time alone; None if it does not.
    """

    waiting: Waiting | None = None
    again: float | None = None


def explain(
    world: JobResources,
    warnings: tuple[Manifest, ...],
    role: RoleName,
    wanted: int,
    grace: float,
    now: datetime,
) -> Found:
    """Why fewer than `wanted` pods of a role are ready, or why they will not stay so.

    Args:
        grace: grace period in seconds before a pod is reported.
    """
    short = memory.shortage(world, role, now) if wanted else None
    waiting = [short[0]] if short is not None else []
    again = [short[1]] if short is not None else []
    if world.ready(role) < wanted:
        due: list[Due] = []
        for pod in world.alive(role):
            if not pod.ready:
                waiting += _broken(pod)
                due += unstarted(pod, world, role, warnings, grace)
                again.append((_after(pod, grace) - now).total_seconds())
        if not waiting and len(world.alive(role)) < wanted:
            due += uncreated(world, role, warnings)
        waiting += [one.waiting for one in due if now >= one.at]
        again += [(one.at - now).total_seconds() for one in due]
    waiting.sort(key=_rank)
    later = [seconds for seconds in again if seconds > 0]
    return Found(waiting[0] if waiting else None, min(later, default=None))


def _after(pod: PodState, seconds: float) -> datetime:
    return times.parse(pod.created) + timedelta(seconds=seconds)


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
        yield Waiting("ImagePullBackOff", f"{image}: {detail}" if detail else image, pod.created)
    elif reason in _CONTAINER:
        yield Waiting(str(reason), _about(pod, status, message), pod.created)


def _failing_init(pod: PodState, status: dict[str, Any]) -> Iterator[Waiting]:
    end = _last_failed(pod, status)
    if end is not None and not status.get("ready"):
        text = f"init container {end.container}: {endings.sentence(end)}"
        yield Waiting("InitContainerFailed", text, pod.created)


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


def _about(pod: PodState, status: dict[str, Any], message: str) -> str:
    """The message, with the container's name unless it is the role's own."""
    own = status.get("name") == pod.role
    return message if own else f"container {status.get('name')}: {message}"


def _last_failed(pod: PodState, status: dict[str, Any]) -> ContainerEnd | None:
    ends = [end for end in pod.ends if end.container == status.get("name") and end.exit_code]
    return ends[-1] if ends else None
