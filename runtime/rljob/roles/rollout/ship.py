"""Sends segments to the buffer: credit, acknowledgement, retransmission.

A segment is collected in the frame that is sent. The frame is kept until the buffer acknowledges the
segment. The number of frames is bounded, so experience that cannot be delivered stops the rollout;
nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rljob.algorithms.base import Arrays
from rljob.errors import RunError
from rljob.process.hardware import HardwareMeter
from rljob.process.trace import Trace
from rljob.telemetry.metrics import RolloutMetrics
from rljob.wire.delivery import Sender
from rljob.wire.experience import ACTOR_WINDOW, ExperienceFormat
from rljob.wire.messages import Header, MessageKind, encode_json
from rljob.wire.refused import PeerRefusal
from rljob.wire.sockets import Endpoint, Message
from rljob.wire.weights import NOTHING, Stamp

HELLO_EVERY = 0.5
STATUS_EVERY = 1.0
SILENT_AFTER = 3.0
"""Seconds without an answer after which the buffer counts as disconnected; it answers every second."""
WORTH_WAITING = 0.02
"""Seconds that a rollout waits for a newer policy version than the required one."""
FRAMES = ACTOR_WINDOW + 2


@dataclass(eq=False)
class Frame:
    """Memory of one segment: its payload, with room for episode records behind the arrays."""

    payload: np.ndarray
    arrays: Arrays
    header: Header | None = None
    size: int = 0


class Shipper:
    """One rollout's stream to the buffer.

    Args:
        actor, epoch: identity on the wire. The epoch grows with each restart of the process. It is
            raised when the buffer already knows a higher one, because clocks may be set back.
        application: name of the application that this is; empty for a rollout.
        counted: what an application tells of itself, absolute, see `rljob.wire.application.FAULTS`.
        waits: segments of an application that wait to be sent; credit is for those that have some.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        plan: ExperienceFormat,
        actor: int,
        epoch: int,
        metrics: RolloutMetrics,
        trace: Trace,
        application: str = "",
        counted: Callable[[], dict[str, int]] | None = None,
        waits: Callable[[], int] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._application, self._counted = application, counted
        self._waits, self._told_waits = waits, 0
        self._plan = plan
        self._actor, self._epoch = actor, epoch
        self._metrics = metrics
        self._trace = trace
        self._sender = Sender()
        self._frames = [self._new_frame() for _ in range(FRAMES)]
        self._sent: dict[int, Frame] = {}
        self._welcome = False
        self._was_welcome = False
        self._heard_at = float("-inf")
        self._minimum: Stamp = NOTHING
        self._newest: Stamp = NOTHING
        self._newest_since = 0.0
        self._hello_at = self._status_at = float("-inf")
        self._most_unacked = 0
        self._meter = HardwareMeter()
        self.waiting = 0.0
        """Share of the last second spent waiting for credit, for the buffer's statistics."""

    def ready(self, stamp: Stamp, now: float) -> bool:
        """Whether a segment with policy version `stamp` may be started.

        The policy-lag bound decides. A version that was just published is waited for a moment, as
        credit often arrives before it.
        """
        if not self.credited or stamp < self._minimum or stamp == NOTHING:
            return False
        return stamp >= self._newest or now - self._newest_since >= WORTH_WAITING

    @property
    def credited(self) -> bool:
        """Whether the credit allows another segment."""
        return (
            self._welcome and bool(self._frames) and self._sender.may_send(self._plan.layout.size)
        )

    def connected(self, now: float) -> bool:
        """Whether the buffer knows this rollout and answers it."""
        return self._welcome and now - self._heard_at < SILENT_AFTER

    def frame(self) -> Frame:
        """A free frame to collect into."""
        return self._frames[-1]

    def ship(self, frame: Frame, episodes: np.ndarray, stamp: Stamp, now: float) -> None:
        """Send a collected segment with the records `[E, numbers]` of the episodes that ended in it."""
        size = self._plan.layout.size
        frame.size = size + episodes.nbytes
        if len(episodes):
            frame.payload[size : frame.size] = episodes.reshape(-1).view(np.uint8)
        seq = self._sender.send(size, now)
        frame.header = Header(
            MessageKind.SEGMENT,
            actor=self._actor,
            epoch=self._epoch,
            seq=seq,
            version=stamp[1],
            lineage=stamp[0],
        )
        self._frames.remove(frame)
        self._sent[seq] = frame
        self._most_unacked = max(self._most_unacked, self._sender.unacked)
        self._metrics.segments_sent.inc()
        self._send(frame)

    def service(self, now: float) -> None:
        """Process the buffer's messages and send what is due; called between segments and steps."""
        for message in self._endpoint.receive():
            self._take(message, now)
        if not self._welcome:
            if now - self._hello_at >= HELLO_EVERY:
                header = self._header(MessageKind.HELLO)
                header.ack, header.bits = self._sender.confirmed()
                hello = self._plan.to_json()
                if self._application:
                    hello["application"] = self._application
                if self._endpoint.send(b"", header, encode_json(hello)):
                    self._hello_at = now
            return
        self._send_again(self._sender.due(now))
        waits = 0 if self._waits is None else self._waits()
        if now - self._status_at >= STATUS_EVERY or (waits > 0) != (self._told_waits > 0):
            self._status_at = now
            used = self._meter.measure()
            told = {"waiting": round(self.waiting, 4), "cores": used.cores, "memory": used.memory}
            self._tell(told)
            # An acknowledgement takes less than a millisecond, so a momentary value is nearly always 0.
            self._metrics.unacked_segments.set(self._most_unacked)
            self._most_unacked = self._sender.unacked
            self._metrics.credit_available.set(self._sender.limit - self._sender.sent_bytes)

    def leave(self) -> None:
        """Tell the buffer that no more segments follow, so that it can grant the credit to others."""
        if self._welcome:
            self._tell({"leaving": True})

    @property
    def unacked(self) -> int:
        """Segments that the buffer has not confirmed."""
        return self._sender.unacked

    @property
    def minimum(self) -> Stamp:
        """The oldest policy version with which a segment may have been acted."""
        return self._minimum

    def _tell(self, status: dict[str, Any]) -> None:
        if self._counted is not None:
            status["counted"] = self._counted()
        if self._waits is not None:
            status["waits"] = self._told_waits = self._waits()
        self._endpoint.send(b"", self._header(MessageKind.STATUS), encode_json(status))

    def _take(self, message: Message, now: float) -> None:
        header = message.header
        self._heard_at = now
        if header.kind is MessageKind.GRANT and header.epoch == self._epoch:
            self._minimum = (header.lineage, header.version)
            newest = (header.lineage, header.seq - 1)
            if newest > self._newest:
                self._newest, self._newest_since = newest, now
            for seq in self._sender.granted(header.ack, header.bits, header.limit):
                self._frames.append(self._sent.pop(seq))
                self._metrics.segments_acked.inc()
                self._trace.event("acked", self._actor, self._epoch, seq)
        elif header.kind is MessageKind.WHO:
            # The buffer was restarted: send HELLO again, and all segments that it did not confirm.
            self._welcome = False
        elif header.kind is MessageKind.WELCOME and not self._welcome:
            self._welcome = self._was_welcome = True
            self._told_waits = 0
            self._send_again(self._sender.all_due(now))
        elif header.kind is MessageKind.REFUSED:
            self._refused(message)

    def _refused(self, message: Message) -> None:
        refusal = PeerRefusal.read(message.payload)
        if refusal.newest is not None and not self._was_welcome:
            # This process has just started, so it is the newer one even if the clocks differ.
            if refusal.newest >= self._epoch:
                self._epoch, self._hello_at = refusal.newest + 1, float("-inf")
            return
        who = (
            "the job refused this application"
            if self._application
            else "the buffer refused this rollout"
        )
        raise RunError(f"{who}: {refusal.message}")

    def _send_again(self, seqs: list[int]) -> None:
        for seq in seqs:
            self._metrics.segments_retransmitted.inc()
            self._send(self._sent[seq])

    def _send(self, frame: Frame) -> None:
        assert frame.header is not None
        self._metrics.payload_bytes.inc(frame.size)
        # zmq may share the memory. It is reused only after an acknowledgement; a retransmission that
        # is still queued then has a seq that the buffer knows.
        self._endpoint.send(b"", frame.header, frame.payload.data[: frame.size])

    def _header(self, kind: MessageKind) -> Header:
        return Header(kind, actor=self._actor, epoch=self._epoch, limit=self._sender.limit)

    def _new_frame(self) -> Frame:
        return Frame(*self._plan.layout.allocate(extra=self._plan.records_bytes))
