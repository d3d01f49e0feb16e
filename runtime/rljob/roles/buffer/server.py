"""The buffer process: sockets around `core.Buffer`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack

from rljob.process.context import RoleContext
from rljob.process.hardware import HardwareMeter
from rljob.process.memory import memory_limit
from rljob.process.trace import Trace
from rljob.roles.buffer.core import Buffer, Outgoing
from rljob.roles.buffer.delivering import Freshness
from rljob.roles.buffer.describing import Describer
from rljob.roles.buffer.set_aside import SetAside
from rljob.roles.buffer.store import Observer, StoreSettings
from rljob.run_folder.names import SET_ASIDE
from rljob.telemetry.metrics import BufferMetrics
from rljob.wire.endpoints import buffer_endpoints
from rljob.wire.messages import Rejected
from rljob.wire.sockets import Client, Endpoint, Message

WAIT = 0.1
"""Longest wait of the loop, in seconds."""
REPORT_EVERY = 0.5
ARENA = "arena"
"""Name of the file in the buffer's folder that holds its experience."""

Handle = Callable[[Message, float], Iterator[Outgoing]]


class BufferReporter(Observer):
    """Counts events, and traces them if tracing is on."""

    def __init__(self, metrics: BufferMetrics, trace: Trace) -> None:
        self._metrics = metrics
        self._trace = trace

    def stored(self, actor: int, epoch: int, seq: int, steps: int) -> None:
        self._trace.event("stored", actor, epoch, seq)
        self._metrics.segments_stored.inc()
        self._metrics.environment_steps_inserted.inc(steps)

    def recovered(self, actor: int, epoch: int, seq: int) -> None:
        self._trace.event("recovered", actor, epoch, seq)

    def duplicate(self) -> None:
        self._metrics.segments_duplicate.inc()

    def evicted(self, reason: str, actor: int, epoch: int, seq: int) -> None:
        self._trace.event("evicted", actor, epoch, seq)
        self._metrics.segments_evicted[reason].inc()

    def rejected(self, reason: str) -> None:
        self._metrics.messages_rejected[reason].inc()

    def fenced(self) -> None:
        self._metrics.peers_fenced.inc()

    def delivered(self, freshness: Freshness) -> None:
        self._metrics.policy_lag.observe(float(freshness.lags.mean()))
        self._metrics.data_age.observe(float(freshness.ages.mean()))
        self._metrics.transitions_sampled.inc(freshness.steps)

    def resent(self) -> None:
        self._metrics.batches_retransmitted.inc()

    def set_aside(self) -> None:
        self._metrics.batches_set_aside.inc()

    def application_faults(self, counted: Mapping[str, int]) -> None:
        for name, number in counted.items():
            self._metrics.application_refused[name].inc(number)


def main(context: RoleContext) -> None:
    """Run until asked to stop.

    Raises:
        InputError: when the job's experience does not fit into the capacity.
        RunError: when an address is in use or there is not enough disk space.
    """
    metrics = BufferMetrics()
    with ExitStack() as stack:
        health, server = context.observe(metrics)
        stack.callback(server.close)
        context.folder.mkdir(parents=True, exist_ok=True)
        reporter = BufferReporter(metrics, context.tracer())
        describer = Describer(context.job, context.learner)
        buffer = Buffer(
            StoreSettings.of(context.job.spec, context.seed, memory_limit()),
            context.folder / ARENA,
            context.started,
            reporter,
            SetAside(context.set_aside or context.folder / SET_ASIDE),
            describer,
            describer.plan,
        )
        wire = context.wire(buffer.rejected)
        stack.callback(wire.close)
        endpoints = buffer_endpoints(context.buffer)
        sockets = {
            "experience": wire.serve(endpoints.experience, "experience"),
            "samples": wire.serve(endpoints.samples, "samples"),
        }
        for name, socket in sockets.items():
            metrics.links.add(name, socket.traffic)
        context.announce(server)
        health.waits_for = ""
        handlers: dict[str, Handle] = {
            "experience": buffer.experience,
            "samples": buffer.samples,
        }
        # Never goes back while the buffer lives, and is comparable with the times in its file after a reboot.
        zero = time.time() - time.monotonic()
        meter = HardwareMeter()
        reported, before = 0.0, zero + time.monotonic()
        while not context.stopping():
            wire.wait(WAIT)
            now = zero + time.monotonic()
            if buffer.learner_waits:
                metrics.learner_wait_seconds.inc(now - before)
            before = now
            for name, socket in sockets.items():
                for message in socket.receive():
                    _send(sockets, _taken(handlers[name], buffer.rejected, message, now))
            _send(sockets, buffer.turn(now))
            health.beat()
            if now - reported > REPORT_EVERY:
                reported = now
                _report(metrics, buffer, now)
                buffer.used = meter.measure()


def _taken(
    handle: Handle, rejected: Callable[[Client, str], None], message: Message, now: float
) -> list[Outgoing]:
    try:
        return list(handle(message, now))
    except Rejected as error:
        rejected(message.client, error.reason)
        return []


def _send(sockets: dict[str, Endpoint], outgoing: Iterable[Outgoing]) -> None:
    for message in outgoing:
        # A client that is gone comes back with HELLO; credit and positions are absolute.
        sockets[message.socket].send(message.client, message.header, message.payload)


def _report(metrics: BufferMetrics, buffer: Buffer, now: float) -> None:
    metrics.fill.set(buffer.fill)
    metrics.stored_steps.set(buffer.stored)
    applications = buffer.rollouts.applications(now)
    metrics.rollouts_connected.set(len(buffer.rollouts.live(now)) - applications)
    metrics.applications_connected.set(applications)
    metrics.credit_granted.set(buffer.granted_bytes(now))
