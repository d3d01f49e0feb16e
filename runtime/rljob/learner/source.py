"""Experience from the buffer, in order, each delivery once.

The learner pulls: it names the position up to which everything was trained on and the one up to which
it may be sent, and repeats itself while it waits. What it was sent and did not confirm, a new life of it
gets again; what it did train on, it recognises (`Watermark`) when a restarted buffer offers it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rljob.algorithms.base import Arrays
from rljob.plan import OnPolicyData, Plan, ReplayData
from rljob.wire.arrays import pack, unpack
from rljob.wire.delivery import Receiver, Verdict
from rljob.wire.messages import Header, Kind, Rejected, decode_json, encode_json
from rljob.wire.sockets import Endpoint, Message, Wire

ASK_EVERY = 0.25
"""Seconds after which a request is repeated while nothing comes."""
WAIT = 0.1


@dataclass
class Watermark:
    """Which segments were trained on, by actor."""

    actors: dict[int, Receiver] = field(default_factory=dict)

    def take(self, actor: int, epoch: int, seq: int) -> bool:
        """Record a segment; False when it was trained on before.

        Segments of one actor arrive in any order and with gaps: the buffer may have evicted some.
        So the mark is moved behind what is taken, and what lies below it counts as done.
        """
        receiver = self.actors.setdefault(actor, Receiver())
        receiver.begin(epoch)
        verdict = receiver.check(epoch, seq)
        if verdict is Verdict.BEYOND:
            receiver.ack, receiver.bits = seq, 0
            verdict = Verdict.NEW
        if verdict is not Verdict.NEW:
            return False
        receiver.commit(epoch, seq)
        return True

    def to_json(self) -> list[list[int]]:
        return [[a, r.epoch, r.ack, r.bits] for a, r in sorted(self.actors.items())]

    @classmethod
    def from_json(cls, value: list[list[int]]) -> Watermark:
        return cls({actor: Receiver(epoch, ack, bits) for actor, epoch, ack, bits in value})


@dataclass(frozen=True)
class Segment:
    """One segment as the buffer handed it over; `arrays` share memory with the message."""

    origin: tuple[int, int, int]
    version: int
    arrays: Arrays


@dataclass(frozen=True)
class Statistics:
    """What the buffer says of itself; see docs/protocol.md, STATS."""

    arena: int
    episodes: np.ndarray
    numbers: dict[str, float]


@dataclass(frozen=True)
class Opened:
    """What the buffer says in WELCOME."""

    plan: Plan
    arena: int
    steps: int
    problem: str


class Source:
    """The learner's connection to the buffer.

    Args:
        lineage: of this life of the learner.
        ahead: deliveries that may be on their way beyond those being trained on, in updates.
    """

    def __init__(
        self, wire: Wire, endpoint: Endpoint, lineage: int, ahead: int, watermark: Watermark
    ) -> None:
        self._wire = wire
        self._endpoint = endpoint
        self._lineage = lineage
        self._ahead = ahead
        self.watermark = watermark
        self.version = -1
        self._opened: Opened | None = None
        self._incarnation = 0
        self._done = 0
        self._next = 0
        self._early: dict[int, Message] = {}
        self._asked_at = float("-inf")
        self.statistics: list[Statistics] = []
        self.duplicates = 0
        self.malformed = 0
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.restore: dict[str, str] = {}
        """What HELLO asks the buffer to go back to: `restore`, a snapshot's name, and its `sha256`."""
        self._hello = 0

    def poll(self, now: float, taken: int = 0) -> Opened | None:
        """Take what has come, ask for more; what the buffer welcomed us with, once it did.

        Args:
            taken: deliveries taken and not trained on yet.
        """
        for message in self._endpoint.receive():
            try:
                self._take(message)
            except (Rejected, KeyError, ValueError, TypeError):
                self.malformed += 1
        if now - self._asked_at >= ASK_EVERY:
            self._asked_at = now
            self._ask(taken)
        return self._opened

    def take(self) -> Message | None:
        """The next delivery in order, if it has come."""
        message = self._early.pop(self._next, None)
        if message is not None:
            self._next += 1
        return message

    def confirm(self, version: int, now: float) -> None:
        """Say that all that was taken is trained on, and that `version` is published."""
        self.version = version
        self._done = self._next
        self._asked_at = now
        self._ask(0)

    def segment(self, message: Message) -> Segment | None:
        """Read an on-policy delivery; None when it was trained on before."""
        assert self._opened is not None
        header = message.header
        origin = (header.actor, header.epoch, header.seq)
        if not self.watermark.take(*origin):
            self.duplicates += 1
            return None
        layout = self._opened.plan.layout
        return Segment(origin, header.version, layout.views(message.payload))

    def reprioritise(self, keys: np.ndarray, priorities: np.ndarray) -> None:
        """Send new priorities of sampled transitions."""
        payload = pack({"key": keys, "priority": priorities.astype(np.float32)})
        header = Header(Kind.PRIORITIES, epoch=self._lineage)
        self._endpoint.send(b"", header, memoryview(payload))

    def request_snapshot(self, name: str, keep: int) -> None:
        """Ask the buffer to save its content; the answer appears in `snapshots`."""
        payload = encode_json({"name": name, "keep": keep})
        self._endpoint.send(b"", Header(Kind.SNAPSHOT, epoch=self._lineage), payload)

    def wait(self) -> None:
        self._wire.wait(WAIT)

    def _ask(self, taken: int) -> None:
        if self._opened is None or self._incarnation == 0:
            header = Header(Kind.HELLO, epoch=self._lineage, version=self.version, seq=taken)
            self._hello = taken
            self._endpoint.send(b"", header, encode_json(self.restore))
            return
        else:
            unit = self._unit(self._opened.plan)
            limit = self._done + (1 + self._ahead) * unit
            header = Header(
                Kind.PULL,
                epoch=self._lineage,
                version=self.version,
                ack=self._done,
                limit=limit,
            )
        self._endpoint.send(b"", header)

    @staticmethod
    def _unit(plan: Plan) -> int:
        return plan.data.segments_per_batch if isinstance(plan.data, OnPolicyData) else 1

    def _take(self, message: Message) -> None:
        header = message.header
        if header.kind is Kind.WELCOME and self._incarnation == 0:
            opened = _read_welcome(message)
            self._opened, self._incarnation = opened, header.ack
            self._done, self._next, self._early = 0, self._hello, {}
            self._asked_at = float("-inf")
        elif header.kind is Kind.WHO and self._incarnation != 0:
            # The buffer was restarted, or another learner took our place and went.
            self._incarnation = 0
            self._asked_at = float("-inf")
        elif header.ack != self._incarnation:
            return
        elif header.kind is Kind.SNAPSHOT_DONE:
            answer = decode_json(message.payload)
            self.snapshots[str(answer["name"])] = answer
        elif header.kind is Kind.STATS:
            self.statistics.append(_read_statistics(message))
        elif header.kind in (Kind.SEGMENT, Kind.BATCH) and header.limit >= self._next:
            self._early[header.limit] = message


def _read_welcome(message: Message) -> Opened:
    value = decode_json(message.payload)
    return Opened(
        Plan.from_json(value["plan"]),
        int(value["arena"]),
        int(value["steps"]),
        str(value.get("problem", "")),
    )


def _read_statistics(message: Message) -> Statistics:
    arrays = unpack(message.payload)
    episodes = arrays.pop("episode")
    numbers = {name: float(array[0]) for name, array in arrays.items()}
    return Statistics(message.header.epoch, episodes, numbers)
