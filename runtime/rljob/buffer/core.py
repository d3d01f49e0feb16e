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
from rljob.buffer.delivering import Freshness, Known, LearnerLink, Mode, OnPolicyMode, ReplayMode
from rljob.buffer.limiter import OnPolicyLimiter, ReplayLimiter, distribute
from rljob.buffer.replay import data_bytes
from rljob.errors import InputError, RunError
from rljob.plan import ACTOR_WINDOW, OnPolicyData, Plan
from rljob.wire.arrays import pack, unpack
from rljob.wire.delivery import WINDOW, Receiver, Verdict
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
EPISODE_BYTES = 16
"""One episode record behind a segment's arrays: float64 return, float64 length."""
_ORIGIN = ("actor", "epoch", "seq")


@dataclass(frozen=True)
class Settings:
    """What the RLJob says of its buffer.

    Args:
        capacity: environment steps to store, at most.
        max_policy_lag: versions; see `OnPolicyLimiter`.
        samples_per_insert: overrides the algorithm's; see `ReplayLimiter`.
        strict: lockstep, for runs that can be repeated exactly.
        seed: of sampling.
    """

    capacity: int
    max_policy_lag: int
    samples_per_insert: float | None
    strict: bool
    seed: int


class Observer:
    """Is told what happens; the methods do nothing unless overridden."""

    def stored(self, actor: int, epoch: int, seq: int, steps: int) -> None: ...
    def recovered(self, actor: int, epoch: int, seq: int) -> None: ...
    def duplicate(self) -> None: ...
    def evicted(self, reason: str, actor: int, epoch: int, seq: int) -> None: ...
    def rejected(self, reason: str) -> None: ...
    def fenced(self) -> None: ...
    def delivered(self, freshness: Freshness) -> None: ...
    def resent(self) -> None: ...


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
        self._episodes = np.zeros((0, 2))
        self._strikes: dict[bytes, int] = {}
        self._plan: Plan | None = None
        self._arena: Arena | None = None
        self._mode: Mode | None = None
        if path is not None and (arena := Arena.open(path)) is not None:
            try:
                plan = Plan.from_json(arena.description)
            except Rejected as error:
                raise RunError(f"the buffer's file {path} is damaged: {error}") from error
            self._start(plan, arena)

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
        if actor is None or actor.client != client or header.epoch != actor.receiver.epoch:
            yield Outgoing("experience", client, self._header(Kind.WHO))
            return
        actor.last_seen = now
        actor.owed = True
        if header.kind is Kind.SEGMENT:
            self._store(header, message.payload, actor, now)
        elif header.kind is Kind.STATUS:
            actor.waiting = _read_status(message.payload)
            self._granted_before(actor, header.limit)
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
        if self._plan is None:
            self._start(plan, None)
        elif plan != self._plan:
            text = "its segments differ from those of the job's other rollouts"
            yield self._refuse(client, text)
            return
        assert self._arena is not None
        receiver = self._arena.receiver(header.actor)
        if header.epoch < receiver.epoch:
            yield self._refuse(client, "a newer process of this rollout is at work")
            return
        receiver.learn(header.epoch, header.ack, header.bits)
        # At once, so that from now on an older process of this rollout is refused.
        self._arena.remember(header.actor, receiver)
        self._strikes.pop(client, None)
        actor = self.actors[header.actor] = Actor(client, receiver, now, receiver.count)
        self._granted_before(actor, header.limit)
        yield Outgoing("experience", client, self._header(Kind.WELCOME))

    def _granted_before(self, actor: Actor, limit: int) -> None:
        """Take over credit that an actor says it has; no more than is ever granted ahead."""
        most = actor.receiver.count + ACTOR_WINDOW
        actor.granted = max(actor.granted, min(limit // self._segment_bytes, most))

    def _refuse(self, client: bytes, text: str) -> Outgoing:
        payload = encode_json({"message": text})
        return Outgoing("experience", client, self._header(Kind.REFUSED), payload)

    def _store(self, header: Header, payload: memoryview, actor: Actor, now: float) -> None:
        assert self._plan is not None
        assert self._arena is not None
        assert self._mode is not None
        verdict = actor.receiver.check(header.epoch, header.seq)
        if verdict is not Verdict.NEW:
            if verdict is Verdict.DUPLICATE:
                self._arena.count("duplicates")
                self._observer.duplicate()
            return
        episodes = self._read_episodes(payload)
        if not self._mode.fits():
            # Not acknowledged, so the rollout keeps it and offers it again.
            return
        origin = (header.actor, header.epoch, header.seq)
        steps = int(np.count_nonzero(self._plan.layout.views(payload)["valid"]))
        # The order matters: experience first, then the record of its arrival, the answer last.
        kept = self._mode.put(payload, origin, (header.lineage, header.version), now)
        self._observer.stored(*origin, steps)
        actor.receiver.commit(header.epoch, header.seq)
        self._arena.remember(header.actor, actor.receiver)
        if not kept:
            self._evict("lineage", *origin)
            return
        self._arena.count("segments")
        self._arena.count("steps", steps)
        self._arena.count("episodes", len(episodes))
        if len(episodes):
            self._episodes = np.concatenate([self._episodes, episodes])

    def _read_episodes(self, payload: memoryview) -> np.ndarray:
        assert self._plan is not None
        layout = self._plan.layout
        if not layout.matches(payload):
            raise Rejected("layout", "differs from what HELLO said")
        tail = payload[layout.size :]
        if len(tail) % EPISODE_BYTES or len(tail) > self._plan.steps * EPISODE_BYTES:
            raise Rejected("episodes", f"{len(tail)} bytes")
        episodes = np.frombuffer(tail, np.float64).reshape(-1, 2)
        if not np.isfinite(episodes).all():
            raise Rejected("episodes", "not finite")
        return episodes

    # -- learner -------------------------------------------------------------------------------

    def samples(self, message: Message, now: float) -> Iterator[Outgoing]:
        """Take one message from the learner.

        Raises:
            Rejected: when it breaks the protocol.
        """
        header, client, link = message.header, message.client, self._link
        if header.kind is Kind.HELLO:
            yield from self._attach(client, header, decode_json(message.payload), now)
        elif link is None or (client, header.epoch) != (link.client, link.lineage):
            yield Outgoing("samples", client, self._header(Kind.WHO))
        elif header.kind is Kind.PULL:
            yield from self._pulled(link, header, now)
        elif header.kind is Kind.PRIORITIES:
            arrays = unpack(message.payload)
            keys, priorities = arrays.get("key"), arrays.get("priority")
            if keys is None or priorities is None or keys.shape != priorities.shape:
                raise Rejected("layout", "priorities are key and priority of one shape")
            if keys.dtype != np.uint64 or not isinstance(self._mode, ReplayMode):
                raise Rejected("unexpected", "priorities")
            self._mode.reprioritise(keys.reshape(-1), priorities.reshape(-1))
        elif header.kind is Kind.SNAPSHOT:
            yield self._snapshot(client, decode_json(message.payload))
        else:
            raise Rejected("unexpected", header.kind.name)

    def _attach(
        self, client: bytes, header: Header, request: dict[str, Any], now: float
    ) -> Iterator[Outgoing]:
        if self._link is not None and header.epoch < self._link.lineage:
            return
        known = Known.from_json(request)
        problem = self._restore(request) if self._plan is not None else ""
        if self._plan is None or self._mode is None or self._arena is None:
            return
        if abs(header.version) >= 2**62:
            raise Rejected("unexpected", f"version {header.version}")
        link = LearnerLink(client, header.epoch, header.version, header.version)
        self._mode.attach(link, self._link, known, now)
        self._link = link
        payload = {
            "plan": self._plan.to_json(),
            "arena": self._arena.id,
            "steps": self._arena.counter("steps"),
            "episodes": self._arena.counter("episodes"),
            "problem": problem,
        }
        yield Outgoing("samples", client, self._header(Kind.WELCOME), encode_json(payload))

    def _snapshot(self, client: bytes, request: dict[str, Any]) -> Outgoing:
        name, keep = request.get("name"), request.get("keep")
        if not isinstance(name, str) or not name.isalnum() or type(keep) is not int or keep < 1:
            raise Rejected("json", "a snapshot has a name of letters and digits, and keep")
        answer = {"name": name}
        if self._path is None or not isinstance(self._mode, ReplayMode):
            answer["problem"] = "this buffer keeps no replay content"
        else:
            folder = self._path.with_name(SNAPSHOTS)
            try:
                state = {"rng": self._mode.random_state}
                answer["sha256"] = snapshot.save(self._path, folder, name, state, keep)
            except RunError as error:
                answer["problem"] = str(error)
        return Outgoing("samples", client, self._header(Kind.SNAPSHOT_DONE), encode_json(answer))

    def _restore(self, request: dict[str, Any]) -> str:
        """Go back to a snapshot when the learner asks for it; returns what went wrong, if anything.

        Experience that outlived the learner is newer than the snapshot and stays, except in strict
        mode, where a resumed run has to repeat what an uninterrupted one did.
        """
        name, sha256 = request.get("restore"), request.get("sha256")
        if name is None or self._path is None or self._arena is None:
            return ""
        if not isinstance(name, str) or not name.isalnum() or not isinstance(sha256, str):
            raise Rejected("json", "restore is a name of letters and digits, with a sha256")
        if self._arena.counter("segments") and not self._settings.strict:
            return ""
        try:
            state = snapshot.restore(self._path.with_name(SNAPSHOTS), name, sha256, self._path)
        except RunError as error:
            return str(error)
        arena = Arena.open(self._path)
        assert arena is not None
        self._start(Plan.from_json(arena.description), arena)
        if isinstance(self._mode, ReplayMode):
            self._mode.random_state = state["rng"]
        return ""

    def _pulled(self, link: LearnerLink, header: Header, now: float) -> Iterator[Outgoing]:
        assert self._mode is not None
        for position in [q for q in link.lent if q < header.ack]:
            self._mode.confirmed(link.lent.pop(position))
        link.limit = max(link.limit, header.limit)
        link.version = max(link.version, header.version)
        self._heard(header.bits)
        for position, lent in link.lent.items():
            if position >= header.seq and now - lent.sent_at >= RESEND_AFTER:
                lent.sent_at = now
                self._observer.resent()
                yield self._carry(link, lent.header, lent.payload)
        yield self._stats(link, now)

    def _heard(self, episodes: int) -> None:
        """Forget the episodes that the learner knows: so many of all that ever ended."""
        assert self._arena is not None
        first = self._arena.counter("episodes") - len(self._episodes)
        self._episodes = self._episodes[min(max(0, episodes - first), len(self._episodes)) :]

    def _carry(self, link: LearnerLink, header: Header, payload: memoryview) -> Outgoing:
        header.ack = self._incarnation
        return Outgoing("samples", link.client, header, payload)

    # -- both ----------------------------------------------------------------------------------

    def turn(self, now: float) -> Iterator[Outgoing]:
        """After messages were taken: what can be delivered, and what can be granted."""
        if self._mode is None:
            return
        link = self._link
        if link is not None:
            for lent, freshness in self._mode.deliver(link, now):
                # Statistics first: what a batch makes the learner decide, it decides knowing them.
                yield self._stats(link, now)
                self._observer.delivered(freshness)
                yield self._carry(link, lent.header, lent.payload)
        yield from self._grants(link, now)

    def _grants(self, link: LearnerLink | None, now: float) -> Iterator[Outgoing]:
        assert self._mode is not None
        live = {actor: state.outstanding for actor, state in self.live(now).items()}
        outstanding = sum(live.values())
        for actor, more in distribute(self._mode.room(link, outstanding), live).items():
            self.actors[actor].granted += more
            self.actors[actor].owed = True
            outstanding += more
        for number, actor_state in self.actors.items():
            if actor_state.owed:
                actor_state.owed = False
                header = self._header(Kind.GRANT, number)
                header.epoch = actor_state.receiver.epoch
                header.limit = actor_state.granted * self._segment_bytes
                header.ack, header.bits = actor_state.receiver.ack, actor_state.receiver.bits
                if link is not None:
                    header.lineage = link.lineage
                    header.version = self._mode.minimum(link, outstanding)
                    header.seq = link.version + 1
                yield Outgoing("experience", actor_state.client, header)

    def _stats(self, link: LearnerLink, now: float) -> Outgoing:
        assert self._mode is not None
        assert self._arena is not None
        live = self.live(now)
        waiting = [actor.waiting for actor in live.values()]
        numbers = {
            "steps": self._arena.counter("steps"),
            "episodes": self._arena.counter("episodes"),
            "evicted": self._arena.counter("evicted"),
            "duplicates": self._arena.counter("duplicates"),
            "stored": self._mode.stored,
            "fill": self._mode.fill,
            "rollouts": len(live),
            "rollouts_waiting": sum(waiting) / len(waiting) if waiting else 0.0,
        }
        header = self._header(Kind.STATS)
        header.epoch = self._arena.id
        # Episodes are said again until the learner has them; `seq` is the number of the first.
        header.seq = self._arena.counter("episodes") - len(self._episodes)
        arrays = {name: np.array([value], np.float64) for name, value in numbers.items()}
        payload = pack({"episode": self._episodes, **arrays})
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
        return self._mode.fill if self._mode is not None else 0.0

    @property
    def stored(self) -> int:
        """Steps that are stored."""
        return self._mode.stored if self._mode is not None else 0

    @property
    def _segment_bytes(self) -> int:
        assert self._plan is not None
        return self._plan.layout.size

    def _header(self, kind: Kind, actor: int = 0) -> Header:
        return Header(kind, actor=actor, ack=self._incarnation)

    def _start(self, plan: Plan, arena: Arena | None) -> None:
        settings = self._settings
        if isinstance(plan.data, OnPolicyData):
            slots = _queue_slots(plan, plan.data, settings)
            arena = arena or Arena.create(
                self._path, plan.to_json(), slots, slots * plan.layout.size
            )
            on_policy = OnPolicyLimiter(plan.data.segments_per_batch, settings.max_policy_lag)
            self._mode = OnPolicyMode(arena, plan, on_policy, self._evict, settings.strict)
        else:
            slots = _ring_slots(plan, settings)
            arena = arena or Arena.create(
                self._path, plan.to_json(), slots, data_bytes(plan.layout, slots)
            )
            replay = ReplayLimiter(
                settings.samples_per_insert or plan.data.samples_per_insert,
                plan.data.min_size,
                plan.data.updates_per_publish * plan.data.batch_size,
                plan.steps,
                settings.strict,
            )
            self._mode = ReplayMode(arena, plan, plan.data, replay, settings.seed)
        self._plan, self._arena = plan, arena
        self._episodes = np.zeros((0, 2))
        self._recover()

    def _recover(self) -> None:
        """Record the arrival that was stored but not recorded when an earlier life was killed."""
        assert self._arena is not None
        assert self._mode is not None
        for slot in self._arena.stored():
            actor, epoch, seq = (int(self._arena.slots[name][slot]) for name in _ORIGIN)
            receiver = self._arena.receiver(actor)
            if receiver.check(epoch, seq) is Verdict.NEW:
                receiver.commit(epoch, seq)
                self._arena.remember(actor, receiver)
                self._arena.count("segments")
                self._arena.count("steps", self._mode.steps(slot))
                self._observer.recovered(actor, epoch, seq)

    def _evict(self, reason: str, actor: int, epoch: int, seq: int) -> None:
        assert self._arena is not None
        self._arena.count("evicted")
        self._observer.evicted(reason, actor, epoch, seq)


def _read_status(payload: memoryview) -> float:
    waiting = decode_json(payload).get("waiting", 0.0)
    if type(waiting) not in (int, float) or not 0 <= waiting <= 1:
        raise Rejected("json", "waiting is a number from 0 to 1")
    return float(waiting)


def _queue_slots(plan: Plan, data: OnPolicyData, settings: Settings) -> int:
    # A batch in training, one being collected, and the stragglers that the lag bound allows.
    slots = data.segments_per_batch * (settings.max_policy_lag + 3)
    least = data.segments_per_batch * 3
    held = min(slots, settings.capacity // plan.steps)
    if held < least:
        raise InputError(
            f"{settings.capacity} steps are too few for this job; at least "
            f"{least * plan.steps} (3 updates of {data.segments_per_batch} x {plan.steps} steps)",
            path="buffer.capacity",
        )
    return held


def _ring_slots(plan: Plan, settings: Settings) -> int:
    assert not isinstance(plan.data, OnPolicyData)
    slots = settings.capacity // plan.steps
    if slots * plan.steps < plan.data.min_size or slots < 2:
        least = max(plan.data.min_size + plan.steps, 2 * plan.steps)
        raise InputError(
            f"{settings.capacity} steps are too few for this job; at least {least} "
            f"(the algorithm's minSize and one segment of {plan.steps} steps)",
            path="buffer.capacity",
        )
    return slots
