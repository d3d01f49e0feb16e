"""What the handles of all jobs have."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, get_args

from rljob.errors import InputError
from rljob.handles.status import JobFailed, JobStatus
from rljob.spec.invalid import nearest
from rljob.spec.roles import RoleName

if TYPE_CHECKING:
    import numpy as np

    from rljob.local.result import Result
    from rljob.policies.loaded import TrainedPolicy
    from rljob.run_folder.record import Record

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks of `wait`: they grow from the first to the longest."""
MOST_REPLICAS = 10_000


class LogText(str):
    """The text of a log, which shows itself without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class JobHandle(ABC):
    """A job on a cluster, or a run on this machine.

    A handle holds no resources: the job goes on when the handle is forgotten, and when Python ends. An interrupt (Ctrl-C) of
    a method ends the method, never the job.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    @abstractmethod
    def status(self) -> JobStatus:
        """The status now."""

    @abstractmethod
    def logs(self, role: str | None = None, *, tail: int | None = None) -> LogText:
        """The logs of a role, or of all roles.

        Args:
            role: `rollout`, `buffer`, `learner` or `evaluator`; None for all, each below a line with its name.
            tail: number of last lines of each log; None for all.

        Raises:
            InputError: there is no such role.
        """

    @abstractmethod
    def scale(self, replicas: int) -> None:
        """Change the number of rollouts while the job trains.

        Raises:
            InputError: not a whole number from 1 to 10,000, or only applications feed the job.
            RunError: the job has ended.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop the job and keep its checkpoint; `resume` continues it."""

    @abstractmethod
    def resume(self) -> None:
        """Continue a stopped job from its newest checkpoint. A job that is not stopped stays as it is."""

    @abstractmethod
    def delete(self) -> None:
        """End the job and delete all that it has: its processes or pods, records and checkpoints."""

    @abstractmethod
    def result(self) -> Result:
        """The result of a job that has ended.

        Raises:
            InputError: the job has not ended.
        """

    @abstractmethod
    def policy(self, seed: int | None = None) -> TrainedPolicy:
        """The newest policy, verified, as `rljob.load_policy` returns it: it acts in numpy.

        Args:
            seed: of actions that are drawn; None takes fresh entropy.

        Raises:
            InputError: there is no policy yet.
            RunError: the policy is damaged, or cannot be fetched.
        """

    @abstractmethod
    def history(self) -> dict[str, np.ndarray]:
        """The records of the training so far, as `Result.history`."""

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait until the job has ended, and return its status then.

        Args:
            timeout: seconds; None waits without a limit.

        Raises:
            JobFailed: the job failed.
            TimeoutError: the job has not ended in that time.
        """
        deadline = None if timeout is None else time.monotonic() + _seconds(timeout)
        pause = FIRST_PAUSE
        while True:
            status = self._look()
            if status is not None and status.phase == "Failed":
                raise JobFailed(status)
            if status is not None and status.ended:
                return status
            left = pause if deadline is None else deadline - time.monotonic()
            if left <= 0:
                known = status.summary if status is not None else "no answer"
                raise TimeoutError(f"{self.name} has not ended within {timeout} s: {known}")
            time.sleep(min(pause, left))
            pause = min(LONGEST_PAUSE, pause * 1.5)

    @abstractmethod
    def records(self) -> Iterator[Sequence[Record]]:
        """The records of the training: each step of the iterator has those since the one before, and never ends."""

    def _repr_html_(self) -> str:
        from rljob.handles.notebook import HandleView

        return HandleView(self).html()

    def _ipython_display_(self) -> None:
        from rljob.handles.notebook import show

        show(self)

    def _look(self) -> JobStatus | None:
        """The status; None if the job cannot be asked at this moment."""
        return self.status

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def replicas_of(value: Any) -> int:
    """A number of rollouts.

    Raises:
        InputError: it is not a whole number from 1 to 10,000.
    """
    if type(value) is not int or not 1 <= value <= MOST_REPLICAS:
        raise InputError(
            f"replicas: {value!r} is not allowed; a whole number from 1 to {MOST_REPLICAS:,}"
        )
    return value


def role_of(value: Any) -> RoleName:
    """A role by its name.

    Raises:
        InputError: there is no such role.
    """
    known = get_args(RoleName)
    if value not in known:
        near = nearest(value, known) if isinstance(value, str) else None
        hint = f"Did you mean {near}?" if near else f"Roles: {', '.join(known)}"
        raise InputError(f"role: {value!r} is not a role of rljob. {hint}")
    found: RoleName = value
    return found


def lines_of(value: Any) -> int | None:
    """A number of lines.

    Raises:
        InputError: it is neither None nor a whole number of 0 or more.
    """
    if value is not None and (type(value) is not int or value < 0):
        raise InputError(f"tail: {value!r} is not allowed; None or a whole number of 0 or more")
    found: int | None = value
    return found


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InputError(f"timeout: {value!r} is not allowed; None or seconds of 0 or more")
    return float(value)
