"""What the buffer does with each message: state and rules, no sockets, the clock an argument.

Rollouts say HELLO with what their segments look like; the first one fixes it. From then on there is a
store (queue or replay), every accepted segment is acknowledged after it was stored, and credit is
granted as the limiter allows. The learner pulls: it says up to which position of the delivery it
received and up to which it may be sent; both are absolute, so that repeating a request is harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rljob.buffer import snapshot
from rljob.buffer.arena import Arena
from rljob.buffer.delivering import Known, LearnerLink, ReplayMode
from rljob.buffer.limiter import distribute
from rljob.buffer.store import Observer, Settings, Store
from rljob.errors import RunError
from rljob.plan import ACTOR_WINDOW, Plan
from rljob.wire.arrays import pack, unpack
from rljob.wire.delivery import WINDOW, Receiver
from rljob.wire.messages import Header, Kind, Rejected, decode_json, encode_json
from rljob.wire.sockets import Message

SILENT_AFTER = 5.0
"""Seconds without a word after which a rollout's grants are no longer waited for."""
RESEND_AFTER = 1.0
"""Seconds after which a delivery is repeated for a learner that asks again."""
FENCE_AFTER = 3
"""Malformed messages in a row after which a client is not listened to until it says HELLO."""
SNAPSHOTS = "snapshots"
"""Folder beside the arena for its copies."""


@dataclass(frozen=True)
class Outgoing:
    """A message to send: on which socket (`experience` or `samples`), to whom."""

    socket: str
    client: bytes
    header: Header
    payload: bytes | memoryview = b""


@dataclass
class Actor:
    """What the buffer knows of one rollout.

    Attributes:
        granted: segments of this epoch that it may send, absolute.
        owed: whether it waits for an answer.
        waiting: share of its time that it last said to wait for credit.
    """

    client: bytes
    receiver: Receiver
    last_seen: float
    granted: int = 0
    owed: bool = True
    waiting: float = 0.0

    @property
    def outstanding(self) -> int:
        return max(0, self.granted - self.receiver.count)


class Buffer:
    """One shard of a job's experience.

    Args:
        settings: from the RLJob.
        path: file of the arena; None keeps the experience in this process only.
        incarnation: differs between lives of the buffer, so that others notice a restart.
    """

    def __init__(
        self, settings: Settings, path: Path | None, incarnation: int, observer: Observer
    ) -> None:
        self._settings = settings
        self._path = path
        self._incarnation = incarnation
        self._observer = observer
        self.actors: dict[int, Actor] = {}
        self._link: LearnerLink | None = None
        self._strikes: dict[bytes, int] = {}
        self._store: Store | None = None
        if path is not None and (arena := Arena.open(path)) is not None:
            try:
                plan = Plan.from_json(arena.description)
            except Rejected as error:
                raise RunError(f"the buffer's file {path} is damaged: {error}") from error
            self._store = self._open(plan, arena)

    def _open(self, plan: Plan, arena: Arena | None) -> Store:
        return Store(plan, self._settings, self._path, arena, self._observer)

    # -- rollouts ------------------------------------------------------------------------------

    def experience(self, message: Message, now: float) -> Iterator[Outgoing]:
        """Take one message from a rollout.

        Raises:
            Rejected: when it breaks the protocol.
        """
        header, client = message.header, message.client
        if header.kind is Kind.HELLO:
            yield from self._welcome(message, now)
            return
        if self._strikes.get(client, 0) >= FENCE_AFTER:
            # It would wait for credit for ever; so it ends, and its next life says HELLO.
            yield self._refuse(client, f"{FENCE_AFTER} malformed messages in a row")
            return
        actor = self.actors.get(header.actor)
        known = actor is not None and (actor.client, actor.receiver.epoch) == (client, header.epoch)
        if actor is None or self._store is None or not known:
            yield Outgoing("experience", client, self._header(Kind.WHO))
            return
        actor.last_seen = now
        actor.owed = True
        if header.kind is Kind.SEGMENT:
            self._store.receive(header, message.payload, actor.receiver, now)
        elif header.kind is Kind.STATUS:
            actor.waiting = _read_status(message.payload)
            self._granted_before(actor, self._store, header.limit)
        else:
            raise Rejected("unexpected", header.kind.name)
        self._strikes.pop(client, None)

    def rejected(self, client: bytes, reason: str) -> None:
        """Count a malformed message; three in a row fence the client."""
        self._observer.rejected(reason)
        self._strikes[client] = self._strikes.get(client, 0) + 1
        if self._strikes[client] == FENCE_AFTER:
            self._observer.fenced()

    def _welcome(self, message: Message, now: float) -> Iterator[Outgoing]:
        header, client = message.header, message.client
        try:
            plan = Plan.from_json(decode_json(message.payload))
            if (header.ack + 2 * WINDOW) * plan.layout.size >= 2**63:
                raise Rejected("unexpected", f"position {header.ack}")
        except Rejected as error:
            self.rejected(client, error.reason)
            yield self._refuse(client, str(error))
            return
        store = self._store = self._store or self._open(plan, None)
        if plan != store.plan:
            text = "its segments differ from those of the job's other rollouts"
            yield self._refuse(client, text)
            return
        receiver = store.arena.receiver(header.actor)
        if header.epoch < receiver.epoch:
            yield self._refuse(client, "a newer process of this rollout is at work")
            return
        receiver.learn(header.epoch, header.ack, header.bits)
        # At once, so that from now on an older process of this rollout is refused.
        store.arena.remember(header.actor, receiver)
        self._strikes.pop(client, None)
        actor = self.actors[header.actor] = Actor(client, receiver, now, receiver.count)
        self._granted_before(actor, store, header.limit)
        yield Outgoing("experience", client, self._header(Kind.WELCOME))

    @staticmethod
    def _granted_before(actor: Actor, store: Store, limit: int) -> None:
        """Take over credit that an actor says it has; no more than is ever granted ahead."""
        most = actor.receiver.count + ACTOR_WINDOW
        actor.granted = max(actor.granted, min(limit // store.segment_bytes, most))

    def _refuse(self, client: bytes, text: str) -> Outgoing:
        payload = encode_json({"message": text})
        return Outgoing("experience", client, self._header(Kind.REFUSED), payload)

    # -- learner -------------------------------------------------------------------------------

    def samples(self, message: Message, now: float) -> Iterator[Outgoing]:
        """Take one message from the learner.

        Raises:
            Rejected: when it breaks the protocol.
        """
        header, client, link = message.header, message.client, self._link
        store = self._store
        if header.kind is Kind.HELLO:
            yield from self._attach(client, header, decode_json(message.payload), now)
        elif link is None or store is None or (client, header.epoch) != (link.client, link.lineage):
            yield Outgoing("samples", client, self._header(Kind.WHO))
        elif header.kind is Kind.PULL:
            yield from self._pulled(link, store, header, now)
        elif header.kind is Kind.PRIORITIES:
            arrays = unpack(message.payload)
            keys, priorities = arrays.get("key"), arrays.get("priority")
            if keys is None or priorities is None or keys.shape != priorities.shape:
                raise Rejected("layout", "priorities are key and priority of one shape")
            if keys.dtype != np.uint64 or not isinstance(store.mode, ReplayMode):
                raise Rejected("unexpected", "priorities")
            store.mode.reprioritise(keys.reshape(-1), priorities.reshape(-1))
        elif header.kind is Kind.SNAPSHOT:
            yield self._snapshot(client, store, decode_json(message.payload))
        else:
            raise Rejected("unexpected", header.kind.name)

    def _attach(
        self, client: bytes, header: Header, request: dict[str, Any], now: float
    ) -> Iterator[Outgoing]:
        if self._link is not None and header.epoch < self._link.lineage:
            return
        known = Known.from_json(request)
        if self._store is None:
            return
        problem = self._restore(self._store, request)
        store = self._store
        if abs(header.version) >= 2**62:
            raise Rejected("unexpected", f"version {header.version}")
        link = LearnerLink(client, header.epoch, header.version, header.version)
        store.mode.attach(link, self._link, known, now)
        self._link = link
        payload = {
            "plan": store.plan.to_json(),
            "arena": store.arena.id,
            "steps": store.arena.counter("steps"),
            "episodes": store.arena.counter("episodes"),
            "problem": problem,
        }
        yield Outgoing("samples", client, self._header(Kind.WELCOME), encode_json(payload))

    def _snapshot(self, client: bytes, store: Store, request: dict[str, Any]) -> Outgoing:
        name, keep = request.get("name"), request.get("keep")
        if not isinstance(name, str) or not name.isalnum() or type(keep) is not int or keep < 1:
            raise Rejected("json", "a snapshot has a name of letters and digits, and keep")
        answer = {"name": name}
        if self._path is None or not isinstance(store.mode, ReplayMode):
            answer["problem"] = "this buffer keeps no replay content"
        else:
            folder = self._path.with_name(SNAPSHOTS)
            try:
                state = {"rng": store.mode.random_state}
                answer["sha256"] = snapshot.save(self._path, folder, name, state, keep)
            except RunError as error:
                answer["problem"] = str(error)
        return Outgoing("samples", client, self._header(Kind.SNAPSHOT_DONE), encode_json(answer))

    def _restore(self, store: Store, request: dict[str, Any]) -> str:
        """Go back to a snapshot when the learner asks for it; returns what went wrong, if anything.

        Experience that outlived the learner is newer than the snapshot and stays, except in strict
        mode, where a resumed run has to repeat what an uninterrupted one did.
        """
        name, sha256 = request.get("restore"), request.get("sha256")
        if name is None or self._path is None:
            return ""
        if not isinstance(name, str) or not name.isalnum() or not isinstance(sha256, str):
            raise Rejected("json", "restore is a name of letters and digits, with a sha256")
        if store.arena.counter("segments") and not self._settings.strict:
            return ""
        try:
            state = snapshot.restore(self._path.with_name(SNAPSHOTS), name, sha256, self._path)
        except RunError as error:
            return str(error)
        arena = Arena.open(self._path)
        assert arena is not None
        restored = self._store = self._open(Plan.from_json(arena.description), arena)
        if isinstance(restored.mode, ReplayMode):
            restored.mode.random_state = state["rng"]
        return ""

    def _pulled(
        self, link: LearnerLink, store: Store, header: Header, now: float
    ) -> Iterator[Outgoing]:
        for position in [q for q in link.lent if q < header.ack]:
            store.mode.confirmed(link.lent.pop(position))
        link.limit = max(link.limit, header.limit)
        link.version = max(link.version, header.version)
        store.heard(header.bits)
        for position, lent in link.lent.items():
            if position >= header.seq and now - lent.sent_at >= RESEND_AFTER:
                lent.sent_at = now
                self._observer.resent()
                yield self._carry(link, lent.header, lent.payload)
        yield self._stats(link, store, now)

    def _carry(self, link: LearnerLink, header: Header, payload: memoryview) -> Outgoing:
        header.ack = self._incarnation
        return Outgoing("samples", link.client, header, payload)

    # -- both ----------------------------------------------------------------------------------

    def turn(self, now: float) -> Iterator[Outgoing]:
        """After messages were taken: what can be delivered, and what can be granted."""
        link, store = self._link, self._store
        if store is None:
            return
        if link is not None:
            for lent, freshness in store.mode.deliver(link, now):
                # Statistics first: what a batch makes the learner decide, it decides knowing them.
                yield self._stats(link, store, now)
                self._observer.delivered(freshness)
                yield self._carry(link, lent.header, lent.payload)
        yield from self._grants(link, store, now)

    def _grants(self, link: LearnerLink | None, store: Store, now: float) -> Iterator[Outgoing]:
        live = {actor: state.outstanding for actor, state in self.live(now).items()}
        outstanding = sum(live.values())
        for actor, more in distribute(store.mode.room(link, outstanding), live).items():
            self.actors[actor].granted += more
            self.actors[actor].owed = True
            outstanding += more
        for number, actor_state in self.actors.items():
            if actor_state.owed:
                actor_state.owed = False
                header = self._header(Kind.GRANT, number)
                header.epoch = actor_state.receiver.epoch
                header.limit = actor_state.granted * store.segment_bytes
                header.ack, header.bits = actor_state.receiver.ack, actor_state.receiver.bits
                if link is not None:
                    header.lineage = link.lineage
                    header.version = store.mode.minimum(link, outstanding)
                    header.seq = link.version + 1
                yield Outgoing("experience", actor_state.client, header)

    def _stats(self, link: LearnerLink, store: Store, now: float) -> Outgoing:
        live = self.live(now)
        waiting = [actor.waiting for actor in live.values()]
        numbers = {
            **store.numbers(),
            "rollouts": len(live),
            "rollouts_waiting": sum(waiting) / len(waiting) if waiting else 0.0,
        }
        header = self._header(Kind.STATS)
        header.epoch = store.arena.id
        # Episodes are said again until the learner has them; `seq` is the number of the first.
        header.seq = store.first_episode
        arrays = {name: np.array([value], np.float64) for name, value in numbers.items()}
        payload = pack({"episode": store.episodes, **arrays})
        return Outgoing("samples", link.client, header, payload.data)

    def live(self, now: float) -> dict[int, Actor]:
        """Rollouts that said something lately."""
        return {
            number: actor
            for number, actor in self.actors.items()
            if now - actor.last_seen < SILENT_AFTER
        }

    @property
    def fill(self) -> float:
        """Share of the capacity in use, in [0, 1]."""
        return self._store.mode.fill if self._store is not None else 0.0

    @property
    def stored(self) -> int:
        """Steps that are stored."""
        return self._store.mode.stored if self._store is not None else 0

    def _header(self, kind: Kind, actor: int = 0) -> Header:
        return Header(kind, actor=actor, ack=self._incarnation)


def _read_status(payload: memoryview) -> float:
    waiting = decode_json(payload).get("waiting", 0.0)
    if type(waiting) not in (int, float) or not 0 <= waiting <= 1:
        raise Rejected("json", "waiting is a number from 0 to 1")
    return float(waiting)
