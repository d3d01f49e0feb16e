"""End report of a role as a small JSON file.

In a pod it is the termination message, of which Kubernetes keeps 4096 bytes. On one machine, the
supervisor names the file.
"""

from __future__ import annotations

import bisect
import json
from pathlib import Path

from pydantic import Field, ValidationError

from rljob.errors import InputError, RLJobError, RunError
from rljob.spec.invalid import Invalid
from rljob.spec.status import EndReport, StatusSection

MOST_BYTES = 4096
_INPUT = "InputError"


class Problem(StatusSection):
    """One input problem; see `InputError`."""

    message: str
    path: str = ""
    file: str = ""
    line: int | None = None


class EndFile(EndReport):
    """The end report, with all problems of an invalid input."""

    problems: list[Problem] = Field(default_factory=list)

    @property
    def error(self) -> RLJobError | None:
        """The error of the role; None without one."""
        if self.outcome != "Failed":
            return None
        if self.reason != _INPUT:
            return RunError(self.message)
        problems = [
            InputError(p.message, path=p.path, file=p.file, line=p.line) for p in self.problems
        ]
        if len(problems) > 1:
            return Invalid(problems)
        return problems[0] if problems else InputError(self.message)


def failed(error: Exception) -> EndFile:
    """The end report of a role that raised `error`."""
    kind = type(error).__name__
    if not isinstance(error, InputError):
        message = str(error) if isinstance(error, RLJobError) else f"{kind}: {error}"
        return EndFile(outcome="Failed", reason=kind, message=message)
    found = error.problems if isinstance(error, Invalid) else (error,)
    problems = [Problem(message=p.message, path=p.path, file=p.file, line=p.line) for p in found]
    return EndFile(outcome="Failed", reason=_INPUT, message=str(error), problems=problems)


def write(path: Path, end: EndReport) -> None:
    """Write the report to `path`, replacing a file; cut to `MOST_BYTES`, least important parts first.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_bytes(_fitting(end))


def take(path: Path) -> EndFile | None:
    """Read the report and delete the file; None if the file is missing or invalid."""
    try:
        end = EndFile.model_validate_json(path.read_bytes())
        path.unlink()
    except (OSError, ValidationError):
        return None
    return end


def _fitting(end: EndReport) -> bytes:
    data = _encode(end)
    if len(data) > MOST_BYTES and end.report is not None:
        end = end.model_copy(update={"report": end.report.model_copy(update={"versions": {}})})
        data = _encode(end)
    while len(data) > MOST_BYTES and isinstance(end, EndFile) and end.problems:
        end = end.model_copy(update={"problems": end.problems[:-1]})
        data = _encode(end)
    if len(data) > MOST_BYTES:
        kept = bisect.bisect(
            range(len(end.message)), MOST_BYTES, key=lambda size: len(_encode(_cut(end, size)))
        )
        data = _encode(_cut(end, kept - 1))
    return data


def _cut(end: EndReport, size: int) -> EndReport:
    return end.model_copy(update={"message": f"{end.message[:size]}…"})


def _encode(end: EndReport) -> bytes:
    value = end.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(value, ensure_ascii=False).encode(errors="replace") + b"\n"
