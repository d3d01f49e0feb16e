"""Measures what it costs to send a segment to the learner, and a policy version back.

One thread plays rollout, buffer and learner with the classes and sockets of these roles.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from rljob.algorithms.base import Arrays
from rljob.checkpoints import policy
from rljob.errors import RunError
from rljob.plan.costs import Work
from rljob.plan.job_parts import HALFWAY, JobParts
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
from rljob.wire.endpoints import buffer_endpoints, weights_endpoint
from rljob.wire.messages import MessageKind
from rljob.wire.sockets import Client, Endpoint, Wire
from rljob.wire.subscription import Subscription, chunk_header, read_want
from rljob.wire.weights import Chunk, Published, WeightServer

PATIENCE = 10.0
SOON = 0.02
"""Seconds to wait for a message."""
SLOTS = 16
"""Segments in the buffer, unless a sequence reaches over more."""


class MeasuredTransport:
    """The buffer, and the connections of one rollout and the learner.

    Args:
        segment: arrays to send each time.
        stack: closes the sockets.

    Attributes:
        segments, deliveries, versions: measured so far.
    """

    def __init__(self, parts: JobParts, segment: Arrays, stack: ExitStack) -> None:
        self._parts, self._segment = parts, segment
        buffer, plan, slots = parts.job.spec.buffer, parts.plan, SLOTS
        # The learner gets something for every segment.
        if isinstance(plan.data, Replay):
            slots = max(SLOTS, plan.data.span)
            plan = replace(plan, data=replace(plan.data, min_size=1))
        else:
            plan = replace(plan, data=replace(plan.data, segments_per_batch=1))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rljob-plan-")))
        lag = max(1, buffer.max_policy_lag)
        settings = StoreSettings(
            slots * plan.steps, lag, buffer.samples_per_insert, strict=False, seed=0
        )
        trace = Trace(None, "")
        self._buffer = Buffer(settings, folder / "arena", 1, BufferReporter(BufferMetrics(), trace))
        addresses, weights = (
            buffer_endpoints(f"ipc://{folder}/b"),
            weights_endpoint(f"ipc://{folder}/l"),
        )
        self._served, self._rollout, self._learner = (_wire(stack) for _ in range(3))
        self._experience = self._served.serve(addresses.experience, "experience")
        self._samples = self._served.serve(addresses.samples, "samples")
        sending = self._rollout.connect(addresses.experience, "rollout-0", "buffer")
        self._shipper = Shipper(sending, plan, 1, 1, RolloutMetrics(), trace)
        self._subscription = Subscription(self._rollout.connect(weights, "rollout-0", "learner"))
        taking = self._learner.connect(addresses.samples, "learner-0", "buffer")
        self._source = ExperienceSource(
            self._learner, taking, 1, 1, 1, LearnerMetrics(), same_machine=True
        )
        self._batches = Batches(self._source, plan, 1)
        self._weights, self._server = self._learner.serve(weights, "weights"), WeightServer()
        self.segments = self.deliveries = self.versions = 0
        self._sending, self._buffering, self._receiving = Meter(), Meter(), Meter()
        self._making, self._publishing, self._loading = Meter(), Meter(), Meter()
        self._sockets = Meter()

    def credited(self) -> bool:
        """Whether the buffer takes a segment."""
        with self._sending:
            self._shipper.service(time.monotonic())
            return self._shipper.credited

    def send(self) -> None:
        """Send the segment; only when `credited`."""
        frame = self._shipper.frame()
        for name, array in self._segment.items():
            frame.arrays[name][...] = array
        with self._sending, self._sockets:
            stamp = (1, self.versions)
            self._shipper.ship(frame, np.zeros((0, 3)), stamp, time.monotonic())
        self.segments += 1
        self._serve(SOON)

    def take(self) -> Batch | None:
        """The batch that arrived at the learner. It counts as trained on at once."""
        with self._sockets:
            self._learner.wait(SOON)
        with self._receiving, self._sockets:
            self._source.poll(time.monotonic())
            batch = self._batches.next(self.deliveries)
            self._source.statistics.clear()
            if batch is not None:
                self.deliveries += 1
                self._source.trained(batch.segments)
                self._source.confirm(self.deliveries, time.monotonic())
        self._serve(0.0 if batch is None else SOON)
        return batch

    def _serve(self, patience: float) -> None:
        """One turn of the buffer."""
        with self._sockets:
            self._served.wait(patience)
        now = time.monotonic()
        with self._buffering, self._sockets:
            for message in self._experience.receive():
                self._answer(self._buffer.experience(message, now))
            for message in self._samples.receive():
                self._answer(self._buffer.samples(message, now))
            self._answer(self._buffer.turn(now))

    def _answer(self, outgoing: Iterable[Outgoing]) -> None:
        sockets: dict[str, Endpoint] = {"experience": self._experience, "samples": self._samples}
        for message in outgoing:
            sockets[message.socket].send(message.client, message.header, message.payload)

    def publish(self) -> None:
        """Send the learner's policy to the rollout, and load it there."""
        parts, deadline = self._parts, time.monotonic() + PATIENCE
        self.versions += 1
        with self._making:
            payload = policy.encode(parts.policy(HALFWAY))
        with self._publishing:
            self._send_chunks(self._server.publish(Published.of((1, self.versions), payload)))
        while not self._loaded():
            self._learner.wait(0.001)
            with self._publishing:
                for message in self._weights.receive():
                    if message.header.kind is MessageKind.WANT:
                        want, now = read_want(message.header), time.monotonic()
                        chunks = self._server.wanted(message.client, want, now)
                        self._send_chunks((message.client, chunk) for chunk in chunks)
            if time.monotonic() > deadline:
                raise RunError("measuring failed: a policy version did not arrive")
            self._rollout.wait(SOON / 2)

    def _send_chunks(self, chunks: Iterable[tuple[Client, Chunk]]) -> None:
        for client, chunk in chunks:
            self._weights.send(client, chunk_header(chunk), chunk.payload)

    def _loaded(self) -> bool:
        with self._loading:
            payload = self._subscription.newest(time.monotonic())
            if payload is not None:
                self._parts.networks.load(policy.decode(payload))
            self._subscription.ask(time.monotonic())
        return payload is not None

    def works(self) -> dict[str, Work]:
        """By name of a field of `Costs`."""
        sockets = self._sockets.helpers / self.segments
        return {
            "sending": self._sending.thread_work(self.segments),
            "buffering": self._buffering.thread_work(self.segments) + Work(cpu=sockets),
            "receiving": self._receiving.thread_work(self.deliveries),
            "loading": self._loading.thread_work(self.versions),
            "publishing": self._making.thread_work(self.versions),
            "publishing_per_rollout": self._publishing.thread_work(self.versions),
        }


def _wire(stack: ExitStack) -> Wire:
    wire = Wire(1, None, _rejected)
    stack.callback(wire.close)
    return wire


def _rejected(_: bytes, reason: str) -> None:
    raise RunError(f"measuring failed: a message was rejected as {reason}")
