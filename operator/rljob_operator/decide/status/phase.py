"""The phase: a summary of the conditions in one word."""

from __future__ import annotations

from rljob.spec import RLJobSpec
from rljob.spec.roles import needed
from rljob.spec.status import Phase
from rljob_operator.decide.job_resources import JobResources
from rljob_operator.decide.lifecycle import Outcome, Stage
from rljob_operator.decide.status.report import Reported

STANDING = ("Suspending", "Suspended")
"""Phases of a job that wants no pods for now."""


def phase(
    stage: Stage,
    outcome: Outcome | None,
    world: JobResources,
    reported: Reported,
    spec: RLJobSpec | None,
) -> Phase:
    """The current phase.

    Training requires a report of the running learner, so a restarted learner must report again. Restarts of
    rollouts and buffer do not change the phase.
    """
    if outcome is not None:
        return "Complete" if outcome.complete else "Failed"
    if stage == "Suspended":
        left = any(pod.exists for pod in world.pods) or any(world.workloads())
        return "Suspending" if left else "Suspended"
    learner = world.learner
    if learner is not None and learner.name == reported.reporter[1] and reported.steps > 0:
        return "Training"
    return "Starting" if all(world.running(role) for role in needed(spec)) else "Pending"
