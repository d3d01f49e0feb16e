"""Hooks of a job that raised, as something that is told of its learner."""

from __future__ import annotations

from datetime import datetime, timedelta

from rljob.diagnosis import hook_failures
from rljob.spec.status import HookStatus
from rljob_operator.decide import times
from rljob_operator.decide.waiting import Waiting


def recent(failed: HookStatus | None, now: datetime) -> tuple[Waiting, float] | None:
    """What is told of the learner, and seconds until it is told no more; None without failures."""
    if failed is None:
        return None
    end = times.parse(failed.time) + timedelta(seconds=hook_failures.TOLD_SECONDS)
    left = (end - now).total_seconds()
    if left <= 0:
        return None
    text = hook_failures.words(failed.failures, failed.message)
    return Waiting(hook_failures.REASON, text), left
