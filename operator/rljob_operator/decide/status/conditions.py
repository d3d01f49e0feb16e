"""The conditions of the status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rljob.diagnosis import hook_failures, set_aside
from rljob.diagnosis.stall import Stall
from rljob.spec.roles import NEEDED, RoleName
from rljob.spec.status import Condition, ConditionStatus, ConditionType, Phase, RLJobStatus
from rljob_operator.decide import times
from rljob_operator.decide.key_rotation import CURRENT, KeyRotation
from rljob_operator.decide.lifecycle import Outcome
from rljob_operator.decide.status.endings import OUT_OF_MEMORY
from rljob_operator.decide.status.report import Reported
from rljob_operator.decide.waiting import Waiting

_SHORT: dict[RoleName, tuple[str, str]] = {
    **{role: (f"{role.capitalize()}NotReady", f"The {role} is not ready.") for role in NEEDED},
    "rollout": ("RolloutsBelowMinimum", "Fewer rollouts are ready than rollout.minReplicas."),
}
_LASTING = (OUT_OF_MEMORY, set_aside.REASON, hook_failures.REASON)
_LOST = frozenset(reason for reason, _ in _SHORT.values())
"""Reasons of Degraded for a role that was ready before."""


@dataclass(frozen=True)
class ConditionInputs:
    """Inputs of the conditions.

    Attributes:
        fault: why the spec cannot be applied, if so.
        waiting: what each role waits for, if known.
        short: roles with too few ready pods.
        stall: cause of a stall.
    """

    phase: Phase
    outcome: Outcome | None
    fault: Waiting | None
    waiting: Mapping[RoleName, Waiting]
    short: Sequence[RoleName]
    reported: Reported
    keys: KeyRotation
    stall: Stall | None = None

    @property
    def blocked(self) -> Waiting | None:
        """Why the job cannot train, if known."""
        for role in self.short:
            if role in self.waiting:
                return self.waiting[role].of(role)
        return None

    @property
    def lasting(self) -> Waiting | None:
        """What happens to a role again and again, also while enough of it is ready."""
        found = (one.of(role) for role, one in self.waiting.items() if one.reason in _LASTING)
        return next(found, None)


@dataclass(frozen=True)
class _Said:
    holds: bool
    reason: str
    message: str = ""


def conditions(
    previous: RLJobStatus, situation: ConditionInputs, generation: int, now: datetime
) -> list[Condition]:
    """All conditions, each with the time of its last transition."""
    said: dict[ConditionType, _Said] = {
        "Ready": _ready(situation),
        "Progressing": _progressing(situation),
        "Suspended": _suspended(situation),
        "Checkpointed": _checkpointed(situation),
        "KeysCurrent": _keys(situation),
        "Degraded": _degraded(previous, situation),
        "Complete": _ended(situation, complete=True),
        "Failed": _ended(situation, complete=False),
    }
    return [_condition(previous, kind, what, generation, now) for kind, what in said.items()]


def find(status: RLJobStatus, kind: ConditionType) -> Condition | None:
    """A condition of a status."""
    return next((found for found in status.conditions if found.type == kind), None)


def holds(status: RLJobStatus, kind: ConditionType) -> bool:
    found = find(status, kind)
    return found is not None and found.status == "True"


def _condition(
    previous: RLJobStatus, kind: ConditionType, said: _Said, generation: int, now: datetime
) -> Condition:
    status: ConditionStatus = "True" if said.holds else "False"
    before = find(previous, kind)
    same = before is not None and before.status == status
    return Condition(
        type=kind,
        status=status,
        reason=said.reason,
        message=said.message,
        last_transition_time=before.last_transition_time if before and same else times.rfc3339(now),
        observed_generation=generation,
    )


def _ready(situation: ConditionInputs) -> _Said:
    if situation.phase in ("Complete", "Failed", "Suspending", "Suspended"):
        return _Said(False, situation.phase)
    if not situation.short:
        return _Said(True, "AllRolesReady")
    blocked = situation.blocked
    return _Said(False, *(_SHORT[situation.short[0]] if blocked is None else _pair(blocked)))


def _progressing(situation: ConditionInputs) -> _Said:
    if situation.phase in ("Complete", "Failed"):
        return _Said(False, situation.phase)
    if situation.fault is not None:
        return _Said(False, *_pair(situation.fault))
    if situation.phase in ("Suspending", "Suspended"):
        return _Said(False, situation.phase)
    if situation.stall is not None:
        return _Said(False, situation.stall.reason, situation.stall.message)
    if situation.phase != "Training" and situation.blocked is not None:
        return _Said(False, *_pair(situation.blocked))
    if situation.phase == "Pending":
        return _Said(True, "Pending", "Pods were requested.")
    return _Said(True, situation.phase)


def _suspended(situation: ConditionInputs) -> _Said:
    if situation.phase == "Suspended":
        saved = situation.reported.checkpoint
        at = f" The checkpoint is from step {saved.step}." if saved else ""
        return _Said(True, "Suspended", f"Stopped at step {situation.reported.steps}.{at}")
    if situation.phase == "Suspending":
        return _Said(False, "Suspending", "Pods are terminating.")
    return _Said(False, "NotSuspended")


def _checkpointed(situation: ConditionInputs) -> _Said:
    if situation.reported.checkpoint is None:
        return _Said(False, "NoCheckpoint")
    return _Said(True, "CheckpointWritten")


def _keys(situation: ConditionInputs) -> _Said:
    keys = situation.keys
    return _Said(keys.reason == CURRENT, keys.reason, keys.message)


def _degraded(previous: RLJobStatus, situation: ConditionInputs) -> _Said:
    """The spec is invalid, a role that was ready before is not ready now, or a role ends again and again."""
    if situation.phase in ("Complete", "Failed"):
        return _Said(False, situation.phase)
    if situation.fault is not None:
        return _Said(True, *_pair(situation.fault))
    if situation.phase in ("Suspending", "Suspended"):
        return _Said(False, "AsExpected")
    if situation.lasting is not None:
        return _Said(True, *_pair(situation.lasting))
    if situation.short:
        before = find(previous, "Degraded")
        lost = before is not None and before.status == "True" and before.reason in _LOST
        if lost or holds(previous, "Ready"):
            return _Said(True, *_SHORT[situation.short[0]])
    return _Said(False, "AsExpected")


def _ended(situation: ConditionInputs, complete: bool) -> _Said:
    outcome = situation.outcome
    if outcome is None:
        return _Said(False, "NotFinished")
    if outcome.complete != complete:
        return _Said(False, "Complete" if outcome.complete else "Failed")
    return _Said(True, outcome.reason, outcome.message)


def _pair(waiting: Waiting) -> tuple[str, str]:
    return waiting.reason, waiting.message
