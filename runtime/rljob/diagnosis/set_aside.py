"""Batches that were set aside because the learner died of them: how, and for how long, it is told. Pure."""

from __future__ import annotations

REASON = "BatchSetAside"
TOLD_SECONDS = 3600.0
"""Seconds after the newest for which it is told."""


def words(batches: int, where: str) -> str:
    """One sentence.

    Args:
        where: folder of their files.
    """
    some = "1 batch was" if batches == 1 else f"{batches} batches were"
    return f"{some} set aside, because the learner died twice in training on it: see {where}"
