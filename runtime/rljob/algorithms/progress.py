"""How far a job is, as its schedules see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far the training of a job is.

    Attributes:
        steps: environment steps of the job so far, over all lives of its learner.
        share: share of the stop condition reached, in [0, 1].
    """

    steps: int
    share: float
