"""Exceptions of rljob and their exit codes.

RLJobError                 base class of all errors that rljob raises
├── InputError   exit 2    invalid input; nothing was started
└── RunError     exit 1    a failure at run time
    └── UserCodeError      code of the user raised
"""

from __future__ import annotations

INTERRUPTED = 75
"""Exit code of a learner that was stopped before its job's stop condition. It continues when it is
started again. (EX_TEMPFAIL of sysexits.h: "the user is invited to retry".)"""


class RLJobError(Exception):
    """Base class; `exit_code` is the exit code of the command."""

    exit_code = 1


class InputError(RLJobError):
    """Invalid input.

    Args:
        message: the problem, the value and the allowed values.
        path: dotted path of the field below `spec`, e.g. `algorithm.config.clip`.
        file: the input file, if any.
        line: 1-based line of the field in that file, if known.
    """

    exit_code = 2

    def __init__(
        self, message: str, *, path: str = "", file: str = "", line: int | None = None
    ) -> None:
        self.message, self.path, self.file, self.line = message, path, file, line
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else self.file
        return ": ".join(part for part in (where, self.path, self.message) if part)


class RunError(RLJobError):
    """A failure at run time; the message contains the cause and a remedy."""


class UserCodeError(RunError):
    """Code of the user raised, or ended the process.

    Args:
        message: who raised what, and where.
        trace: the traceback from the first frame of the user's code on; may be empty.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


class AskedToEnd(BaseException):
    """A request to stop, raised within `Stopping.at_once`. `except Exception` does not catch it."""
