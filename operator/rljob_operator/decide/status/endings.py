"""Termination messages of pods."""

from __future__ import annotations

import re

from pydantic import ValidationError

from rljob.spec.status import EndReport
from rljob_operator.decide.job_resources import ContainerEnd

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
    """The role's message, or the last line of any other program."""
    told = report(end)
    return last_line(end.message) if told is None else told.message.strip()[:_LONGEST]


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LONGEST] if lines else ""


def sentence(end: ContainerEnd) -> str:
    """The message with the exit code."""
    code = f"exit code {end.exit_code}"
    said = words(end)
    return f"{said} ({code})" if said else f"ended with {code}"
