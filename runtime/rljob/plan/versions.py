"""A policy version's way from the learner to a rollout, in one thread."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rljob.algorithms.base import Algorithm, Learner
from rljob.checkpoints.policy import PolicyWeights
from rljob.errors import RunError
from rljob.nets import Engine, export
from rljob.plan.measured import Line, Work
from rljob.plan.meter import Meter
from rljob.wire.endpoints import weights_endpoint
from rljob.wire.messages import MessageKind
from rljob.wire.sockets import Wire
from rljob.wire.subscription import Subscription, chunk_header, read_want
from rljob.wire.weights import Published, WeightServer

if TYPE_CHECKING:
    import torch

JOB = 1
PATIENCE = 10.0


class Versions:
    """Publishes a learner's policy to one rollout, again and again.

    Attributes:
        count: versions so far; `size` bytes each.
    """

    def __init__(
        self, module: torch.nn.Module, algorithm: Algorithm, learner: Learner, engine: Engine
    ) -> None:
        self._module, self._algorithm = module, algorithm
        self._learner, self._engine = learner, engine
        self._making, self._sending, self._applying = Meter(), Meter(), Meter()
        self.count = self.size = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rljob-plan-")))
        address = weights_endpoint(f"ipc://{folder}/l")
        self._learning, self._acting = (Wire(JOB, None, _rejected) for _ in range(2))
        self._stack.callback(self._learning.close)
        self._stack.callback(self._acting.close)
        self._endpoint = self._learning.serve(address, "weights")
        connected = self._acting.connect(address, "rollout-0", "learner")
        self._subscription = Subscription(connected)
        self._server = WeightServer()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def publishing(self) -> Line:
        """Making a version, and sending it to each rollout."""
        making, sending = self._making.work(self.count), self._sending.work(self.count)
        return Line(fixed=making, each=sending)

    @property
    def applying(self) -> Work:
        """Receiving and loading a version."""
        return self._applying.work(self.count)

    def publish(self) -> None:
        """Send what the learner has learned, and act by it."""
        with self._making:
            tensors = export(self._module, self._algorithm.acting_heads)
            payload = PolicyWeights(tensors, self._learner.scalars(0.5, 0)).encode()
            published = Published.of((1, self.count + 1), payload)
        self.size = len(payload)
        with self._sending:
            chunks = self._server.publish(published)
            for client, chunk in chunks:
                self._endpoint.send(client, chunk_header(chunk), chunk.payload)
        deadline = time.monotonic() + PATIENCE
        while not self._arrived():
            self._learning.wait(0.001)
            with self._sending:
                self._answer()
            if time.monotonic() > deadline:
                raise RunError("measuring failed: a policy version did not arrive")
            self._acting.wait(0.01)
        self.count += 1

    def _arrived(self) -> bool:
        with self._applying:
            payload = self._subscription.newest(time.monotonic())
            if payload is not None:
                self._engine.load(PolicyWeights.decode(payload).tensors)
            self._subscription.ask(time.monotonic())
        return payload is not None

    def _answer(self) -> None:
        for message in self._endpoint.receive():
            if message.header.kind is MessageKind.WANT:
                want = read_want(message.header)
                for chunk in self._server.wanted(message.client, want, time.monotonic()):
                    self._endpoint.send(message.client, chunk_header(chunk), chunk.payload)


def _rejected(_: bytes, reason: str) -> None:
    raise RunError(f"measuring failed: a message was rejected as {reason}")
