"""The pods of each role in the status, and the fields for `kubectl scale` and the learner's column."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rljob.kube import names
from rljob.spec import RLJobSpec
from rljob.spec.roles import NEEDED, ROLES, RoleName, needed, role_counts
from rljob.spec.status import LearnerStatus, RLJobStatus, RoleStatus, RolloutStatus
from rljob_operator.decide import times
from rljob_operator.decide.job_resources import JobResources, at
from rljob_operator.decide.lifecycle import Outcome, Stage
from rljob_operator.decide.status.restarts import RestartCounts
from rljob_operator.decide.waiting import Waiting


def wanted(previous: RLJobStatus, spec: RLJobSpec | None, stage: Stage) -> dict[RoleName, int]:
    """Desired pods by role; for an invalid spec, the previous numbers."""
    before = {role.name: role.replicas for role in previous.role_statuses}
    if spec is not None:
        asked = role_counts(spec)
    else:
        asked = {role: before.get(role, 0) for role in (*NEEDED, *before)}
    if stage != "Active":
        asked = dict.fromkeys(asked, 0)
    return {role: asked.get(role, 0) for role in ROLES if role in asked or role in before}


def statuses(
    world: JobResources,
    asked: Mapping[RoleName, int],
    counts: RestartCounts,
    waiting: Mapping[RoleName, Waiting],
) -> list[RoleStatus]:
    """One entry for each role."""
    found = []
    for role, replicas in asked.items():
        why = waiting.get(role)
        found.append(
            RoleStatus(
                name=role,
                replicas=replicas,
                ready_replicas=world.ready(role),
                restarts=counts.restarts.get(role, 0),
                reason=why.reason if why else None,
                message=why.message if why else None,
            )
        )
    return found


def rollout(world: JobResources, asked: Mapping[RoleName, int]) -> RolloutStatus:
    """The fields of the scale subresource."""
    return RolloutStatus(
        replicas=len(world.alive("rollout")),
        selector=names.selector_text(world.name, "rollout"),
        ready=f"{world.ready('rollout')}/{asked.get('rollout', 0)}",
    )


def learner(
    previous: RLJobStatus,
    world: JobResources,
    stage: Stage,
    outcome: Outcome | None,
    counts: RestartCounts,
) -> LearnerStatus:
    """The learner's pod: the newest one."""
    before = previous.learner or LearnerStatus()
    pods = world.of_role("learner")
    pod = pods[-1].name if pods else before.pod
    if outcome is not None:
        state = "Succeeded" if outcome.complete else "Failed"
    elif stage == "Suspended":
        state = "Stopped"
    elif world.learner is not None:
        state = "Running"
    else:
        state = "Restarting" if before.state in ("Running", "Restarting") else "Pending"
    return LearnerStatus(state=state, failures=counts.failures, pod=pod)


def short_of(spec: RLJobSpec | None, world: JobResources) -> list[RoleName]:
    """Roles with too few ready pods; rollouts need at least minReplicas. Those whose pods run come last, in the order in
    which they wait for each other: a learner is not ready because the buffer is not."""
    least = (spec.rollout.min_replicas if spec else None) or 1
    short = [
        role for role in needed(spec) if world.ready(role) < (least if role == "rollout" else 1)
    ]
    return sorted(short, key=lambda role: 1 + len(ROLES[role].uses) if world.running(role) else 0)


def unsettled_for(world: JobResources, grace: float, now: datetime) -> float | None:
    """Seconds until pods that recently became not ready count as lost; None if there are none.

    A role that is about to succeed, or that waits briefly for another role, is not ready for a short time.
    """
    left = []
    for pod in world.pods:
        found = at(pod.manifest, "status", "conditions") if pod.alive else None
        for one in found or ():
            since = one.get("lastTransitionTime")
            if one.get("type") == "Ready" and one.get("status") == "False" and since:
                left.append(grace - (now - times.parse(since)).total_seconds())
    return max((seconds for seconds in left if seconds > 0), default=None)
