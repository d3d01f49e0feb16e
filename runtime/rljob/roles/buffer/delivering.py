"""The learner's side of the buffer: deliveries in flight, and the two modes of delivery."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from rljob.envs.spaces import Arrays
from rljob.roles.buffer.arena import Arena
from rljob.roles.buffer.limiter import OnPolicyLimiter, ReplayLimiter
from rljob.roles.buffer.queue import SegmentQueue, Stored
from rljob.roles.buffer.replay import Drawn, ReplayStore, Sampled
from rljob.roles.buffer.suspects import Suspects
from rljob.spec.experience import Replay
from rljob.wire.arrays import unpack
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Header, MessageKind, Rejected
from rljob.wire.shared import Outbox
from rljob.wire.watermark import Origin, Watermark, numbers

Evicted = Callable[[str, int, int, int], None]
"""Called for each eviction with reason, actor, epoch, seq."""
KeepAside = Callable[[Arrays, float], None]
"""Called for each batch that is set aside, with its arrays and the time."""


SHARED_BYTES = 1024 * 1024
"""Batches of at least this size go through shared memory; smaller ones gain nothing by it."""
MAX_SHARED_BYTES = 1024**3
"""For all batches that are under way together; what needs more goes through the socket."""


@dataclass
class InFlight:
    """A delivery that the learner has not confirmed.

    Attributes:
        slot: of the queue, where it lies there.
        place: in the outbox, where it lies there.
        sampled: what it carries, where it was sampled.
    """

    header: Header
    payload: memoryview
    sent_at: float
    slot: int = -1
    place: int = -1
    sampled: Sampled | None = None


@dataclass
class LearnerLink:
    """One life of the learner.

    Attributes:
        lineage, first_version: of this life.
        version: newest version that it has published.
        segments_per_batch: deliveries that one version is made of.
        done: deliveries below this position are trained on.
        position: of the next delivery; a learner that has part of a batch starts behind it.
        limit: position up to which it may be sent.
        lent: deliveries it has not confirmed, by position.
        stats_due: it has asked, and was not sent statistics since.
    """

    client: bytes
    lineage: int
    first_version: int
    version: int
    segments_per_batch: int
    done: int = 0
    position: int = 0
    limit: int = 0
    lent: dict[int, InFlight] = field(default_factory=dict)
    stats_due: bool = False

    def lend(self, lent: InFlight) -> InFlight:
        lent.header.limit = self.position
        self.lent[self.position] = lent
        self.position += 1
        return lent

    @property
    def in_training(self) -> list[InFlight]:
        """The batch that it trains on, in order: the first that is not confirmed, once it was sent whole."""
        end = self.done + self.segments_per_batch
        if self.position < end:
            return []
        return [self.lent[position] for position in sorted(self.lent) if position < end]


@dataclass(frozen=True)
class Known:
    """Experience that a learner reports in HELLO.

    Attributes:
        trained: segments that it trained on and whose confirmation may have been lost.
        holding: segments of a batch that it has begun to collect, in order.
        segments_per_batch: how many it takes for a batch where the algorithm leaves it open.
        shares: deliveries that it reads in shared memory at a time; 0 when it cannot.
    """

    trained: Watermark
    holding: list[Origin]
    segments_per_batch: int
    shares: int

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Known:
        """Raises Rejected for an invalid HELLO."""
        holding = numbers(value.get("holding", []), 3)
        trained = Watermark.from_json(value.get("trained", []))
        origins = [(actor, epoch, seq) for actor, epoch, seq in holding]
        if len(set(origins)) != len(origins):
            raise Rejected("json", "a segment is held twice")
        count = value.get("segments_per_batch")
        if type(count) is not int or not 1 <= count < 2**31:
            raise Rejected("json", f"segments_per_batch is {str(count)[:80]}")
        shares = value.get("shares", 0)
        if type(shares) is not int or not 0 <= shares < 2**31:
            raise Rejected("json", f"shares is {str(shares)[:80]}")
        return cls(trained, origins, count, shares)


@dataclass(frozen=True)
class Freshness:
    """Freshness of one delivery: versions behind, age in seconds, and number of steps."""

    lags: np.ndarray
    ages: np.ndarray
    steps: int


class Mode(Protocol):
    """How experience is stored and handed out."""

    def fits(self) -> bool:
        """Whether one more segment can be stored now."""
        ...

    def put(self, payload: memoryview, origin: Origin, stamp: tuple[int, int], now: float) -> bool:
        """Store a segment; False when it must not be used and was not stored."""
        ...

    def room(self, link: LearnerLink, granted: int) -> int:
        """Segments that may be granted beyond those granted."""
        ...

    def minimum(self, link: LearnerLink, granted: int) -> int:
        """The lowest version that a segment begun now may be acted with."""
        ...

    def attach(
        self, link: LearnerLink, before: LearnerLink | None, known: Known, now: float
    ) -> None:
        """A learner says HELLO; `before` is the connection that this replaces. Where that was of an earlier
        life, the learner died: of what it was training on, for all that is known."""
        ...

    def deliver(self, link: LearnerLink, now: float) -> Iterator[tuple[InFlight, Freshness]]: ...

    def confirmed(self, lent: InFlight) -> None: ...

    @property
    def shared(self) -> dict[str, str] | None:
        """Where the learner that is attached finds deliveries, when they do not come by the socket."""
        ...

    @property
    def fill(self) -> float: ...

    @property
    def stored(self) -> int:
        """Steps that are stored."""
        ...

    def steps(self, slot: int) -> int:
        """Steps in one slot, without those that only reset."""
        ...


class OnPolicyMode:
    """Segments in order, each trained on once, none older than the policy-lag bound."""

    shared = None

    def __init__(
        self,
        arena: Arena,
        plan: ExperienceFormat,
        max_policy_lag: int,
        evicted: Evicted,
        strict: bool,
        keep_aside: KeepAside,
    ) -> None:
        self._strict = strict
        self._suspects: Suspects[Origin] = Suspects()
        self._keep_aside = keep_aside
        self._queue = SegmentQueue(arena, plan.layout.size)
        self._layout = plan.layout
        # Of the learner at work; before the first, nothing is granted or delivered.
        self._limiter = OnPolicyLimiter(1, max_policy_lag)
        self._evicted = evicted
        self._size = plan.layout.size
        self._steps = plan.steps

    @property
    def fill(self) -> float:
        return self._queue.fill

    @property
    def stored(self) -> int:
        return len(self._queue) * self._steps

    def fits(self) -> bool:
        return self._queue.free > 0

    def steps(self, slot: int) -> int:
        return int(np.count_nonzero(self._layout.views(self._queue.payload(slot))["valid"]))

    def put(self, payload: memoryview, origin: Origin, stamp: tuple[int, int], now: float) -> bool:
        self._queue.put(payload[: self._size], origin, stamp, now)
        return True

    def room(self, link: LearnerLink, granted: int) -> int:
        room = self._limiter.room(link.position, len(self._queue), granted, link.version)
        return min(room, self._queue.free - granted)

    def minimum(self, link: LearnerLink, granted: int) -> int:
        # Any of those granted may come last, so all must be fresh enough for the last position; but
        # nothing newer than what is published can be asked for.
        last = link.position + len(self._queue) + max(0, granted - 1)
        return max(link.first_version, min(link.version, self._limiter.oldest_useful(last)))

    def attach(
        self, link: LearnerLink, before: LearnerLink | None, known: Known, now: float
    ) -> None:
        self._limiter = replace(
            self._limiter,
            segments_per_batch=link.segments_per_batch,
            first_version=link.first_version,
        )
        if before is not None:
            self._queue.give_back([lent.slot for lent in before.lent.values()])
            self._died(before, link, now)
        waiting = {(s.actor, s.epoch, s.seq): s for s in self._queue.waiting()}
        for origin, stored in waiting.items():
            if known.trained.has(*origin):
                self._queue.remove(stored.slot)
                self._queue.release(stored.slot)
        # What the learner holds takes the first positions, so that the next ones complete its batch.
        for origin in known.holding:
            held = waiting.get(origin)
            if held is None or known.trained.has(*origin):
                link.position += 1
            else:
                self._queue.remove(held.slot)
                link.lend(InFlight(_segment_header(held), held.payload, now, held.slot))

    def deliver(self, link: LearnerLink, now: float) -> Iterator[tuple[InFlight, Freshness]]:
        while link.position < link.limit and (head := self._queue.head()) is not None:
            reason = self._unfit(head, link)
            self._queue.take()
            if reason:
                self._evicted(reason, head.actor, head.epoch, head.seq)
                self._queue.release(head.slot)
                continue
            lag = self._limiter.trained_at(link.position) - head.version
            lent = link.lend(InFlight(_segment_header(head), head.payload, now, head.slot))
            steps = self.steps(head.slot)
            yield lent, Freshness(np.array([lag]), np.array([max(0.0, now - head.time)]), steps)

    def confirmed(self, lent: InFlight) -> None:
        self._queue.release(lent.slot)
        self._suspects.trained(_origin(lent.header))

    def _died(self, before: LearnerLink, link: LearnerLink, now: float) -> None:
        """Set aside the segments of which the learner died too often; they are waiting again."""
        # A strict run repeats itself, so what it died of comes again.
        if self._strict or not died_in_training(before, link):
            return
        guilty = set(self._suspects.died([_origin(lent.header) for lent in before.in_training]))
        found = [stored for stored in self._queue.waiting() if stored.origin in guilty]
        if not found:
            return
        views = [self._layout.views(stored.payload) for stored in found]
        arrays = {name: np.stack([each[name] for each in views]) for name in views[0]}
        for name in ("actor", "epoch", "seq", "version"):
            arrays[name] = np.array([getattr(stored, name) for stored in found])
        self._keep_aside(arrays, now)
        for stored in found:
            self._evicted("set_aside", *stored.origin)
            self._queue.remove(stored.slot)
            self._queue.release(stored.slot)

    def _unfit(self, head: Stored, link: LearnerLink) -> str:
        if head.lineage != link.lineage and (self._strict or head.version > link.first_version):
            # Acted by a version that died with its learner; the number now means other weights.
            # In strict mode a resumed run repeats what came after the checkpoint, so all of it goes.
            return "lineage"
        if head.version < self._limiter.oldest_useful(link.position):
            return "lag"
        return ""


def died_in_training(before: LearnerLink, link: LearnerLink) -> bool:
    """Whether the learner before ended while it had a batch to train on."""
    return before.lineage < link.lineage and bool(before.in_training)


def _origin(header: Header) -> Origin:
    return header.actor, header.epoch, header.seq


def _segment_header(stored: Stored) -> Header:
    return Header(
        MessageKind.SEGMENT,
        actor=stored.actor,
        epoch=stored.epoch,
        seq=stored.seq,
        version=stored.version,
        lineage=stored.lineage,
    )


class ReplayMode:
    """Transitions, or sequences, in a ring, sampled in the samples-per-insert band."""

    def __init__(
        self,
        arena: Arena,
        plan: ExperienceFormat,
        data: Replay,
        limiter: ReplayLimiter,
        seed: int,
        keep_aside: KeepAside,
    ) -> None:
        self._lineage = 0
        self._suspects: Suspects[Drawn] = Suspects()
        self._keep_aside = keep_aside
        self._again: Sampled | None = None
        self._arena = arena
        self._layout = plan.layout
        self._store = ReplayStore(
            arena,
            plan.layout,
            data.priority_exponent,
            data.length,
            data.period,
            data.start,
            data.agents,
            data.weighting,
        )
        self._data = data
        self._limiter = limiter
        self._rng = np.random.default_rng(seed)
        self._outbox: Outbox | None = None

    @property
    def shared(self) -> dict[str, str] | None:
        return None if self._outbox is None else self._outbox.address()

    @property
    def fill(self) -> float:
        return self._store.fill

    @property
    def stored(self) -> int:
        return self._store.held

    def fits(self) -> bool:
        return True

    def steps(self, slot: int) -> int:
        return self._store.valid(slot)

    def put(self, payload: memoryview, origin: Origin, stamp: tuple[int, int], now: float) -> bool:
        if self._limiter.strict and stamp[0] != self._lineage:
            return False
        evicted = self._store.put(self._layout.views(payload), origin, stamp, now)
        self._arena.count("evicted", evicted)
        return True

    def room(self, link: LearnerLink, granted: int) -> int:
        if self._limiter.strict and link.lent:
            return 0
        inserted, sampled = self._arena.counter("steps"), self._arena.counter("sampled")
        return self._limiter.room(inserted, granted, sampled, self._store.ready > 0)

    def minimum(self, link: LearnerLink, granted: int) -> int:
        return link.version if self._limiter.strict else link.first_version

    def attach(
        self, link: LearnerLink, before: LearnerLink | None, known: Known, now: float
    ) -> None:
        self._lineage = link.lineage
        if before is not None and not self._limiter.strict and died_in_training(before, link):
            self._died(before.in_training[0], now)
        # Another one for each learner: one that has stalled may still read in the last one.
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None
        size = self._store.batch_bytes(self._data.updates_per_publish, self._data.batch_size)
        if size >= SHARED_BYTES and 0 < known.shares * size <= MAX_SHARED_BYTES:
            with contextlib.suppress(OSError):
                self._outbox = Outbox(size, known.shares)

    def _died(self, lent: InFlight, now: float) -> None:
        """Send the same batch again, or set it aside when the learner died of it too often."""
        sampled = lent.sampled
        assert sampled is not None
        if self._suspects.died([sampled.drawn]):
            self._keep_aside(unpack(sampled.payload.data), now)
            self._store.discard(sampled.drawn)
        else:
            # A learner that is only frozen may still read, and write, what was shared with it.
            self._again = replace(sampled, payload=sampled.payload.copy())

    def deliver(self, link: LearnerLink, now: float) -> Iterator[tuple[InFlight, Freshness]]:
        if self._again is not None and link.position < link.limit:
            sampled, self._again = self._again, None
            yield self._lend(link, sampled, now)
        while link.position < link.limit and self._limiter.may_sample(
            self._arena.counter("steps"), self._arena.counter("sampled"), self._store.ready > 0
        ):
            yield self._batch(link, now)

    def _batch(self, link: LearnerLink, now: float) -> tuple[InFlight, Freshness]:
        count, batch = self._data.updates_per_publish, self._data.batch_size
        size = self._store.batch_bytes(count, batch)
        place, memory = -1, None
        if self._outbox is not None and (taken := self._outbox.take(size)) is not None:
            place, memory = taken
        sampled = self._store.sample(count, batch, self._rng, now, memory)
        self._arena.count("sampled", self._data.samples)
        return self._lend(link, sampled, now, place)

    def _lend(
        self, link: LearnerLink, sampled: Sampled, now: float, place: int = -1
    ) -> tuple[InFlight, Freshness]:
        acted = round(float(sampled.versions.mean()))
        header = Header(MessageKind.BATCH, version=acted, lineage=link.lineage)
        payload = sampled.payload.data
        if place >= 0:
            header.seq, header.bits, payload = place, len(payload), memoryview(b"")
        lent = link.lend(InFlight(header, payload, now, place=place, sampled=sampled))
        return lent, Freshness(link.version - sampled.versions, sampled.ages, self._data.samples)

    def confirmed(self, lent: InFlight) -> None:
        if lent.sampled is not None:
            self._suspects.trained(lent.sampled.drawn)
        # Sampling does not consume, but the place can be written again.
        if lent.place >= 0 and self._outbox is not None:
            self._outbox.give_back(lent.place)

    @property
    def random_state(self) -> dict[str, Any]:
        """Of sampling, as JSON."""
        state: dict[str, Any] = dict(self._rng.bit_generator.state)
        return state

    @random_state.setter
    def random_state(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state

    def reprioritise(self, keys: np.ndarray, priorities: np.ndarray) -> None:
        """See `ReplayStore.reprioritise`."""
        self._store.reprioritise(keys, priorities)
