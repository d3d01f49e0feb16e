"""Decides the next actions for one RLJob from a snapshot. Pure: no I/O, no clock.

Level-triggered: it uses the whole state, never the changes, so it may be called at any time and any
number of times. Called again after its actions took effect, it returns no actions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.settings import OperatorSettings
from rljob.spec.roles import RoleName
from rljob.spec.status import RLJobStatus
from rljob_operator.decide import desired_state as asking
from rljob_operator.decide import (
    drift,
    hook_failures,
    key_rotation,
    lifecycle,
    pending,
    set_aside,
    stalling,
    uncreated,
)
from rljob_operator.decide.decision import Decision, Notice, Poll, Reference
from rljob_operator.decide.desired_state import DesiredState
from rljob_operator.decide.job_resources import JobResources, at, key
from rljob_operator.decide.key_rotation import KeyRotation
from rljob_operator.decide.lifecycle import Clock, Outcome
from rljob_operator.decide.observed import Observed
from rljob_operator.decide.stalling import StallCheck
from rljob_operator.decide.status import record, report, restarts, roles, whole
from rljob_operator.decide.status.notices import notices
from rljob_operator.decide.status.report import Reported
from rljob_operator.decide.status.whole import Facts
from rljob_operator.decide.waiting import Waiting

__all__ = ["Decision", "Notice", "Poll", "Reference", "reconcile"]


def reconcile(observed: Observed, settings: OperatorSettings, now: datetime) -> Decision:
    """The actions for `observed.job` at `now`, which has a time zone."""
    previous = record.read(observed.job.get("status"))
    if at(observed.job, "metadata", "deletionTimestamp") is not None:
        return Decision(status=previous)
    if at(observed.job, "spec", "managedBy") not in (None, names.OURS):
        return Decision(status=previous)
    look = _Look(previous, JobResources.of(observed), observed, settings, now)
    outcome = lifecycle.finished(previous)
    return look.alive() if outcome is None else look.over(outcome)


@dataclass(frozen=True)
class _Changes:
    """Changes of the children."""

    mint_keys: tuple[int, ...]
    apply: tuple[Manifest, ...]
    delete: tuple[Reference, ...]

    @property
    def wanted(self) -> list[Manifest]:
        """All manifests that the API server may refuse."""
        return [*self.apply, *(r.replacement for r in self.delete if r.replacement is not None)]


@dataclass(frozen=True)
class _Look:
    """One reconcile of a job."""

    previous: RLJobStatus
    world: JobResources
    observed: Observed
    settings: OperatorSettings
    now: datetime

    def alive(self) -> Decision:
        """The decision for a job that had not ended."""
        asked = asking.read(self.previous, self.world)
        wanted = roles.wanted(self.previous, asked.spec, asked.stage)
        reported = report.merge(self.previous, self.world, self.observed.polled)
        counts = restarts.count(self.previous, self.world, wanted, reported.checkpoint)
        active = asked.stage == "Active" and asked.job is not None
        keys = key_rotation.look(self.previous, self.world, self.observed, active, self.now)
        failures = counts.earlier_failures
        asked = asking.with_children(asked, self.world, self.settings, failures, keys.order)
        changes = self._changes(asked, keys)
        waiting, again = self._waiting(wanted)
        aside = set_aside.recent(self.world.name, asked.spec, reported.buffer, self.now)
        if aside is not None:
            waiting.setdefault("buffer", aside[0])
            again.append(aside[1])
        failed = hook_failures.recent(reported.hooks, self.now)
        if failed is not None:
            waiting.setdefault("learner", failed[0])
            again.append(failed[1])
        grace = self.settings.pending_grace_seconds
        unsettled = roles.unsettled_for(self.world, grace, self.now)
        if unsettled is not None:
            again.append(unsettled)
        facts = Facts(
            stage=asked.stage,
            spec=asked.spec,
            wanted=wanted,
            counts=counts,
            reported=reported,
            clock=self._clock(asked),
            standing=self._standing(asked, reported),
            waiting=waiting,
            keys=keys,
            fault=asked.fault or self._refused(changes),
            unsettled=unsettled is not None,
        )
        outcome = self._outcome(facts)
        if outcome is not None:
            return self._end(facts, outcome)
        return self._go_on(facts, changes, again)

    def over(self, outcome: Outcome) -> Decision:
        """The decision for a job that had ended: only the cleanup can still change."""
        after = asking.after_end(self.world)
        expires = lifecycle.expires_in(after.ttl, self.previous, self.now)
        if expires == 0:
            return Decision(status=self.previous, delete_job=True)
        status = whole.final(self.previous, self.world)
        write, later = self._worth_a_write(status)
        return Decision(
            status=status,
            delete=lifecycle.leftovers(self.world, after.clean_pod_policy),
            write_status=write,
            requeue_after=_soonest(expires, later),
        )

    def _end(self, facts: Facts, outcome: Outcome) -> Decision:
        """The job ends now. Write the status first; the next reconcile deletes the objects it is based on."""
        wanted = dict.fromkeys(facts.wanted, 0)
        clock = facts.clock.stopped(self.now)
        ended = replace(facts, wanted=wanted, clock=clock, waiting={}, fault=None, outcome=outcome)
        status = whole.status(self.previous, self.world, ended, self.now)
        return Decision(
            status=status,
            write_status=True,
            notices=notices(self.previous, status, self.world, facts),
            requeue_after=0.0,
        )

    def _go_on(self, facts: Facts, changes: _Changes, again: Iterable[float]) -> Decision:
        status = whole.status(self.previous, self.world, facts, self.now)
        told = notices(self.previous, status, self.world, facts)
        write, later = self._worth_a_write(status)
        standing = facts.standing
        delete = changes.delete
        if facts.spec is not None:
            delete += standing.restarts(facts.spec, self.world)
        if delete and self.world.learner_job is not None and _uncounted(self.previous, facts):
            # Write the failure count before the Job that holds it is deleted.
            delete, write, later = (), True, 0.0
        return Decision(
            status=status,
            apply=changes.apply,
            delete=delete,
            mint_keys=changes.mint_keys,
            write_status=write or bool(told),
            notices=told,
            ask=tuple(dict.fromkeys((*standing.ask, *facts.keys.ask))),
            poll=self._poll(facts),
            requeue_after=_soonest(
                *again, later, standing.again, facts.keys.again, self._next_deadline(facts)
            ),
        )

    def _changes(self, asked: DesiredState, keys: KeyRotation) -> _Changes:
        """Changes required by the spec. With an invalid spec, only a suspended job is cleaned up."""
        if asked.children is None:
            stop = asked.stage == "Suspended"
            return _Changes((), (), lifecycle.suspended(self.world) if stop else ())
        missing = tuple(n for n in keys.needed if n not in self.observed.keys_made)
        return _Changes(
            mint_keys=missing if asked.stage == "Active" else (),
            apply=drift.to_apply(self.world, asked.children, self.observed.settled),
            delete=drift.to_delete(self.world, asked.children),
        )

    def _clock(self, asked: DesiredState) -> Clock:
        clock = Clock.of(self.previous)
        if asked.stage == "Suspended":
            return clock.stopped(self.now)
        # The clock starts when pods are requested; a later invalid spec does not stop it.
        return clock.running(self.now) if asked.children is not None else clock

    def _standing(self, asked: DesiredState, reported: Reported) -> StallCheck:
        spec = asked.spec if asked.stage == "Active" else None
        return stalling.look(self.previous, self.world, spec, self.observed, reported, self.now)

    def _waiting(
        self, wanted: Mapping[RoleName, int]
    ) -> tuple[dict[RoleName, Waiting], list[float]]:
        """What roles wait for, and the seconds until that may change by time alone."""
        waiting: dict[RoleName, Waiting] = {}
        again: list[float] = []
        for role, replicas in wanted.items():
            found = pending.explain(
                self.world,
                self.observed.warnings,
                role,
                replicas,
                self.settings.pending_grace_seconds,
                self.now,
            )
            why = self._refused_role(role) if replicas and found.waiting is None else found.waiting
            if why is not None:
                waiting[role] = why
            if found.again is not None:
                again.append(found.again)
        return waiting, again

    def _refused_role(self, role: RoleName) -> Waiting | None:
        """Why the API server refuses the role's workload."""
        name = names.workload(self.world.name, role)
        for (kind, refused), message in self.observed.refused.items():
            if kind in ("Deployment", "StatefulSet", "Job") and refused == name:
                return uncreated.refusal(message)
        return None

    def _refused(self, changes: _Changes) -> Waiting | None:
        """Why the API server refuses an object that is still wanted."""
        refused = self.observed.refused
        for manifest in changes.wanted:
            if key(manifest) in refused:
                kind, name = key(manifest)
                found = uncreated.refusal(refused[kind, name])
                return Waiting(found.reason, f"{kind} {name}: {found.message}")
        for generation in changes.mint_keys:
            secret = ("Secret", names.keys_secret(self.world.name, generation))
            if secret in refused:
                return uncreated.refusal(refused[secret])
        return None

    def _outcome(self, facts: Facts) -> Outcome | None:
        outcome = lifecycle.learner_outcome(self.world) or lifecycle.input_outcome(
            self.world, facts.reported.begun
        )
        if outcome is not None or facts.spec is None:
            return outcome
        stalled = facts.standing.outcome(facts.spec)
        if stalled is not None:
            return stalled
        why = next((f"{role}: {w.reason}: {w.message}" for role, w in facts.waiting.items()), "")
        return lifecycle.deadline_outcome(
            facts.spec, facts.clock, facts.reported.begun, why, self.now
        )

    def _next_deadline(self, facts: Facts) -> float | None:
        if facts.spec is None:
            return None
        return lifecycle.next_deadline(facts.spec, facts.clock, facts.reported.begun, self.now)

    def _poll(self, facts: Facts) -> Poll | None:
        pod = self.world.learner
        if facts.stage != "Active" or pod is None or pod.address is None:
            return None
        uid = self.observed.job["metadata"]["uid"]
        return Poll(pod.name, names.page(pod.address, "status"), uid)

    def _worth_a_write(self, status: RLJobStatus) -> tuple[bool, float | None]:
        """Whether to write the status now; else in how many seconds, if at all."""
        if status == self.previous:
            return False, None
        due = record.due_in(self.observed.status_written, self.settings.status_seconds, self.now)
        if due == 0 or record.significant(self.previous, status):
            return True, None
        return False, due


def _uncounted(previous: RLJobStatus, facts: Facts) -> bool:
    """Whether the learner's Job has failures that the status does not include yet."""
    before, ledger = previous.ledger, facts.counts.ledger
    known = (before.job, before.job_failures) if before is not None else ("", 0)
    return known != (ledger.job, ledger.job_failures)


def _soonest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
