"""How far training has got, for schedules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far training has got.

    Attributes:
        steps: environment steps of the job.
        share: of the stop condition that is reached, in [0, 1].
        updates: that were made before this one.
    """

    steps: int
    share: float
    updates: int = 0
