"""Measures how long a piece of work takes, and how much processor time it uses."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Self

from rljob.plan.costs import Work

_SCHEDULE = "/proc/thread-self/schedstat"


def _delayed() -> float:
    """Seconds in which this thread could have run but had no core; 0 where the system does not tell."""
    try:
        with open(_SCHEDULE, "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


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
        delayed = _delayed()
        # The thread's clock is read last here and first at the end: reading the others is not counted.
        self._begun = delayed, time.perf_counter(), time.process_time(), time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        delayed, wall, process, own = self._begun
        self.own += time.thread_time() - own
        self.process += time.process_time() - process
        passed = time.perf_counter() - wall
        self.seconds += max(0.0, passed - (_delayed() - delayed))

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
