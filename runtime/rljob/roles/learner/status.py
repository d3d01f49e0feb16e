"""The learner's report at `/status` and at its end, with rounded numbers."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from rljob.checkpoints.manifest import Checkpoint
from rljob.process.context import RoleContext
from rljob.roles.learner.progress import TrainingProgress
from rljob.run_folder.applications import applications_status
from rljob.run_folder.provenance import versions
from rljob.run_folder.record import Record
from rljob.spec.status import (
    ApplicationsStatus,
    BufferStatus,
    CheckpointStatus,
    EvaluationStatus,
    HookStatus,
    LagStatus,
    LearnerReport,
    PolicyStatus,
    ProgressStatus,
)
from rljob.wire.evaluated import PlayedPolicy


class LearnerReporter:
    """Keeps `context.report` up to date."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._versions = versions()
        self._evaluation: EvaluationStatus | None = None
        self._hooks: HookStatus | None = None

    def starts(self, progress: TrainingProgress, saved: Checkpoint | None) -> None:
        """Nothing was trained yet: the learner begins, or goes on from `saved`."""
        reached = ProgressStatus(
            steps=progress.steps,
            episodes=progress.episodes,
            updates=progress.updates,
            mean_return=_score(progress.mean_return),
            best_return=_score(progress.best_return),
            seconds=round(progress.seconds, 1),
        )
        version = 0 if saved is None else saved.version
        self._tell(reached, PolicyStatus(version=version), BufferStatus(), saved)

    def trains(self, record: Record, saved: Checkpoint | None) -> None:
        """Say the same as a line of `metrics.jsonl`."""
        reached = ProgressStatus(
            steps=record.steps,
            episodes=record.episodes,
            updates=record.updates,
            mean_return=_score(record.mean_return),
            best_return=_score(record.best_return),
            steps_per_second=round(record.steps_per_second or 0),
            updates_per_second=round(record.updates_per_second or 0.0, 1),
            seconds=round(record.seconds, 1),
        )
        if (failed := record.hook_failures) is not None:
            time = _rfc3339(failed.time)
            self._hooks = HookStatus(failures=failed.count, message=failed.message, time=time)
        policy = PolicyStatus(
            version=record.policy_version or 0,
            lag=LagStatus(p50=record.lag_p50 or 0, p95=record.lag_p95 or 0, bound=record.lag_bound),
        )
        buffer = BufferStatus(
            fill=round(record.buffer_fill, 2),
            dropped=record.evicted,
            duplicates=record.duplicates,
            set_aside=record.set_aside,
            set_aside_time=_rfc3339(record.set_aside_last) if record.set_aside else None,
            rollouts_waiting=round(record.rollouts_waiting, 2),
            learner_waiting=round(record.learner_waiting, 2),
        )
        self._tell(reached, policy, buffer, saved, _applications(record))

    def evaluated(self, played: PlayedPolicy) -> None:
        """An evaluator has played a policy version."""
        if not (math.isfinite(played.mean) and math.isfinite(played.std)):
            return
        self._evaluation = EvaluationStatus(
            policy_version=played.version,
            mean=played.mean,
            std=played.std,
            episodes=played.episodes,
        )

    def _tell(
        self,
        progress: ProgressStatus,
        policy: PolicyStatus,
        buffer: BufferStatus,
        saved: Checkpoint | None,
        applications: ApplicationsStatus | None = None,
    ) -> None:
        if applications is None and self._context.job.spec.rollout.applications is not None:
            applications = ApplicationsStatus()
        self._context.report = LearnerReport(
            progress=progress,
            policy=policy,
            buffer=buffer,
            applications=applications,
            last_checkpoint=None if saved is None else self._checkpoint(saved),
            evaluation=self._evaluation,
            hooks=self._hooks,
            seed=self._context.seed,
            versions=self._versions,
        )

    def _checkpoint(self, saved: Checkpoint) -> CheckpointStatus:
        root, path = self._context.folder, saved.path
        return CheckpointStatus(
            step=saved.steps,
            policy_version=saved.version,
            time=saved.time.replace("+00:00", "Z"),
            path=str(path.relative_to(root) if path.is_relative_to(root) else path),
            sha256=saved.sha256,
            # It was read back before it got its name, or before training went on from it.
            verified=True,
        )


def _applications(record: Record) -> ApplicationsStatus | None:
    """None where there never was one."""
    if not record.applications and not record.applications_connected:
        return None
    return applications_status(record)


def _rfc3339(seconds: float) -> str:
    """A Unix time as Kubernetes writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _score(value: float | None) -> float | None:
    """One decimal; more for a small return, of which that would leave little."""
    if value is None or not math.isfinite(value):
        return None
    return round(value, 1 if abs(value) >= 10 else 3)
