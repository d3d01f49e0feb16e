"""Measures how long a rollout takes to collect a segment."""

from __future__ import annotations

import numpy as np

from rljob.algorithms.progress import Progress
from rljob.plan.costs import Work
from rljob.plan.job_parts import JobParts
from rljob.plan.meter import Meter
from rljob.roles.rollout.collect import Collector


class MeasuredCollecting:
    """Environments and policy of a rollout.

    Attributes:
        segment: the arrays of the last segment.
    """

    def __init__(self, parts: JobParts) -> None:
        _, self.segment = parts.plan.layout.allocate()
        self._scalars = parts.learner.scalars(Progress(0, 0.5))
        self._collector = Collector(
            [parts.environments], parts.engine, parts.algorithm, parts.plan.length
        )
        self._collector.reset((parts.job.spec.seed or 0,))
        self._meter, self._count, self._valid = Meter(), 0, 0

    def collect(self) -> None:
        """Collect one segment."""
        with self._meter:
            self._collector.collect(self.segment, self._scalars, lambda: None)
        self._count += 1
        self._valid += int(np.count_nonzero(self.segment["valid"]))

    @property
    def segment_steps(self) -> float:
        """Steps in a segment that did not only reset an environment."""
        return max(1, self._valid) / self._count

    @property
    def work(self) -> Work:
        """For one segment."""
        return self._meter.process_work(self._count)

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the time for stepping environments and for choosing actions."""
        stepping, acting = self._collector.environment_seconds, self._collector.acting_seconds
        passed = max(self._meter.seconds, stepping + acting, 1e-9)
        return stepping / passed, acting / passed
