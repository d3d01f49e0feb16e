"""How long a job runs, and when and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from rljob.errors import InputError
from rljob.kube.kinds import Manifest
from rljob.spec import RLJobSpec
from rljob.spec.roles import ROLES
from rljob.spec.status import RLJobStatus
from rljob_operator.decide import times
from rljob_operator.decide.decision import Reference
from rljob_operator.decide.drift import reference
from rljob_operator.decide.job_resources import ContainerEnd, JobResources, PodState, at, condition
from rljob_operator.decide.status import endings

Stage = Literal["Active", "Suspended", "Finished"]
"""Desired state: training pods, no pods for now, no pods any more."""
CleanPodPolicy = Literal["Running", "All", "None"]


@dataclass(frozen=True)
class Outcome:
    """The final result of a job."""

    complete: bool
    reason: str
    message: str


@dataclass(frozen=True)
class Clock:
    """Active time of a job, without suspensions.

    Attributes:
        started: when the first pod was requested.
        active: active seconds up to the last start or suspension.
        resumed: time of the last start or resume; None while suspended.
    """

    started: str | None
    active: float
    resumed: str | None

    @classmethod
    def of(cls, status: RLJobStatus) -> Clock:
        return cls(status.start_time, status.active_seconds, status.resume_time)

    def elapsed(self, now: datetime) -> float:
        """Active seconds so far."""
        if self.resumed is None:
            return self.active
        return self.active + max(0.0, (now - times.parse(self.resumed)).total_seconds())

    def running(self, now: datetime) -> Clock:
        """The clock of a job that should train."""
        if self.resumed is not None:
            return self
        time = times.rfc3339(now)
        return Clock(self.started or time, self.active, time)

    def stopped(self, now: datetime) -> Clock:
        """The clock of a job that is suspended or over."""
        if self.resumed is None:
            return self
        return Clock(self.started, round(self.elapsed(now), 3), None)


def finished(status: RLJobStatus) -> Outcome | None:
    """How the job ended, if its status says so. This is final."""
    for found in status.conditions:
        if found.type in ("Complete", "Failed") and found.status == "True":
            return Outcome(found.type == "Complete", found.reason, found.message)
    return None


def learner_outcome(world: JobResources) -> Outcome | None:
    """How the job ended, if its learner has finally ended."""
    job = world.learner_job
    if job is None:
        return None
    pods = world.pods_of(job)
    succeeded = [pod for pod in pods if _well(pod)]
    if succeeded:
        return _complete(succeeded[-1])
    if any(pod.exists and not pod.ended for pod in pods):
        # The Job's end may be known before that of its pod, which has the message.
        return None
    if condition(job, "Complete"):
        return Outcome(True, "Complete", "The learner succeeded.")
    failed = condition(job, "Failed")
    return _failed(failed, [pod for pod in pods if pod.ended]) if failed else None


def input_outcome(world: JobResources, begun: bool) -> Outcome | None:
    """How the job ended, if a role rejected its input: a retry would not help.

    For a role whose failures count, its Job says so, see `learner_outcome`.
    """
    if begun:
        return None
    for role, definition in ROLES.items():
        if definition.counts_failures:
            continue
        ends = [pod.ends[-1] for pod in world.alive(role) if pod.ends]
        wrong = next((end for end in ends if _wrong_input(end)), None)
        if wrong is not None:
            return Outcome(False, "InvalidSpec", f"{role}: {endings.sentence(wrong)}")
    return None


def deadline_outcome(
    spec: RLJobSpec, clock: Clock, begun: bool, why: str, now: datetime
) -> Outcome | None:
    """How the job ended, if a deadline has passed.

    Args:
        begun: whether training has started.
        why: what the job waits for, if known.
    """
    limit = spec.active_deadline_seconds
    if limit is not None and clock.elapsed(now) >= limit:
        return Outcome(False, "DeadlineExceeded", f"The job ran for longer than {limit} s.")
    limit = spec.pending_deadline_seconds
    if limit is not None and not begun and clock.elapsed(now) >= limit:
        message = f"Training did not start within {limit} s"
        return Outcome(
            False, "PendingDeadlineExceeded", f"{message}: {why}" if why else f"{message}."
        )
    return None


def next_deadline(spec: RLJobSpec, clock: Clock, begun: bool, now: datetime) -> float | None:
    """Seconds until the result of `deadline_outcome` changes by time alone."""
    limits = [spec.active_deadline_seconds, None if begun else spec.pending_deadline_seconds]
    given = [limit for limit in limits if limit is not None]
    if not given or clock.resumed is None:
        return None
    return max(0.0, min(given) - clock.elapsed(now))


def expires_in(ttl: int | None, status: RLJobStatus, now: datetime) -> float | None:
    """Seconds until a finished job is deleted; 0 if it is due, None if it is kept."""
    if ttl is None or status.completion_time is None:
        return None
    end = times.parse(status.completion_time) + timedelta(seconds=ttl)
    return max(0.0, (end - now).total_seconds())


def suspended(world: JobResources) -> tuple[Reference, ...]:
    """Objects to delete when a job is suspended: all that create pods."""
    return tuple(reference(child) for child in world.workloads())


def leftovers(world: JobResources, policy: CleanPodPolicy) -> tuple[Reference, ...]:
    """Objects to delete when a job has ended.

    A learner that has ended is kept for its log, unless the policy is All. A learner that still runs,
    because a deadline passed, is stopped with any policy.
    """
    return tuple(
        reference(child)
        for child in world.workloads()
        if (policy == "All")
        or (child["kind"] == "Job" and not _over(world, child, policy))
        or (child["kind"] != "Job" and policy == "Running")
    )


def _over(world: JobResources, job: Manifest, policy: CleanPodPolicy) -> bool:
    """Whether no pod of this Job runs or will run; where a learner ended by itself, sidecars may still run."""
    if condition(job, "Complete") or condition(job, "Failed"):
        return True
    pods = world.pods_of(job)
    if not any(_well(pod) for pod in pods):
        return False
    return policy == "None" or not any(_runs(pod) for pod in pods)


def _runs(pod: PodState) -> bool:
    return pod.exists and any(at(c, "state", "running") is not None for c in pod.containers)


def _well(pod: PodState) -> bool:
    """Whether the learner in it reached its stop condition."""
    return pod.end is not None and pod.end.exit_code == 0


def _complete(pod: PodState) -> Outcome:
    """Of a learner that ended by itself: it says whether the job reached what it has to."""
    end = pod.end
    assert end is not None
    reason = endings.reason(end, "Complete")
    told = endings.report(end)
    complete = told is None or told.outcome != "Failed"
    return Outcome(complete, reason, endings.words(end) or "The learner succeeded.")


def _wrong_input(end: ContainerEnd) -> bool:
    # Any program may exit with 2; only an rljob role reports InputError.
    return (
        not end.init
        and end.exit_code == InputError.exit_code
        and endings.reason(end, "") == InputError.__name__
    )


def _failed(job_failed: Manifest, pods: list[PodState]) -> Outcome:
    """The Job's reason, or InvalidSpec if its pod rejected its input."""
    reason = str(job_failed.get("reason") or "Failed")
    ends = [end for pod in pods for end in pod.ends if end.exit_code != 0]
    end = max(ends, key=lambda end: end.finished, default=None)
    if end is None:
        return Outcome(False, reason, str(job_failed.get("message") or ""))
    if end.exit_code == InputError.exit_code:
        return Outcome(False, "InvalidSpec", endings.sentence(end))
    return Outcome(
        False, reason, f"The learner failed too often; last failure: {endings.sentence(end)}"
    )
