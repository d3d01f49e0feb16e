"""The learner's end of the buffer: what has been handed out, and the two ways of handing out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rljob.buffer.arena import Arena
from rljob.buffer.limiter import OnPolicyLimiter, ReplayLimiter
from rljob.plan import Plan, ReplayData
from rljob.buffer.queue import SegmentQueue, Stored
from rljob.buffer.replay import ReplayStore
from rljob.wire.messages import Header, Kind

Evicted = Callable[[str, int, int, int], None]
"""Told of each eviction: reason, actor, epoch, seq."""


@dataclass
class Lent:
    """A delivery that the learner has not confirmed."""

    header: Header
    payload: memoryview
    sent_at: float
    slot: int = -1


@dataclass
class LearnerLink:
    """One life of the learner.

    Attributes:
        lineage, first_version: of this life.
        version: newest version that it has published.
        position: of the next delivery; a learner that has part of a batch starts behind it.
        limit: position up to which it may be sent.
        lent: deliveries it has not confirmed, by position.
    """

    client: bytes
    lineage: int
    first_version: int
    version: int
    position: int = 0
    limit: int = 0
    lent: dict[int, Lent] = field(default_factory=dict)

    def lend(self, lent: Lent) -> Lent:
        lent.header.limit = self.position
        self.lent[self.position] = lent
        self.position += 1
        return lent


@dataclass(frozen=True)
class Freshness:
    """Of one delivery: how many versions behind its steps are, and how old in seconds."""

    lags: np.ndarray
    ages: np.ndarray


class Mode(Protocol):
    """How experience is stored and handed out."""

    def fits(self) -> bool:
        """Whether one more segment can be stored now."""
        ...

    def put(
        self, payload: memoryview, origin: tuple[int, int, int], stamp: tuple[int, int], now: float
    ) -> None: ...

    def room(self, link: LearnerLink | None, granted: int) -> int:
        """Segments that may be granted beyond those granted."""
        ...

    def minimum(self, link: LearnerLink) -> int:
        """The lowest version that a segment granted now may be acted with."""
        ...

    def attach(self, link: LearnerLink, before: LearnerLink | None) -> None:
        """A learner's new life begins; `before` is the one that it replaces."""
        ...

    def deliver(self, link: LearnerLink, now: float) -> Iterator[tuple[Lent, Freshness]]: ...

    def confirmed(self, lent: Lent) -> None: ...

    @property
    def fill(self) -> float: ...

    @property
    def stored(self) -> int:
        """Steps that are stored."""
        ...


class OnPolicyMode:
    """Segments in order, each trained on once, none older than the policy-lag bound."""

    def __init__(
        self,
        arena: Arena,
        plan: Plan,
        limiter: OnPolicyLimiter,
        evicted: Evicted,
        strict: bool,
    ) -> None:
        self._strict = strict
        self._queue = SegmentQueue(arena, plan.layout.size)
        self._limiter = limiter
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

    def put(
        self, payload: memoryview, origin: tuple[int, int, int], stamp: tuple[int, int], now: float
    ) -> None:
        self._queue.put(payload[: self._size], origin, stamp, now)

    def room(self, link: LearnerLink | None, granted: int) -> int:
        if link is None:
            return 0
        room = self._limiter.room(link.position, len(self._queue), granted, link.version)
        return min(room, self._queue.free - granted)

    def minimum(self, link: LearnerLink) -> int:
        return max(
            link.first_version, self._limiter.oldest_useful(link.position + len(self._queue))
        )

    def attach(self, link: LearnerLink, before: LearnerLink | None) -> None:
        self._limiter.first_version = link.first_version
        if before is not None:
            self._queue.give_back([lent.slot for lent in before.lent.values()])

    def deliver(self, link: LearnerLink, now: float) -> Iterator[tuple[Lent, Freshness]]:
        while link.position < link.limit and (head := self._queue.head()) is not None:
            reason = self._unfit(head, link)
            self._queue.take()
            if reason:
                self._evicted(reason, head.actor, head.epoch, head.seq)
                self._queue.release(head.slot)
                continue
            header = Header(
                Kind.SEGMENT,
                actor=head.actor,
                epoch=head.epoch,
                seq=head.seq,
                version=head.version,
                lineage=head.lineage,
            )
            lag = self._limiter.trained_at(link.position) - head.version
            lent = link.lend(Lent(header, head.payload, now, head.slot))
            yield lent, Freshness(np.array([lag]), np.array([now - head.time]))

    def confirmed(self, lent: Lent) -> None:
        self._queue.release(lent.slot)

    def _unfit(self, head: Stored, link: LearnerLink) -> str:
        if head.lineage != link.lineage and (self._strict or head.version > link.first_version):
            # Acted by a version that died with its learner; the number now means other weights.
            # In strict mode a resumed run repeats what came after the checkpoint, so all of it goes.
            return "lineage"
        if head.version < self._limiter.oldest_useful(link.position):
            return "lag"
        return ""


class ReplayMode:
    """Transitions in a ring, sampled in the samples-per-insert band."""

    def __init__(
        self,
        arena: Arena,
        plan: Plan,
        data: ReplayData,
        limiter: ReplayLimiter,
        evicted: Evicted,
        seed: int,
    ) -> None:
        self._evicted = evicted
        self._lineage = 0
        self._arena = arena
        self._layout = plan.layout
        self._store = ReplayStore(arena, plan.layout, data.priority_exponent)
        self._data = data
        self._limiter = limiter
        self._rng = np.random.default_rng(seed)

    @property
    def fill(self) -> float:
        return self._store.fill

    @property
    def stored(self) -> int:
        return self._store.held

    def fits(self) -> bool:
        return True

    def put(
        self, payload: memoryview, origin: tuple[int, int, int], stamp: tuple[int, int], now: float
    ) -> None:
        if self._limiter.strict and stamp[0] != self._lineage:
            self._evicted("lineage", *origin)
            return
        evicted = self._store.put(self._layout.views(payload), origin, stamp, now)
        self._arena.count("evicted", evicted)

    def room(self, link: LearnerLink | None, granted: int) -> int:
        if link is None or (self._limiter.strict and link.lent):
            return 0
        inserted, sampled = self._arena.counter("steps"), self._arena.counter("sampled")
        return self._limiter.room(inserted, granted, sampled)

    def minimum(self, link: LearnerLink) -> int:
        return link.version if self._limiter.strict else link.first_version

    def attach(self, link: LearnerLink, before: LearnerLink | None) -> None:
        self._lineage = link.lineage

    def deliver(self, link: LearnerLink, now: float) -> Iterator[tuple[Lent, Freshness]]:
        count, batch = self._data.updates_per_publish, self._data.batch_size
        while link.position < link.limit and self._limiter.may_sample(
            self._arena.counter("steps"), self._arena.counter("sampled")
        ):
            sampled = self._store.sample(count, batch, self._rng, now)
            self._arena.count("sampled", count * batch)
            acted = round(float(sampled.versions.mean()))
            header = Header(Kind.BATCH, version=acted, lineage=link.lineage)
            lent = link.lend(Lent(header, memoryview(sampled.payload), now))
            yield lent, Freshness(link.version - sampled.versions, sampled.ages)

    def confirmed(self, lent: Lent) -> None:
        """Nothing to do: sampling does not consume."""

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
