"""The sockets of a job in one thread: a segment goes from rollout to learner, a policy version back.

What each side computes on the way is measured apart, with the very parts of the roles.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np

from rljob.algorithms.base import Arrays
from rljob.errors import RunError
from rljob.plan.meter import Meter
from rljob.process.trace import Trace
from rljob.roles.buffer.core import Buffer, Outgoing
from rljob.roles.buffer.server import BufferReporter
from rljob.roles.buffer.store import StoreSettings
from rljob.roles.learner.batches import Batch, Batches
from rljob.roles.learner.source import ExperienceSource
from rljob.roles.rollout.ship import Shipper
from rljob.spec.experience import Replay
from rljob.telemetry.metrics import BufferMetrics, LearnerMetrics, RolloutMetrics
from rljob.wire.endpoints import buffer_endpoints
from rljob.wire.experience import ExperienceFormat
from rljob.wire.sockets import Endpoint, Wire

PATIENCE = 10.0
"""Seconds without any experience at the learner after which measuring has failed."""
SOON = 0.02
"""Seconds that a message is waited for."""
SLOTS, SPACE = 64, 256 * 2**20
"""Segments in the buffer that is measured with, and bytes, if that is less; four fit in any case."""
JOB = 1


@dataclass
class Meters:
    """Work of each side.

    Attributes:
        carrying: of all of them, where others than this thread carry the messages.
        hops: seconds from each send until the other side could read.
    """

    shipping: Meter = field(default_factory=Meter)
    storing: Meter = field(default_factory=Meter)
    delivering: Meter = field(default_factory=Meter)
    receiving: Meter = field(default_factory=Meter)
    carrying: Meter = field(default_factory=Meter)
    hops: list[float] = field(default_factory=list)
    segments: int = 0
    deliveries: int = 0


class Exchange:
    """Rollout, buffer and learner with real sockets and no processes.

    Args:
        segment: arrays to send again and again.
        ratio, lag: samples per insert and bound on policy lag of the job, see `StoreSettings`.
    """

    def __init__(
        self, plan: ExperienceFormat, segment: Arrays, ratio: float | None, lag: int
    ) -> None:
        self.meters = Meters()
        self._segment = segment
        # The learner is to be handed something for every segment.
        if isinstance(plan.data, Replay):
            plan = replace(plan, data=replace(plan.data, min_size=1))
        else:
            plan = replace(plan, data=replace(plan.data, segments_per_batch=1))
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rljob-plan-")))
        slots = min(SLOTS, max(4, SPACE // plan.layout.size))
        settings = StoreSettings(slots * plan.steps, max(1, lag), ratio, False, 0)
        self._buffer = Buffer(
            settings, folder / "arena", 1, BufferReporter(BufferMetrics(), Trace(None, ""))
        )
        addresses = buffer_endpoints(f"ipc://{folder}/b")
        self._served, self._sending, self._pulling = (self._wire() for _ in range(3))
        self._experience = self._served.serve(addresses.experience, "experience")
        self._samples = self._served.serve(addresses.samples, "samples")
        rollout = self._sending.connect(addresses.experience, "rollout-0", "buffer")
        learner = self._pulling.connect(addresses.samples, "learner-0", "buffer")
        self._shipper = Shipper(rollout, plan, 1, 1, RolloutMetrics(), Trace(None, ""))
        self._source = ExperienceSource(
            self._pulling, learner, 1, 1, 1, LearnerMetrics(), same_machine=True
        )
        self._batches = Batches(self._source, plan, 1)
        self._version = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wire(self) -> Wire:
        def rejected(_: bytes, reason: str) -> None:
            raise RunError(f"measuring failed: a message was rejected as {reason}")

        wire = Wire(JOB, None, rejected)
        self._stack.callback(wire.close)
        return wire

    def open(self) -> None:
        """Introduce both sides to the buffer, and bring a first batch to the learner."""
        deadline = time.monotonic() + PATIENCE
        while self._source.poll(time.monotonic()) is None:
            self.credited()
            self._serve(SOON)
            self._pulling.wait(0.001)
            if time.monotonic() > deadline:
                raise RunError("measuring failed: the buffer did not answer")
        while True:
            if self.credited():
                self.send()
            if self.take() is not None:
                break
            if time.monotonic() > deadline:
                raise RunError("measuring failed: no experience came")
        self.meters = Meters()

    def credited(self) -> bool:
        """Whether the buffer takes a segment."""
        with self.meters.shipping:
            self._shipper.service(time.monotonic())
            return self._shipper.credited

    def send(self) -> None:
        """Send the segment; only when that is allowed."""
        frame = self._shipper.frame()
        for name, array in self._segment.items():
            frame.arrays[name][...] = array
        with self.meters.shipping, self.meters.carrying:
            now = time.monotonic()
            self._shipper.ship(frame, np.zeros((0, 2)), (1, self._version), now)
        self.meters.segments += 1
        self._serve(SOON)

    def take(self) -> Batch | None:
        """What the learner has been sent, if that is enough for a batch; it is confirmed at once."""
        if not self._wait(self._pulling, SOON):
            # What the buffer was last waited for may have come since.
            self._serve(0.0)
            return None
        with self.meters.receiving, self.meters.carrying:
            self._source.poll(time.monotonic())
            batch = self._batches.next(self._version)
            self._source.statistics.clear()
            if batch is None:
                return None
            self._version += 1
            self._source.trained(batch.segments)
            self._source.confirm(self._version, time.monotonic())
        self.meters.deliveries += 1
        self._serve(SOON)
        return batch

    def _serve(self, patience: float) -> None:
        """A turn of the buffer."""
        buffer, meters = self._buffer, self.meters
        self._wait(self._served, patience)
        now = time.monotonic()
        with meters.storing, meters.carrying:
            for message in self._experience.receive():
                self._send(buffer.experience(message, now))
        with meters.delivering, meters.carrying:
            for message in self._samples.receive():
                self._send(buffer.samples(message, now))
            self._send(buffer.turn(now))

    def _send(self, outgoing: Iterable[Outgoing]) -> None:
        sockets: dict[str, Endpoint] = {"experience": self._experience, "samples": self._samples}
        for message in outgoing:
            sockets[message.socket].send(message.client, message.header, message.payload)

    def _wait(self, wire: Wire, patience: float) -> bool:
        """Whether there is something before `patience` is over."""
        before = time.perf_counter()
        with self.meters.carrying:
            wire.wait(patience)
        waited = time.perf_counter() - before
        if waited < patience / 2:
            self.meters.hops.append(waited)
        return waited < patience
