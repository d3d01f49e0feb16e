"""The known state of a job at one moment, local or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.stall import Stall, diagnose, waits_for_applications
from rljob.spec import RLJobSpec
from rljob.spec.roles import RoleName
from rljob.spec.status import ApplicationsStatus, CheckpointStatus, Failure, ProgressStatus

TRAINING = "Training"
OVER = ("Complete", "Failed", "Stopped")


@dataclass(frozen=True)
class RoleCount:
    """One role as a whole.

    Attributes:
        reason, message: why some of it is not ready, in Kubernetes' own words; empty when all is.
    """

    role: RoleName
    wanted: int
    ready: int
    restarts: int = 0
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Situation:
    """A job.

    Attributes:
        place: where it trains: a folder, or a namespace.
        local: whether on this machine.
        phase: one word, as in the status of a cluster's job; `Stopped` for a run that was.
        reason, message: how it ended, or why it does not go on; empty when neither is so.
        managed_by: the controller of the job, if it is not rljob's operator.
        unseen: no operator has looked at its newest change yet.
        stall: cause of the stall, if it makes no progress.
        blocked_seconds: for how long it does not go on, for `reason`; None when unknown.
        silent_seconds: seconds since its last progress; None when unknown.
        lag: policy versions by which experience was behind: median, 95th percentile, bound.
        checkpoint_age: seconds since the newest checkpoint.
        applications: those that feed it; None where it takes none, or nothing is known.
        unreached: why processes could not be probed, if so.
    """

    name: str
    place: str
    local: bool
    phase: str
    spec: RLJobSpec | None = None
    reason: str = ""
    message: str = ""
    managed_by: str = ""
    unseen: bool = False
    blocked_seconds: float | None = None
    stall: Stall | None = None
    silent_seconds: float | None = None
    roles: Sequence[RoleCount] = ()
    processes: Sequence[RoleProbe] = ()
    progress: ProgressStatus | None = None
    lag: tuple[int, int, int | None] | None = None
    fill: float | None = None
    checkpoint: CheckpointStatus | None = None
    checkpoint_age: float | None = None
    last_failure: Failure | None = None
    unreached: str = ""
    applications: ApplicationsStatus | None = None

    @property
    def fed_by_applications_alone(self) -> bool:
        return self.spec is not None and not self.spec.environment.played

    @property
    def silent_applications(self) -> float | None:
        """Seconds since the newest segment of any application; None before the first."""
        known = self.applications.busiest if self.applications is not None else []
        return min(
            (each.silent_seconds for each in known if each.silent_seconds >= 0), default=None
        )

    def of_role(self, role: RoleName) -> list[RoleProbe]:
        return [process for process in self.processes if process.role == role]


def stall_of(
    processes: Sequence[RoleProbe],
    silent: float | None,
    least: float,
    timeout: float,
    spec: RLJobSpec | None = None,
) -> Stall | None:
    """The cause of a stall of a job that made no progress for `silent` seconds, if there is one.

    Args:
        least: seconds of silence below which nothing is asked.
        timeout: the job's `stall.timeout`, before which only what hangs counts: what is at work may
            just be slow.
        spec: of the job, if it is known: one that only applications feed may wait for them as long as it takes.
    """
    if silent is None or silent < least or not processes:
        return None
    alone = spec is not None and not spec.environment.played
    if alone and waits_for_applications(processes, silent):
        return None
    found = diagnose(processes, silent)
    return found if found.stuck or silent >= timeout else None
