"""The buffer's state machine: processes each message, without sockets; the clock is an argument.

Rollouts say HELLO with what their segments look like; the first one fixes it. With the HELLO of the first
learner there is a store (queue or replay): every accepted segment is acknowledged after it was stored, and
credit is granted as the limiter allows. The learner pulls: it says up to which position of the delivery it
received and up to which it may be sent; both are absolute, so that repeating a request is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from rljob.envs.spaces import Arrays
from rljob.errors import RunError
from rljob.process.hardware import HardwareUse
from rljob.roles.buffer import snapshot
from rljob.roles.buffer.applications import ApplicationCounts
from rljob.roles.buffer.arena import Arena
from rljob.roles.buffer.delivering import Known, LearnerLink, ReplayMode
from rljob.roles.buffer.rollouts import (
    FENCE_AFTER,
    ConnectedRollout,
    Fence,
    RolloutReport,
    Rollouts,
)
from rljob.roles.buffer.set_aside import SetAside
from rljob.roles.buffer.store import Observer, Store, StoreSettings
from rljob.spec.experience import Field
from rljob.wire.application import read_application
from rljob.wire.application_figures import (
    ApplicationFigures,
    busiest,
    figure_fields,
    write_figures,
)
from rljob.wire.arrays import Layout, unpack
from rljob.wire.delivery import WINDOW, Receiver
from rljob.wire.description import JobDescription
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Header, MessageKind, Rejected, decode_json, encode_json
from rljob.wire.refused import PeerRefusal
from rljob.wire.sockets import Message

TOLD_EPISODES = 65_536
"""Most episodes in one message to the learner; it may have been away while many ended."""
RESEND_AFTER = 1.0
"""Seconds after which a delivery is repeated for a learner that asks again."""
SNAPSHOTS = "snapshots"
"""Folder beside the arena for its copies."""


@dataclass(frozen=True)
class Outgoing:
    """A message to send: on which socket (`experience` or `samples`), to whom."""

    socket: str
    client: bytes
    header: Header
    payload: bytes | memoryview = b""


class Buffer:
    """One shard of a job's experience.

    Args:
        settings: from the RLJob.
        path: file of the arena; None keeps the experience in this process only.
        incarnation: differs between lives of the buffer, so that others notice a restart.
        set_aside: keeps batches that the learner died of; by default they are only counted.
        describe: tells applications what the job is, given the plan that holds; None answers none of them.
        plan: the plan of the job, where it is known; otherwise the first HELLO fixes it.

    Attributes:
        used: what this process uses of its machine, for the learner.
    """

    def __init__(
        self,
        settings: StoreSettings,
        path: Path | None,
        incarnation: int,
        observer: Observer,
        set_aside: SetAside | None = None,
        describe: Callable[[ExperienceFormat | None], JobDescription] | None = None,
        plan: ExperienceFormat | None = None,
    ) -> None:
        self._settings = settings
        self._describe, self._description = describe, b""
        self._path = path
        self._incarnation = incarnation
        self._observer = observer
        self._set_aside = set_aside or SetAside(None)
        self.rollouts = Rollouts()
        self.used = HardwareUse()
        self._counts = ApplicationCounts()
        self._fence = Fence()
        self._link: LearnerLink | None = None
        self._plan = plan
        self._store: Store | None = None
        self._copies = snapshot.SnapshotCopies()
        if path is not None and (arena := Arena.open(path)) is not None:
            try:
                stored = ExperienceFormat.from_json(arena.description)
            except Rejected as error:
                raise RunError(f"the buffer's file {path} is damaged: {error}") from error
            self._plan = stored
            self._store = self._open(stored, arena)

    def _open(self, plan: ExperienceFormat, arena: Arena | int) -> Store:
        return Store(plan, self._settings, self._path, arena, self._observer, self._keep_aside)

    def _keep_aside(self, arrays: Arrays, now: float) -> None:
        self._set_aside.add(arrays, now)
        self._observer.set_aside()

    # -- rollouts ------------------------------------------------------------------------------

    def experience(self, message: Message, now: float) -> Iterator[Outgoing]:
        """Take one message from a rollout.

        Raises:
            Rejected: when it breaks the protocol.
        """
        header, client = message.header, message.client
        _check_versions(header)
        if header.kind is MessageKind.DESCRIBE:
            yield from self._described(client)
            return
        if header.kind is MessageKind.HELLO:
            # It is repeated until it is answered, and the answer would change the arena.
            if not self._copies.busy:
                yield from self._welcome(message, now)
            return
        if self._fence.excludes(client):
            # It would wait for credit forever. It ends instead, and its next life sends HELLO.
            yield self._refuse(client, f"{FENCE_AFTER} malformed messages in a row")
            return
        actor = self.rollouts.known(header.actor, client, header.epoch)
        if actor is None:
            yield Outgoing("experience", client, self._header(MessageKind.WHO))
            return
        self.rollouts.heard(header.actor, actor, now)
        if header.kind is MessageKind.SEGMENT:
            # Before the first learner there is no store, and a store that is copied stays as it is; the rollout
            # sends it again.
            if self._store is not None and not self._copies.busy:
                before = self._store.arena.counter("steps")
                name = client.decode(errors="replace").replace("\n", " ")
                self._store.receive(header, message.payload, actor.receiver, now, name)
                steps = int(self._store.arena.counter("steps") - before)
                if actor.application and steps:
                    newest = None if self._link is None else self._link.version
                    self._counts.arrived(actor.application, steps, header.version, newest, now)
        elif header.kind is MessageKind.STATUS:
            status = RolloutReport.read(message.payload)
            actor.waiting, actor.used = status.waiting, status.used
            actor.waits = status.waits if actor.application else None
            actor.granted_before(header.limit // self._segment_bytes)
            counted = actor.newly_counted(status.counted)
            self._observer.application_faults(counted)
            if actor.application and counted:
                self._counts.lost(actor.application, counted, now)
            if status.leaving:
                self.rollouts.leave(header.actor)
        else:
            raise Rejected("unexpected", header.kind.name)
        self.rollouts.changed(header.actor)
        self._fence.clear(client)

    def rejected(self, client: bytes, reason: str) -> None:
        """Count a malformed message; three in a row fence the client."""
        self._observer.rejected(reason)
        if self._fence.strike(client):
            self._observer.fenced()

    def _described(self, client: bytes) -> Iterator[Outgoing]:
        if self._describe is None:
            raise Rejected("unexpected", MessageKind.DESCRIBE.name)
        if not self._description:
            # It stays as it is from the moment when the plan is known.
            found = encode_json(self._describe(self._plan).to_json())
            self._description = found if self._plan is not None else b""
        else:
            found = self._description
        yield Outgoing("experience", client, self._header(MessageKind.DESCRIPTION), found)

    def _welcome(self, message: Message, now: float) -> Iterator[Outgoing]:
        header, client = message.header, message.client
        try:
            hello = decode_json(message.payload)
            plan, application = ExperienceFormat.from_json(hello), read_application(hello)
            if (header.ack + 2 * WINDOW) * plan.layout.size >= 2**63:
                raise Rejected("unexpected", f"position {header.ack}")
        except Rejected as error:
            self.rejected(client, error.reason)
            yield self._refuse(client, str(error))
            return
        self._plan = self._plan or plan
        if plan != self._plan:
            text = "its segments differ from those of the job's other rollouts"
            if application:
                text = "its spaces, algorithm or network are not those of the job"
            yield self._refuse(client, text)
            return
        receiver = self._receiver(header.actor)
        if header.epoch < receiver.epoch:
            text = "a newer process of this rollout is running"
            yield self._refuse(client, text, newest=receiver.epoch)
            return
        receiver.learn(header.epoch, header.ack, header.bits)
        # At once, so that from now on an older process of this rollout is refused.
        if self._store is not None:
            self._store.arena.remember(header.actor, receiver)
        self._fence.clear(client)
        actor = ConnectedRollout(client, receiver, now, receiver.count, application=application)
        # Until it says how many it has.
        actor.waits = 0 if application else None
        actor.granted_before(header.limit // self._segment_bytes)
        self.rollouts.welcome(header.actor, actor)
        yield Outgoing("experience", client, self._header(MessageKind.WELCOME))

    def _receiver(self, number: int) -> Receiver:
        if self._store is not None:
            return self._store.arena.receiver(number)
        actor = self.rollouts.actors.get(number)
        return actor.receiver if actor is not None else Receiver()

    @property
    def _segment_bytes(self) -> int:
        """Credit that one segment uses, in bytes."""
        assert self._plan is not None
        return self._plan.layout.size

    def _refuse(self, client: bytes, text: str, newest: int | None = None) -> Outgoing:
        payload = PeerRefusal(text, newest).encode()
        return Outgoing("experience", client, self._header(MessageKind.REFUSED), payload)

    # -- learner -------------------------------------------------------------------------------

    def samples(self, message: Message, now: float) -> Iterator[Outgoing]:
        """Take one message from the learner.

        Raises:
            Rejected: when it breaks the protocol.
        """
        header, client, link = message.header, message.client, self._link
        _check_versions(header)
        store = self._store
        if header.kind is MessageKind.HELLO:
            if not self._copies.busy:
                yield from self._attach(client, header, decode_json(message.payload), now)
        elif link is None or store is None or (client, header.epoch) != (link.client, link.lineage):
            yield Outgoing("samples", client, self._header(MessageKind.WHO))
        elif header.kind is MessageKind.PULL:
            yield from self._pulled(link, store, header, now)
        elif header.kind is MessageKind.PRIORITIES:
            arrays = unpack(message.payload)
            keys, priorities = arrays.get("key"), arrays.get("priority")
            if keys is None or priorities is None or keys.shape != priorities.shape:
                raise Rejected("layout", "priorities need key and priority of the same shape")
            if keys.dtype != np.uint64 or not isinstance(store.mode, ReplayMode):
                raise Rejected("unexpected", "priorities")
            store.mode.reprioritise(keys.reshape(-1), priorities.reshape(-1))
        elif header.kind is MessageKind.SNAPSHOT:
            yield from self._snapshot(client, store, decode_json(message.payload))
        else:
            raise Rejected("unexpected", header.kind.name)

    def _attach(
        self, client: bytes, header: Header, request: dict[str, Any], now: float
    ) -> Iterator[Outgoing]:
        if self._link is not None and header.epoch < self._link.lineage:
            text = "a newer process of the learner is running"
            refusal = PeerRefusal(text, self._link.lineage)
            yield Outgoing("samples", client, self._header(MessageKind.REFUSED), refusal.encode())
            return
        known = Known.from_json(request)
        if self._plan is None:
            return
        batch = self._plan.segments_per_batch(known.segments_per_batch)
        problem = self._restore(request)
        store = self._make_room(self._plan, batch)
        link = LearnerLink(client, header.epoch, header.version, header.version, batch)
        store.mode.attach(link, self._link, known, now)
        self._link = link
        # A later life may come to the same version, and name, with another content.
        self._copies.last = {}
        payload = {
            "plan": store.plan.to_json(),
            "arena": store.arena.id,
            "steps": store.arena.counter("steps"),
            "episodes": store.arena.counter("episodes"),
            "problem": problem,
        }
        if (shared := store.mode.shared) is not None:
            payload["shared"] = shared
        yield Outgoing("samples", client, self._header(MessageKind.WELCOME), encode_json(payload))

    def _make_room(self, plan: ExperienceFormat, segments_per_batch: int) -> Store:
        """The store, made now or made larger if it has to be."""
        if self._store is None:
            self._store = self._open(plan, segments_per_batch)
            for number, actor in self.rollouts.actors.items():
                self._store.arena.remember(number, actor.receiver)
        elif (larger := self._store.grown(segments_per_batch)) is not None:
            # What was lent is waiting again, so there is nothing to take back from the link.
            self._store, self._link = larger, None
        return self._store

    def _snapshot(self, client: bytes, store: Store, request: dict[str, Any]) -> Iterator[Outgoing]:
        """Begin a copy; a repeated request gets the answer of the one before."""
        name, keep = request.get("name"), request.get("keep")
        if not isinstance(name, str) or not name.isalnum() or type(keep) is not int or keep < 1:
            raise Rejected("json", "a snapshot needs a name of letters and digits, and keep")
        if self._path is None or not isinstance(store.mode, ReplayMode):
            problem = {"name": name, "problem": "this buffer keeps no replay content"}
            yield self._snapshot_done(client, problem)
        elif self._copies.last.get("name") == name:
            yield self._snapshot_done(client, self._copies.last)
        elif not self._copies.busy:
            folder, state = self._path.with_name(SNAPSHOTS), {"rng": store.mode.random_state}
            self._copies.start(self._path, folder, name, state, keep)

    def _snapshot_done(self, client: bytes, answer: dict[str, str]) -> Outgoing:
        header = self._header(MessageKind.SNAPSHOT_DONE)
        return Outgoing("samples", client, header, encode_json(answer))

    def _restore(self, request: dict[str, Any]) -> str:
        """Go back to a snapshot when the learner asks for it; returns what went wrong, if anything.

        Experience that outlived the learner is newer than the snapshot and stays, except in strict
        mode, where a resumed run has to repeat what an uninterrupted one did.
        """
        name, sha256 = request.get("restore"), request.get("sha256")
        if name is None or self._path is None:
            return ""
        if not isinstance(name, str) or not name.isalnum() or not isinstance(sha256, str):
            raise Rejected("json", "restore needs a name of letters and digits, and a sha256")
        store, strict = self._store, self._settings.strict
        if store is not None and store.arena.counter("segments") and not strict:
            return ""
        try:
            state = snapshot.restore(self._path.with_name(SNAPSHOTS), name, sha256, self._path)
        except RunError as error:
            return str(error)
        arena = Arena.open(self._path)
        assert arena is not None
        restored = self._store = self._open(ExperienceFormat.from_json(arena.description), arena)
        if restored.plan != self._plan:
            self._store = None
            self._path.unlink()
            return f"the replay content {name} has another format than the rollouts' experience"
        if isinstance(restored.mode, ReplayMode):
            restored.mode.random_state = state["rng"]
        return ""

    def _pulled(
        self, link: LearnerLink, store: Store, header: Header, now: float
    ) -> Iterator[Outgoing]:
        for position in [q for q in link.lent if q < header.ack]:
            store.mode.confirmed(link.lent.pop(position))
        link.done = max(link.done, header.ack)
        link.limit = max(link.limit, header.limit)
        link.version = max(link.version, header.version)
        store.heard(header.bits)
        for position, lent in link.lent.items():
            if position >= header.seq and now - lent.sent_at >= RESEND_AFTER:
                lent.sent_at = now
                self._observer.resent()
                yield self._carry(link, lent.header, lent.payload)
        link.stats_due = True

    def _carry(self, link: LearnerLink, header: Header, payload: memoryview) -> Outgoing:
        header.ack = self._incarnation
        return Outgoing("samples", link.client, header, payload)

    # -- both ----------------------------------------------------------------------------------

    def turn(self, now: float) -> Iterator[Outgoing]:
        """Deliver and grant what is possible; called after messages were processed."""
        link, store = self._link, self._store
        minimum = -1
        copied = self._copies.finished()
        if link is not None and store is not None:
            if copied is not None:
                yield self._snapshot_done(link.client, copied)
            # Sampling changes the arena's counters, and the state of what is sampled next.
            deliveries = [] if self._copies.busy else list(store.mode.deliver(link, now))
            # Statistics first: what a batch makes the learner decide, it decides knowing them.
            if deliveries or link.stats_due:
                yield self._stats(link, store, now)
                link.stats_due = False
            for lent, freshness in deliveries:
                self._observer.delivered(freshness)
                yield self._carry(link, lent.header, lent.payload)
            granted = self.rollouts.share(partial(store.mode.room, link), now)
            minimum = store.mode.minimum(link, granted)
        for number in list(self.rollouts.pending_grants):
            del self.rollouts.pending_grants[number]
            actor = self.rollouts.actors[number]
            header = self._header(MessageKind.GRANT, number)
            header.epoch = actor.receiver.epoch
            header.limit = actor.granted * self._segment_bytes
            header.ack, header.bits = actor.receiver.ack, actor.receiver.bits
            header.version = minimum
            if link is not None:
                header.lineage = link.lineage
                header.seq = link.version + 1
            yield Outgoing("experience", actor.client, header)

    def _stats(self, link: LearnerLink, store: Store, now: float) -> Outgoing:
        rollouts = self.rollouts.used(now)
        numbers = {
            **store.numbers(),
            "rollouts": len(self.rollouts.live(now)) - self.rollouts.applications(now),
            "applications": self.rollouts.applications(now),
            "rollouts_waiting": self.rollouts.waiting(now),
            "set_aside": self._set_aside.batches,
            "set_aside_last": self._set_aside.last,
            "rollouts_cores": rollouts.cores,
            "rollouts_memory": rollouts.memory,
            "buffer_cores": self.used.cores,
            "buffer_memory": self.used.memory,
        }
        header = self._header(MessageKind.STATS)
        header.epoch = store.arena.id
        # Episodes are said again until the learner has them; `seq` is the number of the first.
        header.seq = store.first_episode
        # The rest is told once these are confirmed.
        episodes = store.episodes.first(TOLD_EPISODES)
        shapes = (*episodes["episode"].shape, len(episodes["names"]))
        told = busiest(self.figures(now))
        payload, arrays = _stats_layout(shapes, len(told), *numbers).allocate()
        write_figures(arrays, told)
        for name, array in episodes.items():
            arrays[name][...] = array
        for name, value in numbers.items():
            arrays[name][0] = value
        return Outgoing("samples", link.client, header, payload.data)

    def figures(self, now: float) -> list[ApplicationFigures]:
        """What each application has done."""
        return self._counts.figures(self.rollouts.live(now).values(), now)

    @property
    def fill(self) -> float:
        """Share of the capacity in use, in [0, 1]."""
        return self._store.mode.fill if self._store is not None else 0.0

    @property
    def stored(self) -> int:
        """Steps that are stored."""
        return self._store.mode.stored if self._store is not None else 0

    @property
    def learner_waits(self) -> bool:
        """Whether the learner has requested more than is available; valid after `turn` only."""
        return self._link is not None and self._link.position < self._link.limit

    def granted_bytes(self, now: float) -> int:
        """Unused credit of live rollouts."""
        if self._plan is None:
            return 0
        return self.rollouts.outstanding(now) * self._segment_bytes

    def _header(self, kind: MessageKind, actor: int = 0) -> Header:
        return Header(kind, actor=actor, ack=self._incarnation)


def _check_versions(header: Header) -> None:
    """Sums and differences of lineages and policy versions have to stay in 64 bits."""
    if not (-1 <= header.version < 2**62 and 0 <= header.lineage < 2**62):
        raise Rejected("unexpected", f"lineage {header.lineage}, version {header.version}")


@lru_cache(maxsize=16)
def _stats_layout(shapes: tuple[int, int, int], applications: int, *names: str) -> Layout:
    episodes, numbers, text = shapes
    fields = (
        Field("episode", "float64", (episodes, numbers)),
        Field("version", "int64", (episodes,)),
        Field("rollout", "int64", (episodes,)),
        Field("stored_then", "int64", (episodes,)),
        Field("names", "uint8", (text,)),
        *figure_fields(applications),
    )
    return Layout((*fields, *(Field(name, "float64", (1,)) for name in names)))
