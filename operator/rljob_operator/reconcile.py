"""What is to be done for one RLJob, from what is known of it. Pure: no I/O, no clock.

Level-triggered: it looks at the whole and never at what changed, so it may be called at any time and
any number of times. Called again with the world that it asked for, it asks for nothing.
"""

from __future__ import annotations

from datetime import datetime

from rljob.spec.status import RLJobStatus
from rljob_operator.decision import Decision, Notice, Poll, Reference
from rljob_operator.observed import Observed
from rljob_operator.settings import Settings

__all__ = ["Decision", "Notice", "Poll", "Reference", "reconcile"]


def reconcile(observed: Observed, settings: Settings, now: datetime) -> Decision:
    """What to do for `observed.job` at `now` (with a time zone)."""
    return Decision(status=RLJobStatus.model_validate(observed.job.get("status") or {}))
