"""Sends policy versions to rollouts and evaluators, in a thread: a late joiner never waits for an update."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator

from rljob.errors import RunError
from rljob.telemetry.metrics import LearnerMetrics
from rljob.wire.evaluated import PlayedPolicy, read_evaluated
from rljob.wire.messages import MessageKind, Rejected
from rljob.wire.sockets import Client, Endpoint, Message, Wire
from rljob.wire.subscription import chunk_header, read_want
from rljob.wire.weights import Chunk, Published, Stamp, WeightServer

WAIT = 1.0
MOST_EVALUATIONS = 1000
"""That are kept until they are taken; then the oldest is dropped."""


class Publisher:
    """Serves the newest version on one socket.

    Args:
        wire: sockets of the thread; closed by it.
        address: to bind.

    Raises:
        RunError: when the address cannot be had.
    """

    def __init__(self, wire: Wire, address: str, metrics: LearnerMetrics) -> None:
        self._wire = wire
        self._endpoint: Endpoint = wire.serve(address, "weights")
        self._metrics = metrics
        metrics.links.add("weights", self._endpoint.traffic)
        self._server = WeightServer()
        self._lock = threading.Lock()
        self._pending: tuple[Stamp, bytes] | None = None
        self._closing = False
        self._evaluations: deque[PlayedPolicy] = deque(maxlen=MOST_EVALUATIONS)
        self._thread = threading.Thread(target=self._run, name="rljob-publish", daemon=True)
        self._thread.start()

    def publish(self, stamp: Stamp, payload: bytes) -> None:
        """Make a version the newest; one that was not yet looked at by the thread is skipped."""
        with self._lock:
            self._pending = (stamp, payload)
        self._wire.wake()

    def evaluations(self) -> Iterator[PlayedPolicy]:
        """Take what evaluators have told since the last call."""
        while self._evaluations:
            yield self._evaluations.popleft()

    def check(self) -> None:
        """Raise RunError when the thread has ended, because no newer version can be sent."""
        if not self._thread.is_alive():
            raise RunError("the publishing of policy versions has failed; the log has the cause")

    def close(self) -> None:
        """End the thread; versions that are on their way get a moment to leave."""
        self._closing = True
        self._wire.wake()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wire.wait(WAIT)
                self._turn()
        except Exception:
            logging.getLogger("rljob").exception("publishing of policy versions failed")
        finally:
            self._wire.close()

    def _turn(self) -> None:
        now = time.monotonic()
        with self._lock:
            pending, self._pending = self._pending, None
        if pending is not None:
            for client, chunk in self._server.publish(Published.of(*pending)):
                self._send(client, chunk)
        for message in self._endpoint.receive():
            try:
                self._take(message, now)
            except Rejected as error:
                self._endpoint.refuse(message, error)
        for client, chunk in self._server.keep_alive(now):
            self._send(client, chunk)
        self._server.forget_silent(now)
        self._metrics.subscribers.set(self._server.clients)

    def _take(self, message: Message, now: float) -> None:
        if message.header.kind is MessageKind.WANT:
            for chunk in self._server.wanted(message.client, read_want(message.header), now):
                self._send(message.client, chunk)
        elif message.header.kind is MessageKind.EVALUATED:
            if not self._wire.sent_by(message, "evaluator"):
                raise Rejected("unexpected", "EVALUATED is for evaluators alone")
            self._evaluations.append(read_evaluated(message.header, message.payload))

    def _send(self, client: Client, chunk: Chunk) -> None:
        if self._endpoint.send(client, chunk_header(chunk), chunk.payload):
            self._metrics.weights_sent_bytes.inc(len(chunk.payload))
        else:
            self._server.forget(client)
