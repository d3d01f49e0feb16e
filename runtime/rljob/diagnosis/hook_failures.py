"""Hooks of a job that raised: how, and for how long, it is told. Pure."""

from __future__ import annotations

REASON = "HookFailed"
TOLD_SECONDS = 3600.0
"""Seconds after the newest failure for which it is told."""


def words(count: int, first: str) -> str:
    """One sentence.

    Args:
        first: what was raised first, and where.
    """
    times = "once" if count == 1 else f"{count:,} times"
    return f"hooks failed {times}, and training goes on; the first: {first}"
