"""What a role waits for, and when that is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rljob.diagnosis import advice
from rljob.spec.roles import RoleName


@dataclass(frozen=True)
class Waiting:
    """What a role waits for.

    The message must not change by time alone: each change of a condition's reason makes an Event, and each
    change of a message a write.

    Attributes:
        reason: one word, Kubernetes' own where it has one.
        message: a sentence.
        since: when it began, RFC 3339; empty if that is not known.
    """

    reason: str
    message: str
    since: str = ""

    def of(self, role: RoleName) -> Waiting:
        """The same for a condition and its Event: the role, since when, and what to do."""
        text = f"{role}: {self.message}"
        if self.since:
            text = f"{text.rstrip('.')} (since {self.since})"
        what = advice.for_reason(self.reason, role)
        return Waiting(self.reason, f"{text.rstrip('.')}; {what}" if what else text)


@dataclass(frozen=True)
class Due:
    """A problem that is told from a time on, in case it resolves by itself before."""

    at: datetime
    waiting: Waiting
