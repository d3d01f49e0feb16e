"""Jobs of a batch system, as a trace in the Standard Workload Format.

Each line of such a file is a job, with 18 numbers (https://www.cs.huji.ac.il/labs/parallel/workload/swf.html). Real traces
of the Parallel Workloads Archive have the same form; `python workload.py > trace.swf` writes a synthetic one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

PROCESSORS = 128
QUEUES = 4


@dataclass(frozen=True)
class Job:
    """One job; times in seconds.

    Attributes:
        submitted: when it was submitted.
        seconds: how long it runs; nobody knows that before it has ended.
        processors: how many it needs, all at once.
        requested: how long it may run, as its user has said.
        queue: number of the queue that it was submitted to, from 0.
    """

    submitted: float
    seconds: float
    processors: int
    requested: float
    queue: int


def read(lines: Iterable[str]) -> Iterator[Job]:
    """The jobs of a trace that ran."""
    for line in lines:
        values = [float(value) for value in line.split(";")[0].split()]
        if len(values) < 15 or values[3] <= 0 or max(values[4], values[7]) <= 0:
            continue
        processors = int(values[7] if values[7] > 0 else values[4])
        requested = values[8] if values[8] > 0 else values[3]
        yield Job(values[1], values[3], processors, requested, max(0, int(values[14]) - 1) % QUEUES)


def write(jobs: Iterable[Job]) -> Iterator[str]:
    """The lines of a trace."""
    yield "; Version: 2.2"
    yield f"; MaxProcs: {PROCESSORS}"
    for number, job in enumerate(jobs, start=1):
        known = {
            1: number,
            2: round(job.submitted),
            4: round(job.seconds),
            5: job.processors,
            8: job.processors,
            9: round(job.requested),
            11: 1,
            15: job.queue + 1,
        }
        yield " ".join(str(known.get(field, -1)) for field in range(1, 19))


def generate(seed: int, jobs: int = 20_000, load: float = 1.2) -> list[Job]:
    """A synthetic trace.

    What is known of real ones is in it: processors are mostly powers of two, times are spread over orders of magnitude,
    jobs come in bursts, and users request more time than they need, by a factor that differs from queue to queue
    (Feitelson, Workload Modeling for Computer Systems Performance Evaluation, 2015, chapters 6 and 9).
    """
    rng = np.random.default_rng(seed)
    queue = rng.integers(QUEUES, size=jobs)
    processors = np.minimum(2 ** rng.binomial(7, 0.25, jobs), PROCESSORS)
    median = np.array([60.0, 60.0, 1800.0, 1800.0])[queue]
    seconds = np.clip(median * rng.lognormal(0, 1, jobs), 10, 36_000)
    too_much = np.array([1.3, 30.0, 1.3, 30.0])[queue] * rng.lognormal(0, 0.3, jobs)
    requested = np.clip(seconds * np.maximum(too_much, 1.0), 60, 172_800)
    work = float((seconds * processors).mean()) / PROCESSORS / load
    bursts = np.repeat(rng.gamma(0.6, 1 / 0.6, jobs // 20 + 1), 20)[:jobs]
    submitted = np.cumsum(rng.exponential(work, jobs) * bursts)
    return [
        Job(float(at), float(takes), int(needs), float(asked), int(where))
        for at, takes, needs, asked, where in zip(
            submitted, seconds, processors, requested, queue, strict=True
        )
    ]


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in write(generate(seed=0)))
