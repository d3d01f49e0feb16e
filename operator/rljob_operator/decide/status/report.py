"""The learner's report: progress, policy, buffer, the newest checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rljob.spec.status import (
    ApplicationsStatus,
    BufferStatus,
    CheckpointStatus,
    EvaluationStatus,
    HookStatus,
    LearnerReport,
    Ledger,
    PolicyStatus,
    ProgressStatus,
    RLJobStatus,
)
from rljob_operator.decide.job_resources import JobResources
from rljob_operator.decide.observed import Polled
from rljob_operator.decide.status import endings


@dataclass(frozen=True)
class Reported:
    """The numbers of the status.

    Attributes:
        reporter: creation time and name of the pod that reported them.
        begun: whether any step was trained on.
        report: the report itself, if there is one now.
        lost: steps lost by a new learner; usually 0.
    """

    progress: ProgressStatus | None
    policy: PolicyStatus | None
    buffer: BufferStatus | None
    checkpoint: CheckpointStatus | None
    evaluation: EvaluationStatus | None
    hooks: HookStatus | None
    applications: ApplicationsStatus | None
    reporter: tuple[str, str]
    begun: bool
    report: LearnerReport | None = None
    lost: int = 0

    @classmethod
    def before(cls, previous: RLJobStatus) -> Reported:
        """The numbers of the previous status."""
        ledger = previous.ledger or Ledger()
        return cls(
            progress=previous.progress,
            policy=previous.policy,
            buffer=previous.buffer,
            checkpoint=previous.last_checkpoint,
            evaluation=previous.evaluation,
            hooks=previous.hooks,
            applications=previous.applications,
            reporter=(ledger.reporter_created, ledger.reporter),
            begun=ledger.begun,
        )

    @property
    def steps(self) -> int:
        return self.progress.steps if self.progress else 0


def merge(previous: RLJobStatus, world: JobResources, polled: Polled | None) -> Reported:
    """Take the newest report. Steps decrease only if a new learner resumes from an earlier step."""
    before = Reported.before(previous)
    newest = max(_reports(world, polled), key=lambda found: found[:2], default=None)
    if newest is None or newest[0] < before.reporter:
        return before
    reporter, _, report = newest
    lost = before.steps - report.progress.steps
    if lost > 0 and reporter == before.reporter:
        # An older answer that arrived late.
        return before
    return Reported(
        progress=report.progress,
        policy=report.policy,
        buffer=report.buffer,
        checkpoint=report.last_checkpoint or before.checkpoint,
        evaluation=report.evaluation or before.evaluation,
        hooks=report.hooks or before.hooks,
        applications=report.applications,
        reporter=reporter,
        begun=before.begun or report.progress.steps > 0,
        report=report,
        lost=max(0, lost),
    )


def _reports(
    world: JobResources, polled: Polled | None
) -> Iterator[tuple[tuple[str, str], bool, LearnerReport]]:
    """All available reports: creation time and name of the pod, whether it is final, and the report."""
    for pod in world.of_role("learner"):
        told = endings.report(pod.end) if pod.end else None
        if told is not None and told.report is not None:
            yield (pod.created, pod.name), True, told.report
        if polled is not None and polled.pod == pod.name:
            yield (pod.created, pod.name), False, polled.report
