"""Reads the previous status, and decides whether to write the new one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from rljob.spec.status import RLJobStatus


def read(raw: dict[str, Any] | None) -> RLJobStatus:
    """The stored status; parts of another version that cannot be read are dropped."""
    raw = raw or {}
    try:
        return RLJobStatus.model_validate(raw)
    except ValidationError:
        return RLJobStatus.model_validate({k: v for k, v in raw.items() if _readable(k, v)})


def significant(before: RLJobStatus, after: RLJobStatus) -> bool:
    """Whether anything other than numbers changed."""
    return (
        before.phase != after.phase
        or before.observed_generation != after.observed_generation
        or _truths(before) != _truths(after)
    )


def due_in(written: datetime | None, every: float, now: datetime) -> float:
    """Seconds until numbers may be written again; 0 if now."""
    if written is None:
        return 0.0
    return max(0.0, every - (now - written).total_seconds())


def _readable(name: str, value: Any) -> bool:
    try:
        RLJobStatus.model_validate({name: value})
    except ValidationError:
        return False
    return True


def _truths(status: RLJobStatus) -> list[tuple[str, str, str]]:
    return [(found.type, found.status, found.reason) for found in status.conditions]
