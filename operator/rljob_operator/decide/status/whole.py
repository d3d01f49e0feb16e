"""The whole status, from the facts about a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from rljob.spec import RLJobSpec
from rljob.spec.roles import RoleName
from rljob.spec.status import RLJobStatus
from rljob_operator.decide import times
from rljob_operator.decide.job_resources import JobResources
from rljob_operator.decide.key_rotation import KeyRotation
from rljob_operator.decide.lifecycle import Clock, Outcome, Stage
from rljob_operator.decide.stalling import StallCheck
from rljob_operator.decide.status import failures, roles
from rljob_operator.decide.status.conditions import ConditionInputs, conditions, holds
from rljob_operator.decide.status.phase import phase
from rljob_operator.decide.status.provenance import provenance
from rljob_operator.decide.status.report import Reported
from rljob_operator.decide.status.restarts import RestartCounts
from rljob_operator.decide.waiting import Waiting


@dataclass(frozen=True)
class Facts:
    """Facts about a job.

    Attributes:
        spec: None if it is invalid.
        wanted: desired pods, by role.
        waiting: what a role waits for, if known.
        fault: the fault in the spec, if any.
        outcome: how the job ended, if it has.
        unsettled: whether a pod became not ready within the grace period.
    """

    stage: Stage
    spec: RLJobSpec | None
    wanted: Mapping[RoleName, int]
    counts: RestartCounts
    reported: Reported
    clock: Clock
    standing: StallCheck
    waiting: Mapping[RoleName, Waiting]
    keys: KeyRotation
    fault: Waiting | None = None
    outcome: Outcome | None = None
    unsettled: bool = False


def status(previous: RLJobStatus, world: JobResources, facts: Facts, now: datetime) -> RLJobStatus:
    """The status of a job that had not ended."""
    outcome, reported, counts = facts.outcome, facts.reported, facts.counts
    word = phase(facts.stage, outcome, world, reported, facts.spec)
    situation = ConditionInputs(
        phase=word,
        outcome=outcome,
        fault=facts.fault,
        waiting=facts.waiting,
        # A pod that recently became not ready may be about to succeed.
        short=[]
        if facts.unsettled and holds(previous, "Ready")
        else roles.short_of(facts.spec, world),
        reported=reported,
        stall=facts.standing.stall,
        keys=facts.keys,
    )
    pods = roles.statuses(world, facts.wanted, counts, facts.waiting)
    before = {role.name: role.restarts for role in previous.role_statuses}
    return RLJobStatus(
        phase=word,
        observed_generation=world.generation,
        conditions=conditions(previous, situation, world.generation, now),
        role_statuses=pods,
        keys_generation=facts.keys.order.current,
        rollout=roles.rollout(world, facts.wanted),
        learner=roles.learner(previous, world, facts.stage, outcome, counts),
        progress=reported.progress,
        policy=reported.policy,
        buffer=reported.buffer,
        applications=reported.applications,
        last_checkpoint=reported.checkpoint,
        evaluation=reported.evaluation,
        hooks=reported.hooks,
        provenance=provenance(previous.provenance, world, reported.report),
        restarts=previous.restarts + sum(r.restarts - before.get(r.name, 0) for r in pods),
        last_failure=failures.last_failure(previous.last_failure, world, facts.standing.failure()),
        start_time=facts.clock.started,
        active_seconds=facts.clock.active,
        resume_time=facts.clock.resumed,
        completion_time=times.rfc3339(now) if outcome else None,
        ledger=counts.ledger.model_copy(
            update={
                "reporter_created": reported.reporter[0],
                "reporter": reported.reporter[1],
                "begun": reported.begun,
                "advanced": facts.standing.advanced,
            }
        ),
    )


def final(previous: RLJobStatus, world: JobResources) -> RLJobStatus:
    """The status of a job that had ended: only the remaining pods change."""
    conditions = [
        found.model_copy(update={"observed_generation": world.generation})
        for found in previous.conditions
    ]
    left = [
        role.model_copy(update={"replicas": 0, "ready_replicas": world.ready(role.name)})
        for role in previous.role_statuses
    ]
    return previous.model_copy(
        update={
            "observed_generation": world.generation,
            "conditions": conditions,
            "role_statuses": left,
            "rollout": roles.rollout(world, {}),
        }
    )
