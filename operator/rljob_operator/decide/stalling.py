"""Detects a job that has all its pods but makes no progress, and decides the action."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rljob.diagnosis.stall import (
    Stall,
    StallLimits,
    diagnose,
    given_up,
    stalled_at,
    waits_for_applications,
)
from rljob.spec import RLJobSpec
from rljob.spec.roles import NEEDED, RoleName, needed
from rljob.spec.status import Failure, RLJobStatus
from rljob_operator.decide import times
from rljob_operator.decide.decision import Question, Reference
from rljob_operator.decide.job_resources import JobResources, PodState, at
from rljob_operator.decide.lifecycle import Outcome
from rljob_operator.decide.observed import Observed
from rljob_operator.decide.questions import questions
from rljob_operator.decide.status.report import Reported


@dataclass(frozen=True)
class StallCheck:
    """Result of the stall check.

    Attributes:
        advanced: when steps or updates last increased; None before the first check.
        stall: cause of the stall, once the job counts as stalled and its pods were asked.
        asked: when the pods were asked, RFC 3339.
        ask: pods to ask for their state.
        again: seconds until the job may count as stalled.
    """

    advanced: str | None = None
    stall: Stall | None = None
    asked: str = ""
    ask: tuple[Question, ...] = ()
    again: float | None = None

    def outcome(self, spec: RLJobSpec) -> Outcome | None:
        """How the job ended, if the policy is Fail or no environment has ever answered."""
        if self.stall is None or not (self.stall.ends or spec.stall.policy == "Fail"):
            return None
        return Outcome(False, self.stall.reason, self.stall.message)

    def failure(self) -> Failure | None:
        """The entry for `status.lastFailure`, including the stack."""
        stall = self.stall
        if stall is None or stall.role is None or stall.name is None:
            return None
        return Failure(
            role=stall.role,
            pod=stall.name,
            reason=stall.reason,
            message=with_stack(stall),
            time=self.asked,
        )

    def restarts(self, spec: RLJobSpec, world: JobResources) -> tuple[Reference, ...]:
        """Stuck pods to replace."""
        if self.stall is None or spec.stall.policy != "Restart":
            return ()
        found = [pod for _, pod in _pods(world) if pod.name in self.stall.stuck]
        return tuple(Reference("v1", "Pod", pod.name, pod.uid) for pod in found)


def with_stack(stall: Stall) -> str:
    """The message and the stack, innermost frame first: the end may be cut off."""
    return "\n".join((stall.message, *(f"at {frame}" for frame in reversed(stall.stack))))


def look(
    previous: RLJobStatus,
    world: JobResources,
    spec: RLJobSpec | None,
    observed: Observed,
    reported: Reported,
    now: datetime,
) -> StallCheck:
    """Check a job that should have all its pods."""
    advanced = _advanced(previous, reported, now)
    if spec is None or not all(world.running(role) for role in needed(spec)):
        # `pending` reports missing pods.
        return StallCheck(advanced)
    progress = reported.progress
    limits = StallLimits.of(spec.stall, bool(progress and (progress.steps or progress.updates)))
    since = max(times.parse(time) for time in (advanced, *_starts(world)))
    starting = [times.parse(time).timestamp() for time in _starts(world, begun=False)]
    due = datetime.fromtimestamp(stalled_at(since.timestamp(), starting, limits.timeout), UTC)
    if now < due:
        return StallCheck(advanced, again=(due - now).total_seconds())
    inspection = observed.inspection
    if inspection is None or inspection.at < due:
        return StallCheck(advanced, ask=tuple(questions(_pods(world))))
    if inspection.refused:
        return StallCheck(advanced)
    reports = [one for one in inspection.asked if one.role in NEEDED]
    if not spec.environment.played and waits_for_applications(reports, limits.timeout):
        # Applications act when they have something to do. The learner may hang later.
        left = limits.timeout - (now - inspection.at).total_seconds()
        ask = tuple(questions(_pods(world))) if left <= 0 else ()
        return StallCheck(advanced, ask=ask, again=left if left > 0 else None)
    stall, asked = diagnose(reports, limits.timeout), times.rfc3339(inspection.at)
    begun, at_now = _begun(world, advanced), now.timestamp()
    late = limits.last_look(begun, at_now)
    if inspection.at.timestamp() < late:
        return StallCheck(advanced, stall, asked, ask=tuple(questions(_pods(world))))
    if late > -math.inf:
        stall = given_up(stall, reports, limits)
    again = limits.next_look(begun, at_now) - at_now
    return StallCheck(advanced, stall, asked, again=None if math.isinf(again) else again)


def _begun(world: JobResources, advanced: str) -> float:
    """When the job's environments could begin to answer: a container that starts again changes nothing."""
    begun = [times.parse(advanced)]
    for _, pod in _pods(world):
        time = at(pod.main, "state", "running", "startedAt")
        if at(pod.main, "restartCount"):
            time = at(pod.manifest, "status", "startTime")
        if time:
            begun.append(times.parse(str(time)))
    return max(begun).timestamp()


def _advanced(previous: RLJobStatus, reported: Reported, now: datetime) -> str:
    before = previous.ledger.advanced if previous.ledger is not None else None
    if reported.report is not None and reported.report.evaluating:
        # The final evaluation, which the learner gives up by itself when it takes too long.
        return times.rfc3339(now)
    was, now_at = previous.progress, reported.progress
    same = (was and (was.steps, was.updates)) == (now_at and (now_at.steps, now_at.updates))
    return before if before is not None and same else times.rfc3339(now)


def _pods(world: JobResources) -> Iterator[tuple[RoleName, PodState]]:
    for role in NEEDED:
        for pod in world.running(role):
            yield role, pod


def _starts(world: JobResources, begun: bool = True) -> Iterator[str]:
    """Start times of the roles' containers; without `begun`, only of those that are not ready."""
    for _, pod in _pods(world):
        if pod.ready and not begun:
            continue
        started = at(pod.main, "state", "running", "startedAt")
        if started:
            yield str(started)
