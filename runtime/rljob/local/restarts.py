"""When a role that died is started again, and when that has become pointless. Pure.

Dying is normal: what counts is whether the run got anywhere since the last time.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY = 0.2
LONGEST_DELAY = 5.0
"""Seconds before a restart: the first, and doubled each time up to the longest."""
MOST_DEATHS = 5
WINDOW_SECONDS = 60.0
"""More deaths of a rollout or buffer than this, each within so long of the last, are a crash loop."""


@dataclass(frozen=True)
class RunPosition:
    """How far the run has come: environment steps, and the policy version of the last checkpoint."""

    steps: int = 0
    checkpoint: int = -1

    def beyond(self, other: RunPosition) -> bool:
        """Whether anything was reached that `other` had not."""
        return self.steps > other.steps or self.checkpoint > other.checkpoint

    def furthest(self, other: RunPosition) -> RunPosition:
        """A learner that resumed starts behind; what was reached stays reached."""
        return RunPosition(max(self.steps, other.steps), max(self.checkpoint, other.checkpoint))


@dataclass(frozen=True)
class RestartDecision:
    """What to do about a death.

    Attributes:
        deaths: how many there were without progress, this one included.
        delay: seconds until the role is started again; None when that would be pointless.
    """

    deaths: int
    delay: float | None


@dataclass
class Restarts:
    """One role's history.

    Args:
        most: deaths without progress after which the role is started again.
        window: a death this many seconds after the last one is the first again; None for never.
        attempt: how often the role was started again.
    """

    most: int
    window: float | None
    attempt: int = 0
    _deaths: int = 0
    _last: float = float("-inf")
    _mark: RunPosition = RunPosition()

    def died(self, mark: RunPosition, now: float) -> RestartDecision:
        """Take a death at time `now` in seconds, when the run had come as far as `mark`."""
        quiet = self.window is not None and now - self._last > self.window
        self._deaths = 1 if quiet or mark.beyond(self._mark) else self._deaths + 1
        self._mark, self._last = mark, now
        if self._deaths > self.most:
            return RestartDecision(self._deaths, None)
        self.attempt += 1
        return RestartDecision(
            self._deaths, min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (self._deaths - 1))
        )
