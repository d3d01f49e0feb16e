"""How often pods and containers were replaced, and how often the learner failed.

Both are counted from existing objects, not from events, so an operator that was down or that
reconciles twice counts correctly. The counter state is kept in the status' ledger.

A pod that is newer than the newest counted one is new. It counts as a replacement, unless new pods
are expected (`owed`): the first start, a resume and scaling up expect the pods that they add, and a
new revision of a template expects all pods. No pod is expected once a role is complete. An operator
that dies after scaling a role and before writing the status may count those pods once too many.

Failures are forgiven by progress: a checkpoint beyond the newest one at the last failure starts the count
anew. The learner's Job counts all its failures, so its limit is raised by those that are forgiven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rljob.spec.roles import ROLES, RoleName
from rljob.spec.status import NO_CHECKPOINT, CheckpointStatus, Ledger, RLJobStatus, RoleLedger
from rljob_operator.decide.job_resources import JobResources, PodState, at, uid


@dataclass(frozen=True)
class RestartCounts:
    """Counters.

    Attributes:
        restarts: by role, since the job started; never decreases.
        failures: failures of the learner since it last made progress, counted towards backoffLimit.
        earlier_failures: those less all failures of the existing Job, which counts its own; negative when
            some of the Job's are forgiven.
    """

    restarts: dict[RoleName, int]
    failures: int
    earlier_failures: int
    ledger: Ledger

    @classmethod
    def of(cls, status: RLJobStatus) -> RestartCounts:
        """The counters of the previous status."""
        return cls(
            restarts={role.name: role.restarts for role in status.role_statuses},
            failures=status.learner.failures if status.learner else 0,
            earlier_failures=status.learner.failures if status.learner else 0,
            ledger=status.ledger or Ledger(),
        )


def count(
    previous: RLJobStatus,
    world: JobResources,
    wanted: dict[RoleName, int],
    checkpoint: CheckpointStatus | None,
) -> RestartCounts:
    """Update the counters of the previous status.

    Args:
        wanted: desired pods, by role.
        checkpoint: the newest one.
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
    saved = checkpoint.policy_version if checkpoint else NO_CHECKPOINT
    return _count_failures(before, world, restarts, ledgers, saved)


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
    # Only after the loop: pods created before the scale-down were expected.
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
    """Pods not counted yet, oldest first. Creation times have whole seconds, so ties occur."""
    later = [pod for pod in pods if pod.created > ledger.newest]
    tied = [pod for pod in pods if pod.created == ledger.newest]
    tied.sort(key=lambda pod: pod.revision != ledger.revision)
    return tied[ledger.ties :] + later


def _count_failures(
    before: RestartCounts,
    world: JobResources,
    restarts: dict[RoleName, int],
    roles: list[RoleLedger],
    saved: int,
) -> RestartCounts:
    """Add what the existing Job has failed since; `saved` is the newest checkpoint's policy version."""
    job = world.learner_job
    ledger = before.ledger.model_copy(update={"roles": roles})
    # First: what was saved before a failure was not lost by it.
    failures = 0 if saved > ledger.failed_at else before.failures
    if job is None:
        return RestartCounts(restarts, failures, failures, ledger)
    seen = ledger.job_failures if ledger.job == uid(job) else 0
    failed = max(seen, int(at(job, "status", "failed") or 0))
    failures += failed - seen
    failed_at = max(saved, ledger.failed_at) if failed > seen else ledger.failed_at
    ledger = ledger.model_copy(
        update={"job": uid(job), "job_failures": failed, "failed_at": failed_at}
    )
    return RestartCounts(restarts, failures, failures - failed, ledger)
