"""How often pods and containers were replaced, and how often the learner failed.

Both are counted from what exists, not from what is seen to happen, so neither an operator that was
away nor one that looks twice counts wrongly. What was counted is kept in the status' ledger.

A pod that is newer than the newest one counted is a new one. It replaces one that was lost, unless
pods were owed: the first start, a resume and scaling up owe the pods that they add, and a new
revision of a template owes them all. Nothing is owed any more once a role is complete. An operator
that dies after it has scaled a role and before it has said so may count those pods: too many, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rljob.spec.roles import ROLES, RoleName
from rljob.spec.status import Ledger, RLJobStatus, RoleLedger
from rljob_operator.decide.job_resources import JobResources, PodState, at, uid


@dataclass(frozen=True)
class RestartCounts:
    """What is counted up to now.

    Attributes:
        restarts: by role, since the job began; never smaller than before.
        failures: of the learner, towards backoffLimit, in all its Jobs.
        earlier_failures: those before the Job that exists.
    """

    restarts: dict[RoleName, int]
    failures: int
    earlier_failures: int
    ledger: Ledger

    @classmethod
    def of(cls, status: RLJobStatus) -> RestartCounts:
        """What was counted before."""
        return cls(
            restarts={role.name: role.restarts for role in status.role_statuses},
            failures=status.learner.failures if status.learner else 0,
            earlier_failures=status.learner.failures if status.learner else 0,
            ledger=status.ledger or Ledger(),
        )


def count(previous: RLJobStatus, world: JobResources, wanted: dict[RoleName, int]) -> RestartCounts:
    """Count on from the status before.

    Args:
        wanted: pods asked for, by role.
    """
    before = RestartCounts.of(previous)
    asked = {role.name: role.replicas for role in previous.role_statuses}
    known = {ledger.name: ledger for ledger in before.ledger.roles}
    restarts, ledgers = dict(before.restarts), []
    for role in ROLES:
        if role not in wanted and role not in known:
            continue
        ledger = known.get(role, RoleLedger(name=role))
        added, ledger = _count_role(
            ledger, world.of_role(role), asked.get(role, 0), wanted.get(role, 0)
        )
        restarts[role] = restarts.get(role, 0) + added
        ledgers.append(ledger)
    return _count_failures(before, world, restarts, ledgers)


def _count_role(
    ledger: RoleLedger, pods: Sequence[PodState], asked: int, wanted: int
) -> tuple[int, RoleLedger]:
    owed = ledger.owed + max(0, wanted - asked)
    revision, replaced = ledger.revision, 0
    new = _newer(ledger, pods)
    for pod in new:
        if pod.revision != revision:
            revision, owed = pod.revision, max(wanted, asked)
        if owed > 0:
            owed -= 1
        else:
            replaced += 1
    # Only now: pods that came before fewer were wanted were owed until then.
    owed = max(0, owed - max(0, asked - wanted))
    if sum(pod.ready and pod.revision == revision for pod in pods) >= wanted:
        owed = 0
    newest = new[-1].created if new else ledger.newest
    ties = sum(pod.created == newest for pod in pods)
    containers = sum(int(pod.main.get("restartCount", 0)) for pod in pods if pod.exists)
    counted = RoleLedger(
        name=ledger.name,
        revision=revision,
        newest=newest,
        ties=ties if newest != ledger.newest else max(ties, ledger.ties),
        owed=owed,
        containers=containers,
    )
    return replaced + max(0, containers - ledger.containers), counted


def _newer(ledger: RoleLedger, pods: Sequence[PodState]) -> list[PodState]:
    """Pods not counted yet, the oldest first. Creation times are whole seconds, so some are tied."""
    later = [pod for pod in pods if pod.created > ledger.newest]
    tied = [pod for pod in pods if pod.created == ledger.newest]
    tied.sort(key=lambda pod: pod.revision != ledger.revision)
    return tied[ledger.ties :] + later


def _count_failures(
    before: RestartCounts,
    world: JobResources,
    restarts: dict[RoleName, int],
    roles: list[RoleLedger],
) -> RestartCounts:
    """Count the failures of the Job that exists; those of earlier ones are in the number before."""
    job = world.learner_job
    ledger = before.ledger.model_copy(update={"roles": roles})
    if job is None:
        return RestartCounts(restarts, before.failures, before.failures, ledger)
    seen = ledger.job_failures if ledger.job == uid(job) else 0
    failed = max(seen, int(at(job, "status", "failed") or 0))
    earlier = before.failures - seen
    ledger = ledger.model_copy(update={"job": uid(job), "job_failures": failed})
    return RestartCounts(restarts, earlier + failed, earlier, ledger)
