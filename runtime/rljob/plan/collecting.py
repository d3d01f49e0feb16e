"""What a rollout does before it sends, timed."""

from __future__ import annotations

import time

import numpy as np

from rljob.plan.measured import Work
from rljob.plan.meter import Meter
from rljob.plan.parts import Parts
from rljob.roles.rollout.collect import Collector

SECONDS = 1.25
"""What takes longer by itself is measured in part."""


class Collecting:
    """A rollout's environments and policy, stepped and timed.

    Attributes:
        segment: what was collected last; as much of it as there is time for, the rest made up.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        _, self.segment = parts.plan.layout.allocate()
        self._scalars = parts.learner.scalars(0.5, 0)
        first, begun = self._collector(1), time.monotonic()
        first.collect(self.segment, self._scalars, _nothing)
        taken = max(1e-6, time.monotonic() - begun)
        self._length = min(parts.plan.length, max(1, int(SECONDS / taken)))
        self._collected_by = self._collector(self._length)
        self._meter, self._count, self._valid = Meter(), 0, 0

    def _collector(self, length: int) -> Collector:
        parts = self._parts
        made = Collector([parts.environments], parts.engine, parts.algorithm, length)
        made.reset((parts.job.spec.seed or 0,))
        return made

    def collect(self) -> None:
        """Step."""
        valid = self.segment["valid"]
        with self._meter:
            self._collected_by.collect(self.segment, self._scalars, _nothing)
        self._count += 1
        self._valid += int(np.count_nonzero(valid[: self._length]))
        valid[self._length :] = True

    @property
    def _steps(self) -> int:
        return self._count * self._length

    @property
    def valid(self) -> float:
        """Share of steps that did not only reset."""
        return max(1, self._valid) / (self._steps * self._parts.plan.envs)

    def work(self) -> dict[str, Work]:
        """Of a step's parts, and of what else a segment takes.

        Waiting is the environment's, and so are threads that help; this thread's processor time is shared
        out as wall time was.
        """
        meter, collector = self._meter, self._collected_by
        idle = max(0.0, meter.wall - meter.cpu)
        stepping = max(0.0, collector.environment_seconds - idle)
        # Seconds in which others had the processor may be anywhere.
        all_of_it = max(meter.wall - idle, stepping + collector.acting_seconds, 1e-9)
        own = meter.cpu * stepping / all_of_it
        acting = meter.cpu * collector.acting_seconds / all_of_it
        helped = own + max(0.0, meter.threads - meter.cpu)
        computing = max(1e-9, own + idle - meter.wait)
        step = Work(cpu=helped, wait=meter.wait, width=max(1.0, helped / computing))
        return {
            "stepping": step.times(1 / self._steps),
            "acting": Work(cpu=acting / self._steps),
            "packing": Work(cpu=max(0.0, meter.cpu - own - acting) / self._count),
        }


def _nothing() -> None: ...
