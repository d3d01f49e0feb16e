"""Termination messages of pods."""

from __future__ import annotations

import re

from pydantic import ValidationError

from rljob.spec.status import EndReport
from rljob_operator.decide.job_resources import ContainerEnd

OUT_OF_MEMORY = "OOMKilled"
_LOG_LINE = re.compile(r"[0-9:]{8} \S+ (DEBUG|INFO|WARNING) ")
"""How a role logs; see `rljob.process.context.log_to_stderr`."""
_SIGNALLED = 128
"""Exit codes from here on are of processes that a signal ended, which had no words of their own."""
_WORD = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_LONGEST = 1000
"""Characters kept of a program's output."""


def report(end: ContainerEnd) -> EndReport | None:
    """The report in the termination message of an rljob role; None for any other text."""
    try:
        return EndReport.model_validate_json(end.message)
    except ValidationError:
        return None


def reason(end: ContainerEnd, otherwise: str) -> str:
    """One word for why it ended: the role's reason, if it reported one and was not OOMKilled."""
    told = report(end)
    if told is not None and end.reason != "OOMKilled" and _WORD.fullmatch(told.reason):
        return told.reason
    return otherwise


def words(end: ContainerEnd) -> str:
    """Why it ended: the role's message, or the last line that another program wrote.

    Empty if there is none: a line that a role logged, or any line of a process that a signal ended, tells
    what it did before.
    """
    if end.reason == OUT_OF_MEMORY:
        return "ran out of memory"
    told = report(end)
    if told is not None:
        return told.message.strip()[:_LONGEST]
    lines = [line for line in end.message.splitlines() if not _LOG_LINE.match(line.strip())]
    if end.exit_code >= _SIGNALLED:
        return last_line("\n".join(line for line in lines if line.startswith("Fatal ")))
    return last_line("\n".join(lines))


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LONGEST] if lines else ""


def sentence(end: ContainerEnd) -> str:
    """The message with the exit code."""
    code = f"exit code {end.exit_code}"
    said = words(end)
    return f"{said} ({code})" if said else f"ended with {code}"
