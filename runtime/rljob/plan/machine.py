"""Time as it passes for processes that share cores: they sleep, and they work. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rljob.plan.measured import Work

Then = Callable[[], None]


class Machine:
    """Runs what was begun in the order in which it ends.

    Who works shares the cores evenly with all others that work: with more of them than cores, each goes
    at the same fraction of its speed.

    Args:
        cores: that all share; None where every process has as many as it wants.

    Attributes:
        now: seconds since the start.
        used: core-seconds of work done.
    """

    def __init__(self, cores: float | None) -> None:
        self._cores = cores
        self.now = 0.0
        self.used = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Then]] = []
        # By progress: all who work make the same of it, so who ends first is known when they begin.
        self._working: list[tuple[float, int, float, Then]] = []
        self._progress = self._wanted = 0.0

    def after(self, seconds: float, then: Then) -> None:
        """Call `then` later, without using a core."""
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), then))

    def work(self, work: Work, then: Then) -> None:
        """Wait and then compute; `then` is called at its end."""
        if work.wait > 0:
            self.after(work.wait, lambda: self._compute(work, then))
        else:
            self._compute(work, then)

    def _compute(self, work: Work, then: Then) -> None:
        seconds = work.cpu / work.width
        if self._cores is None or seconds == 0:
            self.used += work.cpu
            self.after(seconds, then)
            return
        heapq.heappush(
            self._working, (self._progress + seconds, next(self._order), work.width, then)
        )
        self._wanted += work.width

    def step(self) -> bool:
        """Go on to the next end; False when nothing is left to wait for."""
        timer = self._timers[0][0] if self._timers else None
        done = None
        if self._working:
            done = self.now + (self._working[0][0] - self._progress) / self._speed
        if done is not None and (timer is None or done <= timer):
            self._advance(done)
            finish, _, width, then = heapq.heappop(self._working)
            self._progress = max(self._progress, finish)
            self._wanted = self._wanted - width if self._working else 0.0
        elif timer is not None:
            self._advance(timer)
            _, _, then = heapq.heappop(self._timers)
        else:
            return False
        then()
        return True

    @property
    def _speed(self) -> float:
        assert self._cores is not None
        return min(1.0, self._cores / self._wanted)

    def _advance(self, to: float) -> None:
        if self._working:
            speed, passed = self._speed, max(0.0, to - self.now)
            self._progress += speed * passed
            self.used += self._wanted * speed * passed
        self.now = max(self.now, to)


@dataclass
class Server:
    """A process: does one thing after the other.

    Attributes:
        busy: seconds with something to do, so far.
    """

    machine: Machine
    busy: float = 0.0
    _waiting: deque[tuple[Work, Then]] = field(default_factory=deque)
    _since: float | None = None

    def do(self, work: Work, then: Then) -> None:
        """Begin when all before is done."""
        self._waiting.append((work, then))
        if self._since is None:
            self._since = self.machine.now
            self._next()

    def busy_until(self, now: float) -> float:
        """Seconds with something to do, up to now."""
        return self.busy + (now - self._since if self._since is not None else 0.0)

    def _next(self) -> None:
        work, then = self._waiting.popleft()

        def done() -> None:
            then()
            if self._waiting:
                self._next()
            else:
                assert self._since is not None
                self.busy += self.machine.now - self._since
                self._since = None

        self.machine.work(work, done)
