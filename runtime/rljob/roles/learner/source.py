"""Experience from the buffer, in order, each delivery once.

The learner pulls: it names the position up to which everything was trained on and the one up to which
it may be sent, and repeats itself while it waits. What it was sent and did not confirm, a new life of it
gets again. HELLO says what it trained on and what it holds of a batch that is not complete, so that a
buffer that was restarted offers neither again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rljob.algorithms.base import Arrays
from rljob.errors import RunError
from rljob.roles.learner.episodes import EndedEpisodes
from rljob.telemetry.metrics import LearnerMetrics
from rljob.wire.application_figures import ApplicationFigures, take_figures
from rljob.wire.arrays import pack, unpack
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Header, MessageKind, Rejected, decode_json, encode_json
from rljob.wire.refused import PeerRefusal
from rljob.wire.shared import Inbox
from rljob.wire.sockets import Endpoint, Message, Wire
from rljob.wire.watermark import Origin, Watermark

ASK_EVERY = 0.25
"""Seconds after which a request is repeated while nothing comes."""
REQUEST_EVERY = 1.0
"""Seconds after which a request for a snapshot is repeated."""
UNREACHED_AFTER = 5.0
"""Seconds without any answer after which the buffer counts as out of reach."""
WAIT = 0.1


@dataclass(frozen=True)
class Segment:
    """One segment as the buffer handed it over; `arrays` share memory with the message."""

    origin: Origin
    version: int
    arrays: Arrays


@dataclass(frozen=True)
class Statistics:
    """Statistics of the buffer; see docs/design/protocol.md, STATS.

    Attributes:
        arena: the buffer's file, by whose counters the numbers go.
        first: how many episodes had ended before the first of `episodes`.
        applications: the busiest.
    """

    arena: int
    first: int
    episodes: EndedEpisodes
    numbers: dict[str, float]
    applications: tuple[ApplicationFigures, ...] = ()


@dataclass(frozen=True)
class Opened:
    """Content of the buffer's WELCOME."""

    plan: ExperienceFormat
    arena: int
    steps: int
    problem: str
    shared: Any


class ExperienceSource:
    """The learner's connection to the buffer.

    Args:
        lineage: of this life of the learner.
        ahead: deliveries that may be on their way beyond those being trained on, in updates.
        segments_per_batch: where the algorithm leaves it open.
        metrics: count what is dropped.
        same_machine: whether the buffer may hand over large batches in shared memory.

    Attributes:
        lineage: higher than what was asked for when the buffer knew a higher one, for clocks differ.
        watermark: what was trained on, by this life and those before it.
        heard: the buffer's file, and how many of the episodes that ever ended there are known.
    """

    def __init__(
        self,
        wire: Wire,
        endpoint: Endpoint,
        lineage: int,
        ahead: int,
        segments_per_batch: int,
        metrics: LearnerMetrics,
        same_machine: bool = False,
    ) -> None:
        self._wire = wire
        self._endpoint = endpoint
        self.lineage = lineage
        self._ahead = ahead
        self._segments_per_batch = segments_per_batch
        self._metrics = metrics
        self._shares = 1 + ahead if same_machine else 0
        self._inbox: Inbox | None = None
        self.watermark = Watermark()
        self._holding: dict[Origin, None] = {}
        self.heard = (0, 0)
        self.version = 0
        self._opened: Opened | None = None
        self._incarnation = 0
        self._done = 0
        self._next = 0
        self._early: dict[int, Message] = {}
        self._asked_at = float("-inf")
        self._requested_at = float("-inf")
        self._unanswered: float | None = None
        self.statistics: list[Statistics] = []
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.restore: dict[str, str] = {}
        """What HELLO asks the buffer to go back to: `restore`, a snapshot's name, and its `sha256`."""

    def poll(self, now: float) -> Opened | None:
        """Take what has come, ask for more; what the buffer welcomed us with, once it did.

        Raises:
            RunError: when another learner has taken over, or the experience is of another kind now.
        """
        self._wire.renew()
        self._receive()
        if now - self._asked_at >= ASK_EVERY:
            self._asked_at = now
            self._ask()
            if self._unanswered is None:
                self._unanswered = now
        return self._opened

    def unreached(self, now: float, seconds: float = UNREACHED_AFTER) -> bool:
        """Whether requests have gone unanswered for so long; each is answered, if by statistics alone."""
        return self._unanswered is not None and now - self._unanswered >= seconds

    def take(self) -> Message | None:
        """The next delivery in order, if it has come."""
        message = self._early.pop(self._next, None)
        if message is not None:
            self._next += 1
        return message

    def trained(self, origins: Iterable[Origin]) -> None:
        """Move the watermark over segments that were held until now."""
        for origin in origins:
            del self._holding[origin]
            self.watermark.take(*origin)

    def confirm(self, version: int, now: float) -> None:
        """Say that all that was taken is trained on, and that `version` is published."""
        self.version = version
        self._done = self._next
        self._asked_at = now
        # First: what has come meanwhile need not be sent again.
        self._receive()
        self._ask()

    def segment(self, message: Message) -> Segment | None:
        """Read an on-policy delivery, which is held until `trained`; None when it came before."""
        assert self._opened is not None
        header = message.header
        origin = (header.actor, header.epoch, header.seq)
        if origin in self._holding or self.watermark.has(*origin):
            self._metrics.segments_duplicate.inc()
            return None
        self._holding[origin] = None
        layout = self._opened.plan.layout
        return Segment(origin, header.version, layout.views(message.payload))

    def reprioritise(self, keys: np.ndarray, priorities: np.ndarray) -> None:
        """Send new priorities of sampled transitions."""
        payload = pack({"key": keys, "priority": priorities.astype(np.float32)})
        header = Header(MessageKind.PRIORITIES, epoch=self.lineage)
        self._endpoint.send(b"", header, payload.data)

    def request_snapshot(self, name: str, keep: int, now: float) -> None:
        """Ask the buffer to save its content, and ask again each second; the answer appears in `snapshots`."""
        if self._incarnation == 0 or now - self._requested_at < REQUEST_EVERY:
            return
        self._requested_at = now
        payload = encode_json({"name": name, "keep": keep})
        self._endpoint.send(b"", Header(MessageKind.SNAPSHOT, epoch=self.lineage), payload)

    def wait(self) -> None:
        self._wire.wait(WAIT)

    def _receive(self) -> None:
        for message in self._endpoint.receive():
            self._unanswered = None
            try:
                self._take(message)
            except Rejected as error:
                self._metrics.messages_rejected[error.reason].inc()
            except (LookupError, ValueError, TypeError, ArithmeticError):
                self._metrics.messages_rejected["json"].inc()

    def _ask(self) -> None:
        if self._opened is None or self._incarnation == 0:
            header = Header(MessageKind.HELLO, epoch=self.lineage, version=self.version)
            known = {
                "trained": self.watermark.to_json(),
                "holding": list(self._holding),
                "segments_per_batch": self._segments_per_batch,
            }
            if self._shares:
                known["shares"] = self._shares
            self._endpoint.send(b"", header, encode_json({**known, **self.restore}))
            return
        unit = self._opened.plan.segments_per_batch(self._segments_per_batch)
        header = Header(
            MessageKind.PULL,
            epoch=self.lineage,
            seq=self._received,
            version=self.version,
            ack=self._done,
            bits=self.heard[1] if self.heard[0] == self._opened.arena else 0,
            limit=self._done + (1 + self._ahead) * unit,
        )
        self._endpoint.send(b"", header)

    @property
    def _received(self) -> int:
        """The first position that has not come."""
        position = self._next
        while position in self._early:
            position += 1
        return position

    def _take(self, message: Message) -> None:
        header = message.header
        if header.kind is MessageKind.WELCOME and self._incarnation == 0:
            opened = _read_welcome(message)
            if not self._share(opened.shared):
                return
            if self._opened is not None and opened.plan != self._opened.plan:
                raise RunError(
                    "the job's rollouts now send experience of another format than before"
                )
            self._opened, self._incarnation = opened, header.ack
            self._done, self._next, self._early = 0, len(self._holding), {}
            self._asked_at = float("-inf")
            # Only at the start: a buffer that is restarted later goes on with what it has.
            self.restore = {}
        elif header.kind is MessageKind.WHO and self._incarnation != 0:
            # The buffer was restarted, or another learner took our place and went.
            self._incarnation = 0
            self._asked_at = float("-inf")
            # It will be sent again; taken now, it would be in no HELLO.
            self._early = {}
        elif header.kind is MessageKind.REFUSED:
            self._refused(PeerRefusal.read(message.payload))
        elif header.ack != self._incarnation:
            return
        elif header.kind is MessageKind.SNAPSHOT_DONE:
            answer = decode_json(message.payload)
            self.snapshots[str(answer["name"])] = answer
        elif header.kind is MessageKind.STATS:
            assert self._opened is not None
            numbers = self._opened.plan.episode_numbers
            self.statistics.append(self._new(_read_statistics(message, numbers)))
        elif header.kind in (MessageKind.SEGMENT, MessageKind.BATCH) and header.limit >= self._next:
            if header.kind is MessageKind.BATCH:
                message = self._found(message)
                unpack(message.payload)
            elif not self._fits(message):
                raise Rejected("layout", "differs from what WELCOME said")
            self._early[header.limit] = message

    def _share(self, address: Any) -> bool:
        """Map the buffer's memory, if it has some for us; False when that has to be done without."""
        self._inbox = None
        if address is not None:
            try:
                self._inbox = Inbox(address)
            except OSError:
                # Asked again, the buffer sends everything through the socket.
                self._shares, self._asked_at = 0, float("-inf")
                return False
        return True

    def _found(self, message: Message) -> Message:
        """With the payload that lies in shared memory, if it does."""
        header = message.header
        if self._inbox is None or not header.bits:
            return message
        return replace(message, payload=self._inbox.view(header.seq, header.bits))

    def _refused(self, refusal: PeerRefusal) -> None:
        newest = refusal.newest
        if newest is not None and (self._incarnation != 0 or newest < self.lineage):
            return  # An answer to an earlier HELLO.
        if newest is None or self._opened is not None:
            raise RunError(f"the buffer refused this learner: {refusal.message}")
        # This process has just started, so it is the newer one even if the clocks differ.
        self.lineage = newest + 1
        self._asked_at = float("-inf")

    def _fits(self, message: Message) -> bool:
        return self._opened is not None and self._opened.plan.layout.matches(message.payload)

    def _new(self, statistics: Statistics) -> Statistics:
        """The same without the episodes that were heard of before."""
        arena, known = self.heard
        if arena != statistics.arena:
            known = statistics.first
        end = statistics.first + len(statistics.episodes)
        self.heard = statistics.arena, max(known, end)
        new = statistics.episodes.after(max(0, known - statistics.first))
        return replace(statistics, first=max(known, statistics.first), episodes=new)


def _read_welcome(message: Message) -> Opened:
    value = decode_json(message.payload)
    return Opened(
        ExperienceFormat.from_json(value["plan"]),
        int(value["arena"]),
        int(value["steps"]),
        str(value.get("problem", "")),
        value.get("shared"),
    )


def _read_statistics(message: Message, columns: int) -> Statistics:
    arrays = unpack(message.payload)
    episodes = EndedEpisodes.take(arrays, columns)
    applications = take_figures(arrays)
    numbers = {name: float(array[0]) for name, array in arrays.items()}
    return Statistics(message.header.epoch, message.header.seq, episodes, numbers, applications)
