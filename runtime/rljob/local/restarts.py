"""Decides whether and when to restart a role that died. Pure.

Deaths are expected. The decision depends on the progress of the run since the last death.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY = 0.2
LONGEST_DELAY = 5.0
"""Seconds before a restart: the first delay doubles each time up to the longest."""
MOST_DEATHS = 5
WINDOW_SECONDS = 60.0
"""More than `MOST_DEATHS` deaths of a rollout or buffer, each within `WINDOW_SECONDS` of the previous one,
are a crash loop."""


@dataclass(frozen=True)
class RunPosition:
    """Progress of the run: environment steps, and the policy version of the last checkpoint."""

    steps: int = 0
    checkpoint: int = -1

    def beyond(self, other: RunPosition) -> bool:
        """Whether there is progress compared with `other`."""
        return self.steps > other.steps or self.checkpoint > other.checkpoint

    def furthest(self, other: RunPosition) -> RunPosition:
        """The maximum of both: a resumed learner restarts from an earlier position."""
        return RunPosition(max(self.steps, other.steps), max(self.checkpoint, other.checkpoint))


@dataclass(frozen=True)
class RestartDecision:
    """Decision after a death.

    Attributes:
        deaths: deaths without progress, including this one.
        delay: seconds until the restart; None for no restart.
    """

    deaths: int
    delay: float | None


@dataclass
class Restarts:
    """Restart history of one role.

    Args:
        most: maximum number of deaths without progress that are followed by a restart.
        window: seconds after which a death counts as the first again; None for no limit.
        attempt: number of restarts.
    """

    most: int
    window: float | None
    attempt: int = 0
    _deaths: int = 0
    _last: float = float("-inf")
    _mark: RunPosition = RunPosition()

    def died(self, mark: RunPosition, now: float) -> RestartDecision:
        """Record a death at time `now` in seconds, with the run at position `mark`."""
        quiet = self.window is not None and now - self._last > self.window
        self._deaths = 1 if quiet or mark.beyond(self._mark) else self._deaths + 1
        self._mark, self._last = mark, now
        if self._deaths > self.most:
            return RestartDecision(self._deaths, None)
        self.attempt += 1
        return RestartDecision(
            self._deaths, min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (self._deaths - 1))
        )
