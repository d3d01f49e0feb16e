"""Events: each change of the status is reported once.

They depend only on the previous and the new status. Once the new status is written it is the previous
one, so a restarted operator does not report a change twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rljob.diagnosis.stall import Stall
from rljob.spec.roles import RoleName
from rljob.spec.status import ConditionType, RLJobStatus
from rljob_operator.decide import key_rotation, stalling
from rljob_operator.decide.decision import Notice
from rljob_operator.decide.job_resources import JobResources
from rljob_operator.decide.status import failures
from rljob_operator.decide.status.conditions import find, holds
from rljob_operator.decide.status.report import Reported
from rljob_operator.decide.status.whole import Facts


def notices(
    before: RLJobStatus, after: RLJobStatus, world: JobResources, facts: Facts
) -> tuple[Notice, ...]:
    """Events for the change from one status to the next."""
    found = [
        *_begun(before, after),
        *_edited(before, after),
        *_lost(before, after, world),
        *_progressed(before, facts.reported),
        *_rotated(before, after),
        *_in_the_way(before, after, facts.standing.stall),
        *_suspended(before, after),
        *_ended(before, after),
    ]
    return tuple(found)


def _begun(before: RLJobStatus, after: RLJobStatus) -> Iterator[Notice]:
    if before.start_time is None and after.start_time is not None:
        pods = ", ".join(f"{role.replicas} {role.name}" for role in after.role_statuses)
        yield Notice("Normal", "Created", f"Requested pods: {pods}.")


def _edited(before: RLJobStatus, after: RLJobStatus) -> Iterator[Notice]:
    was, now = _replicas(before).get("rollout"), _replicas(after).get("rollout")
    if was and now and was != now:
        yield Notice("Normal", "Scaled", f"Scaled rollouts from {was} to {now}.")
    old = before.provenance.spec_hash if before.provenance else None
    new = after.provenance.spec_hash if after.provenance else None
    if old is not None and new != old:
        yield Notice("Normal", "Updated", "The learner restarts because the spec changed.")


def _lost(before: RLJobStatus, after: RLJobStatus, world: JobResources) -> Iterator[Notice]:
    counted = {role.name: role.restarts for role in before.role_statuses}
    for role in after.role_statuses:
        more = role.restarts - counted.get(role.name, 0)
        if more > 0:
            times = "" if more == 1 else f" {more} times"
            why = failures.cause(role.name, world.of_role(role.name))
            yield Notice("Warning", "Restarted", f"Restarted {role.name}{times}: {why}.")


def _progressed(before: RLJobStatus, reported: Reported) -> Iterator[Notice]:
    begun = before.ledger is not None and before.ledger.begun
    if reported.begun and not begun:
        yield Notice("Normal", "Started", "Training on the first environment steps.")
    if reported.lost:
        yield Notice(
            "Warning",
            "RolledBack",
            f"The learner resumes from step {reported.steps}, {reported.lost} steps back.",
        )


def _rotated(before: RLJobStatus, after: RLJobStatus) -> Iterator[Notice]:
    """The begin and the end of a change of keys, and one that is refused."""
    old, new = find(before, "KeysCurrent"), find(after, "KeysCurrent")
    if old is None or new is None or old.reason == new.reason:
        return
    if new.reason == key_rotation.INVALID:
        yield Notice("Warning", new.reason, new.message)
    elif new.status == "True" and old.reason != key_rotation.INVALID:
        yield Notice("Normal", "KeysRotated", new.message)
    elif old.status == "True" or old.reason == key_rotation.INVALID:
        yield Notice("Normal", "KeysRotating", new.message)


def _in_the_way(before: RLJobStatus, after: RLJobStatus, stall: Stall | None) -> Iterator[Notice]:
    """Reasons for not progressing and for being degraded; the same reason is reported once."""
    reported = set()
    wrong: tuple[tuple[ConditionType, str], ...] = (("Progressing", "False"), ("Degraded", "True"))
    for kind, bad in wrong:
        old, new = find(before, kind), find(after, kind)
        if new is None or new.status != bad or new.reason == after.phase or new.reason in reported:
            continue
        if old is None or (old.status, old.reason) != (new.status, new.reason):
            reported.add(new.reason)
            stalled = stall is not None and new.reason == stall.reason
            message = stalling.with_stack(stall) if stall is not None and stalled else new.message
            yield Notice("Warning", new.reason, message)
    if holds(before, "Degraded") and not holds(after, "Degraded") and holds(after, "Ready"):
        yield Notice("Normal", "Recovered", "All required roles are ready again.")


def _suspended(before: RLJobStatus, after: RLJobStatus) -> Iterator[Notice]:
    if before.start_time and before.resume_time is None and after.resume_time is not None:
        yield Notice("Normal", "Resumed", "Pods are requested again.")
    if before.phase == after.phase:
        return
    if after.phase == "Suspending":
        yield Notice("Normal", "Suspending", "The learner saves a checkpoint, then all pods stop.")
    elif after.phase == "Suspended":
        condition = find(after, "Suspended")
        yield Notice("Normal", "Suspended", condition.message if condition else "")


def _ended(before: RLJobStatus, after: RLJobStatus) -> Iterator[Notice]:
    complete, failed = find(after, "Complete"), find(after, "Failed")
    if complete and complete.status == "True" and not holds(before, "Complete"):
        yield Notice("Normal", "Complete", f"{complete.reason}: {complete.message}")
    if failed and failed.status == "True" and not holds(before, "Failed"):
        yield Notice("Warning", "Failed", f"{failed.reason}: {failed.message}")


def _replicas(status: RLJobStatus) -> Mapping[RoleName, int]:
    return {role.name: role.replicas for role in status.role_statuses}
