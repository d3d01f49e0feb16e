"""Many rollouts at several buffers, in one process and in simulated time: what a segment costs the buffers.

The buffers are the real ones but for their sockets. Each takes a turn for every message, as one that keeps
up with its rollouts does. The learner takes one segment of each rollout for a batch, from all of the
buffers, and goes on when it has them.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.roles.buffer.core import Buffer, Outgoing
from rljob.roles.buffer.store import Observer, StoreSettings
from rljob.spec.experience import Field, OnPolicy
from rljob.wire.arrays import Layout
from rljob.wire.delivery import Sender
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Header, MessageKind, encode_json
from rljob.wire.sockets import Message

LENGTH, ENVS = 32, 32
"""Steps in a segment of each environment, and environments of a rollout."""
SEGMENT_SECONDS, SPREAD = 0.1, 0.3
"""Simulated time that a rollout takes for a segment, and by how much of it that varies."""
UPDATE_SECONDS = 0.02
STATUS_EVERY = 1.0
LAG = 4
WARM = 4
"""Segments of each rollout before what they cost is counted."""


def plan() -> ExperienceFormat:
    """Segments as those of PPO on CartPole."""
    steps = (LENGTH, ENVS)
    arrays = [("observation", "float32", (LENGTH + 1, ENVS, 4)), ("action", "int64", steps)]
    arrays += [(name, "float32", steps) for name in ("reward", "log_prob")]
    arrays += [(name, "bool", steps) for name in ("terminated", "truncated", "valid")]
    layout = Layout(tuple(Field(*array) for array in arrays))
    return ExperienceFormat(
        layout, OnPolicy(LENGTH), Spaces(BoxSpace((4,)), DiscreteSpace(2)).to_json()
    )


@dataclass
class Rollout:
    """One that sends as soon as it may."""

    number: int
    shard: int
    sender: Sender = field(default_factory=lambda: Sender(retransmit_after=1e9))
    busy: bool = False

    @property
    def client(self) -> bytes:
        return f"rollout-{self.number}".encode()


class Fleet:
    """A job without learning: so many rollouts at so many buffers.

    Attributes:
        seconds: of processor time that the buffers have used.
        segments: that the learner has been handed.
    """

    def __init__(self, rollouts: int, buffers: int, seed: int) -> None:
        self.seconds, self.segments = 0.0, 0
        self._plan = plan()
        payload, arrays = self._plan.layout.allocate()
        arrays["valid"][...] = True
        self._payload, self._size = payload.data, self._plan.layout.size
        self._random = random.Random(seed)
        self._now, self._order = 0.0, itertools.count()
        self._events: list[tuple[float, int, str, int]] = []
        settings = StoreSettings(10**9, LAG, None, False, seed)
        self._buffers = [Buffer(settings, None, 1 + i, Observer()) for i in range(buffers)]
        self._rollouts = [Rollout(i, i % buffers) for i in range(rollouts)]
        self._each = [sum(r.shard == shard for r in self._rollouts) for shard in range(buffers)]
        self._version = 0
        self._held = [0] * buffers
        self._episodes = [0] * buffers
        self._introduce()

    def run(self, segments: int) -> None:
        """Go on until the learner has so many more."""
        until = self.segments + segments
        while self.segments < until:
            self._now, _, what, index = heapq.heappop(self._events)
            if what == "segment":
                self._send(self._rollouts[index])
            elif what == "status":
                self._say(self._rollouts[index], MessageKind.STATUS, encode_json({"waiting": 0.5}))
                self._later(STATUS_EVERY, "status", index)
            else:
                self._publish()

    def _introduce(self) -> None:
        hello = encode_json(self._plan.to_json())
        for rollout in self._rollouts:
            self._say(rollout, MessageKind.HELLO, hello)
            self._later(STATUS_EVERY * self._random.random(), "status", rollout.number)
        for shard, buffer in enumerate(self._buffers):
            known = encode_json({"segments_per_batch": self._each[shard]})
            header = self._header(MessageKind.HELLO, len(known))
            header.epoch = 1
            list(buffer.samples(Message(b"learner-0", header, memoryview(known)), self._now))
        self._pull()

    def _later(self, seconds: float, what: str, index: int = 0) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._order), what, index))

    def _send(self, rollout: Rollout) -> None:
        rollout.busy = False
        seq = rollout.sender.send(self._size, self._now)
        self._say(rollout, MessageKind.SEGMENT, self._payload, seq)

    def _say(
        self, rollout: Rollout, kind: MessageKind, payload: bytes | memoryview, seq: int = 0
    ) -> None:
        header = self._header(kind, len(payload))
        header.actor, header.epoch, header.seq = 1 + rollout.number, 1, seq
        header.lineage, header.version = 1, self._version
        if kind is not MessageKind.SEGMENT:
            header.limit = rollout.sender.limit
        message = Message(rollout.client, header, memoryview(payload))
        buffer = self._buffers[rollout.shard]
        self._turn(rollout.shard, buffer.experience(message, self._now))

    def _header(self, kind: MessageKind, size: int) -> Header:
        return Header(kind, size=size)

    def _turn(self, shard: int, answers: Iterable[Outgoing]) -> None:
        """What the buffer answers to a message and does in the turn that follows."""
        begun = time.thread_time()
        said = [*answers, *self._buffers[shard].turn(self._now)]
        self.seconds += time.thread_time() - begun
        for message in said:
            header = message.header
            if header.kind is MessageKind.GRANT:
                self._granted(self._rollouts[header.actor - 1], header)
            elif header.kind is MessageKind.SEGMENT:
                self._delivered(shard)

    def _granted(self, rollout: Rollout, header: Header) -> None:
        rollout.sender.granted(header.ack, header.bits, header.limit)
        if not rollout.busy and rollout.sender.may_send(self._size):
            rollout.busy = True
            spread = 1 + SPREAD * (self._random.random() - 0.5)
            self._later(SEGMENT_SECONDS * spread, "segment", rollout.number)

    def _delivered(self, shard: int) -> None:
        self.segments += 1
        self._held[shard] += 1
        if all(map(int.__ge__, self._held, self._each)):
            self._held = [held - each for held, each in zip(self._held, self._each, strict=True)]
            self._later(UPDATE_SECONDS, "publish")

    def _publish(self) -> None:
        self._version += 1
        self._pull()

    def _pull(self) -> None:
        for shard, buffer in enumerate(self._buffers):
            each = self._each[shard]
            header = self._header(MessageKind.PULL, 0)
            header.epoch, header.version = 1, self._version
            header.ack = self._version * each
            header.seq = header.ack + self._held[shard]
            header.limit = header.ack + 2 * each
            self._turn(
                shard, buffer.samples(Message(b"learner-0", header, memoryview(b"")), self._now)
            )


def segment_cost(rollouts: int, buffers: int, segments: int, seed: int) -> float:
    """Processor seconds that the buffers need for a segment.

    Args:
        segments: over which that is the mean.
    """
    fleet = Fleet(rollouts, buffers, seed)
    fleet.run(WARM * rollouts)
    before, count = fleet.seconds, fleet.segments
    fleet.run(segments)
    return (fleet.seconds - before) / (fleet.segments - count)
