"""The two ways in which rljob says no.

RLJobError                 base of everything that rljob raises on purpose
├── InputError   exit 2    what the user wrote cannot be run; nothing was started
└── RunError     exit 1    something failed while running
"""

from __future__ import annotations

INTERRUPTED = 75
"""Exit code of a learner that was asked to end before its job's stop condition; started again, it goes
on. (EX_TEMPFAIL of sysexits.h: "the user is invited to retry".)"""


class RLJobError(Exception):
    """Base class; `exit_code` is what the command ends with."""

    exit_code = 1


class InputError(RLJobError):
    """Input that cannot be run.

    Args:
        message: what is wrong, with the value and what is allowed instead.
        path: the field, dotted as in the YAML below `spec`, e.g. `algorithm.config.clip`.
        file: the file that was read, if any.
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
    """A run that could not go on; the message says why and what to try."""
