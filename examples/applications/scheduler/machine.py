"""A simulated machine with a queue: its main loop asks which job to start next."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from workload import PROCESSORS, Job

Choose = Callable[["Machine"], Job]
"""Which of the waiting jobs is next; it starts as soon as there are processors for it."""
LEAST_SECONDS = 10.0
"""A job that takes less counts as one that takes so long."""


def slowdown(job: Job, waited: float) -> float:
    """Bounded slowdown of a job: how many times longer it took than it runs (Feitelson and Rudolph 1998)."""
    return max(1.0, (waited + job.seconds) / max(job.seconds, LEAST_SECONDS))


class Machine:
    """Runs jobs.

    Args:
        jobs: in the order of their submission.
        ended: called with each job that has ended, and its bounded slowdown.

    Attributes:
        now: the time in seconds.
        free: processors that no job uses.
        waiting: submitted jobs that have not started, the oldest first.
    """

    def __init__(self, jobs: Sequence[Job], ended: Callable[[Job, float], None]) -> None:
        self._coming, self._ended = list(reversed(jobs)), ended
        self._running: list[tuple[float, int, Job, float]] = []
        self.now, self.free = 0.0, PROCESSORS
        self.waiting: list[Job] = []

    def run(self, choose: Choose) -> None:
        """Run all jobs."""
        while self._coming or self.waiting:
            if not self.waiting:
                self._next_event()
                continue
            # A single job leaves no choice.
            job = choose(self) if len(self.waiting) > 1 else self.waiting[0]
            self.waiting.remove(job)
            while job.processors > self.free:
                self._next_event()
            self._start(job)
        while self._running:
            self._next_event()

    def _start(self, job: Job) -> None:
        self.free -= job.processors
        ends, waited = self.now + job.seconds, self.now - job.submitted
        heapq.heappush(self._running, (ends, id(job), job, slowdown(job, waited)))

    def _next_event(self) -> None:
        """Go on to the next submission or end of a job."""
        coming = self._coming[-1].submitted if self._coming else float("inf")
        if self._running and self._running[0][0] <= coming:
            self.now, _, job, slowed = heapq.heappop(self._running)
            self.free += job.processors
            self._ended(job, slowed)
        else:
            self.now = coming
            self.waiting.append(self._coming.pop())


def first_come(machine: Machine) -> Job:
    """First come, first served (FCFS)."""
    return machine.waiting[0]


def shortest(machine: Machine) -> Job:
    """Shortest job first (SJF), by the requested time."""
    return min(machine.waiting, key=lambda job: job.requested)
