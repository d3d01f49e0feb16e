"""How long something takes, and how much of that a processor."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Self

from rljob.plan.measured import Work

_SCHEDULE = "/proc/thread-self/schedstat"
_LITTLE = 0.02
"""Share of time without a processor below which it is not taken for waiting."""


def _delayed() -> float:
    """Seconds that this thread was ready to run while others had the processors; 0 where the system
    does not say."""
    try:
        with open(_SCHEDULE, "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


@dataclass
class Meter:
    """Sums over what is done inside of `with`; what other programs take from it does not count.

    Attributes:
        wall: seconds, without those in which others had the processor.
        cpu: of this thread; `threads` of the whole process.
    """

    wall: float = 0.0
    cpu: float = 0.0
    threads: float = 0.0
    _begun: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 0.0), repr=False)

    def __enter__(self) -> Self:
        delayed = _delayed()
        # The thread's own clock last and first, so that reading the others is not in it.
        wall, threads = time.perf_counter(), time.process_time()
        self._begun = delayed, wall, threads, time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        delayed, wall, threads, cpu = self._begun
        self.cpu += time.thread_time() - cpu
        self.threads += time.process_time() - threads
        passed = time.perf_counter() - wall
        self.wall += max(0.0, passed - (_delayed() - delayed))

    @property
    def wait(self) -> float:
        """Seconds in which nothing of this process computed, and nobody else kept it from that."""
        waited = max(0.0, self.wall - self.threads)
        return waited if waited > _LITTLE * self.wall else 0.0

    def work(self, count: float) -> Work:
        """Of one, when so many were measured and this thread is all that works for it."""
        return Work(cpu=self.cpu / count)

    def wide_work(self, count: float = 1.0) -> Work:
        """Of one, with other threads of the process that help."""
        computing = max(1e-9, self.wall - self.wait)
        return Work(
            cpu=self.threads / count,
            wait=self.wait / count,
            width=max(1.0, self.threads / computing),
        )
