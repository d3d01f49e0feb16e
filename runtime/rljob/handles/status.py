"""Status of a job, on a cluster or on this machine."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from rljob.errors import RunError
from rljob.run_folder.record import Record
from rljob.show.view.figures import count, score

ENDED = ("Complete", "Failed", "Stopped")


@dataclass(frozen=True)
class JobStatus:
    """Status of a job at one moment.

    Attributes:
        name: name of the job.
        phase: `Pending`, `Starting`, `Training`, `Suspending`, `Suspended` or `Terminating`; at the end `Complete`, `Failed`,
            or `Stopped` for a run on this machine that was stopped.
        reason: one word for the end, or for what keeps the job from training; empty without one.
        message: the same in a sentence.
        steps: environment steps.
        mean_return: of the last 100 training episodes; None before the first one ended.
        best_return: the highest such mean.
        seconds: spent training.
        policy_version: of the newest policy; None before the first.
        checkpoint_step: environment steps at the newest checkpoint; None without one.
        rollouts: desired rollouts.
        rollouts_ready: rollouts that work.
        restarts: restarts of all roles so far.
    """

    name: str
    phase: str
    reason: str = ""
    message: str = ""
    steps: int = 0
    episodes: int = 0
    updates: int = 0
    mean_return: float | None = None
    best_return: float | None = None
    seconds: float = 0.0
    steps_per_second: float | None = None
    updates_per_second: float | None = None
    policy_version: int | None = None
    checkpoint_step: int | None = None
    rollouts: int = 0
    rollouts_ready: int = 0
    restarts: int = 0

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.phase in ENDED

    @property
    def summary(self) -> str:
        """`Training, step 98,304, return 452.1, 48,210 steps/s`."""
        parts = [self.phase if not self.reason else f"{self.phase} ({self.reason})"]
        if self.steps:
            parts += [f"step {count(self.steps)}", f"return {score(self.mean_return)}"]
        if self.steps_per_second and not self.ended:
            parts.append(f"{count(self.steps_per_second)} steps/s")
        return ", ".join(parts)

    @classmethod
    def of(cls, record: Record, **known: Any) -> JobStatus:
        """From a record of the learner, and what it does not have."""
        names = {each.name for each in fields(cls)} & {each.name for each in fields(Record)}
        return cls(**{name: getattr(record, name) for name in names}, **known)


class JobFailed(RunError):
    """A job that was waited for has failed.

    Attributes:
        status: its last status.
    """

    def __init__(self, status: JobStatus) -> None:
        super().__init__(f"{status.name} failed: {status.reason}: {status.message}".rstrip(": "))
        self.status = status
