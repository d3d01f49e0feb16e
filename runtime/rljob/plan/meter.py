"""Measures how long a piece of work takes, and how much processor time it uses."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Self

from rljob.plan.costs import Work
from rljob.system import waited_for_core


@dataclass
class Meter:
    """Sums over the blocks of `with`. Time in which other programs had the core does not count.

    Attributes:
        seconds: wall time.
        own, process: processor time of this thread, and of all threads of the process.
    """

    seconds: float = 0.0
    own: float = 0.0
    process: float = 0.0
    _begun: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 0.0), repr=False)

    def __enter__(self) -> Self:
        delayed = waited_for_core()
        # The thread's clock is read last here and first at the end: reading the others is not counted.
        self._begun = delayed, time.perf_counter(), time.process_time(), time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        delayed, wall, process, own = self._begun
        self.own += time.thread_time() - own
        self.process += time.process_time() - process
        passed = time.perf_counter() - wall
        self.seconds += max(0.0, passed - (waited_for_core() - delayed))

    @property
    def helpers(self) -> float:
        """Processor time of the other threads of the process."""
        return max(0.0, self.process - self.own)

    def thread_work(self, count: int) -> Work:
        """The mean of `count` pieces that this thread computed without sleeping."""
        return Work(self.own, self.own) * (1 / count)

    def process_work(self, count: int) -> Work:
        """The mean of `count` pieces, with other threads that helped and time asleep."""
        return Work(self.process, max(self.seconds, 1e-9)) * (1 / count)
