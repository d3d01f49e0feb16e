"""Whose turn it is in a simulated job, by the limiters of the buffer. Pure."""

from __future__ import annotations

import math

from rljob.plan.measured import OnPolicyUse, ReplayUse
from rljob.roles.buffer.limiter import OnPolicyLimiter, ReplayLimiter


class OnPolicyPace:
    """Credit and delivery of on-policy experience.

    Attributes:
        in_flight: segments that may be granted or stored at a time, at most.
    """

    def __init__(self, use: OnPolicyUse, batch: int, strict: bool) -> None:
        self._limiter = OnPolicyLimiter(batch, 0 if strict else use.max_policy_lag)
        self.in_flight = self._limiter.room(0, 0, 0, 0)

    def inserted(self, steps: float) -> None: ...

    def may_deliver(self, stored: int) -> bool:
        return stored > 0

    def delivered(self) -> None: ...

    def room(self, position: int, stored: int, granted: int, version: int) -> int:
        return self._limiter.room(position, stored, granted, version)


class ReplayPace:
    """Credit and delivery of replay, its store long filled.

    Attributes:
        in_flight: segments that may be granted at a time, at most.
    """

    def __init__(self, use: ReplayUse, segment: int, strict: bool) -> None:
        self._chunk = use.updates_per_publish * use.batch_size
        self._limiter = ReplayLimiter(use.samples_per_insert, 0, self._chunk, segment, strict)
        self._inserted, self._sampled = 0.0, 0
        # From one edge of the band to the other.
        self.in_flight = max(
            1, math.ceil(2 * self._limiter.band / use.samples_per_insert / segment)
        )

    def inserted(self, steps: float) -> None:
        self._inserted += steps

    def may_deliver(self, stored: int) -> bool:
        return self._inserted > 0 and self._limiter.may_sample(int(self._inserted), self._sampled)

    def delivered(self) -> None:
        self._sampled += self._chunk

    def room(self, position: int, stored: int, granted: int, version: int) -> int:
        return self._limiter.room(int(self._inserted), granted, self._sampled)
