"""Containers that run out of memory again and again, also those that run at the moment.

Such a role becomes ready between two ends, so readiness alone does not show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from rljob.spec.roles import RoleName
from rljob_operator.decide import times
from rljob_operator.decide.job_resources import ContainerEnd, JobResources, PodState, at
from rljob_operator.decide.status.endings import OUT_OF_MEMORY
from rljob_operator.decide.waiting import Waiting

MOST_SECONDS = 600.0
"""Seconds after the last end for which it is told: Kubernetes forgets a back-off after this time."""
_TIMES = 2


def shortage(world: JobResources, role: RoleName, now: datetime) -> tuple[Waiting, float] | None:
    """The problem of a role that ran out of memory at least twice, and seconds until it is forgotten."""
    found = [(pod, end) for pod in _pods(world, role) for end in _newest(pod, now)]
    count = sum(max(1, int(pod.main.get("restartCount", 0))) for pod, _ in found)
    if count < _TIMES:
        return None
    first = min(times.parse(pod.created) for pod, _ in found)
    last = max(times.parse(end.finished) for _, end in found)
    span = (last - first).total_seconds()
    message = (
        f"out of memory: {_limit(world, role, found[-1][0])}, {count} restarts in {span:.0f} s"
    )
    left = (last + timedelta(seconds=MOST_SECONDS) - now).total_seconds()
    return Waiting(OUT_OF_MEMORY, message, times.rfc3339(first)), left


def _pods(world: JobResources, role: RoleName) -> list[PodState]:
    # A failed learner gets a new pod. A failed container of another role restarts in its pod.
    return world.of_role(role) if role == "learner" else world.alive(role)


def _newest(pod: PodState, now: datetime) -> Iterator[ContainerEnd]:
    """The newest end of the role's container, if it ran out of memory lately."""
    ends = [end for end in pod.ends if not end.init and end.finished]
    if not ends or ends[-1].reason != OUT_OF_MEMORY:
        return
    if (now - times.parse(ends[-1].finished)).total_seconds() < MOST_SECONDS:
        yield ends[-1]


def _limit(world: JobResources, role: RoleName, pod: PodState) -> str:
    """The limit of the role's container: of its template, else as its node applies it."""
    limit = at(world.container(role), "resources", "limits", "memory")
    limit = limit or at(pod.main, "resources", "limits", "memory")
    return f"limit {limit}" if limit else "no limit is set, so its node has too little"
