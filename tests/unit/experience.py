"""Made-up experience, and the buffer's surroundings in memory, for the tests of the data path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.roles.buffer.core import Buffer, Outgoing
from rljob.roles.buffer.set_aside import SetAside
from rljob.roles.buffer.store import Observer, StoreSettings
from rljob.spec.experience import Field, OnPolicy, Replay
from rljob.wire.arrays import Layout, unpack
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Header, MessageKind, Rejected, encode_json
from rljob.wire.sockets import Message

JOB = 7
SPACES = Spaces(BoxSpace((4,)), DiscreteSpace(10**6))
Origin = tuple[int, int, int]


def make_layout(length: int = 4, envs: int = 2, **extra: str) -> Layout:
    """Of CartPole-like segments; `extra` fields are name=dtype."""
    steps = (length, envs)
    fields = [
        Field("observation", "float32", (length + 1, envs, 4)),
        Field("action", "int64", steps),
        Field("reward", "float32", steps),
        Field("terminated", "bool", steps),
        Field("truncated", "bool", steps),
        Field("valid", "bool", steps),
    ]
    return Layout(tuple(fields + [Field(name, dtype, steps) for name, dtype in extra.items()]))


def on_policy_plan(segments_per_batch: int = 2, length: int = 4, envs: int = 2) -> ExperienceFormat:
    return ExperienceFormat(
        make_layout(length, envs), OnPolicy(length, segments_per_batch), SPACES.to_json()
    )


def replay_plan(
    length: int = 4,
    envs: int = 2,
    batch_size: int = 8,
    min_size: int = 16,
    samples_per_insert: float = 4.0,
    priority_exponent: float = 0.0,
    updates_per_publish: int = 2,
    **extra: str,
) -> ExperienceFormat:
    data = Replay(
        length, batch_size, min_size, samples_per_insert, priority_exponent, updates_per_publish
    )
    return ExperienceFormat(make_layout(length, envs, **extra), data, SPACES.to_json())


def sequence_plan(
    length: int, period: int = 1, core_size: int = 0, start: Any = "row", **extra: Any
) -> ExperienceFormat:
    """As `replay_plan`, for sequences of `length` steps."""
    plan = replay_plan(**extra)
    assert isinstance(plan.data, Replay)
    data = replace(plan.data, length=length, period=period, start=start)
    fields = plan.layout.fields
    if core_size:
        shape = (plan.length // period, plan.envs, core_size)
        fields = (*fields, Field("core", "float32", shape))
    return ExperienceFormat(Layout(fields), data, plan.spaces)


def make_payload(
    plan: ExperienceFormat, number: int, episodes: np.ndarray | None = None, invalid: int = 0
) -> memoryview:
    """A segment whose every value tells its `number`; the first `invalid` rows only reset.

    Args:
        episodes: return and length of each; the discounted return is half of the return.
    """
    records = np.zeros((0, 2)) if episodes is None else np.asarray(episodes, np.float64)
    records = np.column_stack([records, records[:, :1] / 2])
    payload, arrays = plan.layout.allocate(extra=records.nbytes)
    for array in arrays.values():
        array[...] = number % 2 if array.dtype == bool else number
    steps = np.arange(plan.length + 1, dtype=np.float32)[:, None]
    arrays["observation"][..., 1] = steps
    arrays["observation"][..., 2] = np.arange(plan.envs, dtype=np.float32)
    arrays["valid"][...] = True
    arrays["valid"].reshape(-1)[:invalid] = False
    payload[plan.layout.size :] = records.reshape(-1).view(np.uint8)
    return payload.data


class Recorder(Observer):
    """Remembers what a buffer tells."""

    def __init__(self) -> None:
        self.stores: list[Origin] = []
        self.recoveries: list[Origin] = []
        self.evictions: list[tuple[str, Origin]] = []
        self.reasons: list[str] = []
        self.lags: list[int] = []
        self.sampled: list[int] = []
        self.ages: list[float] = []
        self.duplicates = self.fences = self.resends = 0

    def stored(self, actor: int, epoch: int, seq: int, steps: int) -> None:
        self.stores.append((actor, epoch, seq))

    def recovered(self, actor: int, epoch: int, seq: int) -> None:
        self.recoveries.append((actor, epoch, seq))

    def duplicate(self) -> None:
        self.duplicates += 1

    def evicted(self, reason: str, actor: int, epoch: int, seq: int) -> None:
        self.evictions.append((reason, (actor, epoch, seq)))

    def rejected(self, reason: str) -> None:
        self.reasons.append(reason)

    def fenced(self) -> None:
        self.fences += 1

    def delivered(self, freshness: Any) -> None:
        self.lags.extend(int(lag) for lag in freshness.lags)
        self.sampled.append(freshness.steps)
        self.ages.extend(float(age) for age in freshness.ages)

    def resent(self) -> None:
        self.resends += 1


class Bench:
    """A buffer without sockets: what is said to it, and what it answers.

    `life` grows with each restart of the buffer, which keeps its file when it has one.
    """

    def __init__(self, path: Path | None = None, **settings: Any) -> None:
        chosen: dict[str, Any] = {
            "capacity": 1000,
            "max_policy_lag": 4,
            "samples_per_insert": None,
            "strict": False,
            "seed": 0,
        }
        self.settings = StoreSettings(**{**chosen, **settings})
        self.path = path
        self.life = 0
        self.told = Recorder()
        self.now = 100.0
        self.restart()

    def restart(self) -> None:
        self.life += 1
        aside = SetAside(None if self.path is None else self.path.with_name("set-aside"))
        self.buffer = Buffer(self.settings, self.path, self.life, self.told, aside)

    def say(self, client: str, header: Header, payload: bytes | memoryview = b"") -> list[Outgoing]:
        """A message to the socket for experience."""
        return self._say(self.buffer.experience, client, header, payload)

    def ask(self, header: Header, payload: bytes | memoryview = b"") -> list[Outgoing]:
        """A message from the learner."""
        return self._say(self.buffer.samples, "learner", header, payload)

    def turn(self) -> list[Outgoing]:
        return [copied(message) for message in self.buffer.turn(self.now)]

    def _say(
        self, take: Any, client: str, header: Header, payload: bytes | memoryview
    ) -> list[Outgoing]:
        header.job, header.size = JOB, len(payload)
        message = Message(client.encode(), header, memoryview(payload))
        try:
            return [copied(answer) for answer in take(message, self.now)]
        except Rejected as error:
            self.buffer.rejected(message.client, error.reason)
            return []

    def hello(
        self, plan: ExperienceFormat, actor: int = 1, epoch: int = 1, **header: int
    ) -> list[Outgoing]:
        opening = Header(MessageKind.HELLO, actor=actor, epoch=epoch, **header)
        return self.say(f"rollout-{actor}", opening, encode_json(plan.to_json()))

    def segment(
        self,
        plan: ExperienceFormat,
        seq: int,
        actor: int = 1,
        epoch: int = 1,
        lineage: int = 1,
        **more: Any,
    ) -> list[Outgoing]:
        version = more.pop("version", 0)
        header = Header(
            MessageKind.SEGMENT, actor=actor, epoch=epoch, seq=seq, version=version, lineage=lineage
        )
        return self.say(f"rollout-{actor}", header, make_payload(plan, seq, **more))

    def attach(self, lineage: int = 1, version: int = 0, **known: Any) -> list[Outgoing]:
        header = Header(MessageKind.HELLO, epoch=lineage, version=version)
        return self.ask(header, encode_json({"segments_per_batch": 1, **known}))

    def pull(
        self, ack: int, limit: int, version: int = 0, lineage: int = 1, seq: int = 0, bits: int = 0
    ) -> list[Outgoing]:
        header = Header(
            MessageKind.PULL,
            epoch=lineage,
            version=version,
            ack=ack,
            limit=limit,
            seq=seq,
            bits=bits,
        )
        return self.ask(header)


def copied(message: Outgoing) -> Outgoing:
    """As it would be read: the sender may change header and memory afterwards."""
    return replace(message, header=replace(message.header), payload=bytes(message.payload))


def of_kind(messages: list[Outgoing], kind: MessageKind) -> list[Outgoing]:
    return [message for message in messages if message.header.kind is kind]


def origins(messages: list[Outgoing]) -> list[Origin]:
    """Of the segments among messages to the learner."""
    return [
        (m.header.actor, m.header.epoch, m.header.seq)
        for m in of_kind(messages, MessageKind.SEGMENT)
    ]


class FakeEndpoint:
    """An `Endpoint` without a socket: a test reads `sent` and fills `inbox`."""

    def __init__(self) -> None:
        self.sent: list[tuple[Header, bytes]] = []
        self.inbox: list[tuple[Header, bytes]] = []
        self.connected = True

    def send(self, client: bytes, header: Header, payload: bytes | memoryview = b"") -> bool:
        if self.connected:
            header.size = len(payload)
            self.sent.append((replace(header), bytes(payload)))
        return self.connected

    def receive(self, most: int = 256) -> Iterator[Message]:
        arrived, self.inbox = self.inbox, []
        for header, payload in arrived:
            yield Message(b"", header, memoryview(payload))

    def take(self, kind: MessageKind) -> list[tuple[Header, bytes]]:
        """What was sent of a kind since the last call for it."""
        taken = [item for item in self.sent if item[0].kind is kind]
        self.sent = [item for item in self.sent if item[0].kind is not kind]
        return taken


def grant(messages: list[Outgoing], actor: int = 1) -> Header:
    """The last grant to a rollout."""
    return [m for m in of_kind(messages, MessageKind.GRANT) if m.header.actor == actor][-1].header


def begin(
    bench: Bench, plan: ExperienceFormat, actors: int = 1, limit: int = 100, **learner: Any
) -> None:
    for actor in range(1, actors + 1):
        assert of_kind(bench.hello(plan, actor), MessageKind.WELCOME)
    assert of_kind(bench.attach(**learner), MessageKind.WELCOME)
    bench.pull(0, limit)
    bench.turn()


def episodes(messages: list[Outgoing]) -> list[tuple[int, list[float]]]:
    """For each STATS: the number of the first episode, and the returns."""
    return [
        (m.header.seq, unpack(memoryview(m.payload))["episode"][:, 0].tolist())
        for m in of_kind(messages, MessageKind.STATS)
    ]


def told(bench: Bench, ack: int, limit: int, **more: int) -> list[Outgoing]:
    """What the learner is sent when it asks."""
    return [*bench.pull(ack, limit, **more), *bench.turn()]


def to_learner(messages: list[Outgoing]) -> list[MessageKind]:
    return [m.header.kind for m in messages if m.socket == "samples"]


def numbers(messages: list[Outgoing]) -> dict[str, float]:
    payload = of_kind(messages, MessageKind.STATS)[-1].payload
    return {
        name: float(a.reshape(-1)[0]) for name, a in unpack(memoryview(payload)).items() if a.size
    }
