"""Batches through memory that buffer and learner share: what is handed over, when it is written again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import numpy as np
import pytest

from rljob.roles.buffer import delivering
from rljob.roles.buffer.core import Outgoing
from rljob.roles.buffer.delivering import SHARED_BYTES
from rljob.roles.learner.source import ASK_EVERY, ExperienceSource
from rljob.telemetry.metrics import LearnerMetrics
from rljob.wire.arrays import pack, unpack
from rljob.wire.messages import Header, MessageKind, decode_json, encode_json
from rljob.wire.shared import Inbox, Outbox
from tests.unit.experience import Bench, FakeEndpoint, of_kind, replay_plan

PLAN = replay_plan(batch_size=24_000, updates_per_publish=1, samples_per_insert=1e6)
"""Of which a batch has a megabyte."""

READER = """
import json, sys
from rljob.wire.shared import Inbox
address, offset, size = json.loads(sys.stdin.read())
memory = Inbox(address).view(offset, size)
print(bytes(memory).decode())
memory[:5] = b"heard"
"""


def test_another_process_reads_what_was_written() -> None:
    outbox = Outbox(100, 2)
    taken = outbox.take(11)
    assert taken is not None
    offset, memory = taken
    memory[:] = b"hello there"
    output = subprocess.run(
        [sys.executable, "-c", READER],
        input=json.dumps([outbox.address(), offset, 11]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout.strip() == "hello there"
    assert bytes(memory[:5]) == b"heard"
    outbox.close()


def test_places_are_taken_once_until_they_are_given_back() -> None:
    outbox = Outbox(5000, 2)
    first, second = outbox.take(5000), outbox.take(1)
    assert first is not None
    assert second is not None
    assert abs(first[0] - second[0]) >= 5000
    assert outbox.take(1) is None
    outbox.give_back(first[0])
    again = outbox.take(8192)
    assert again is not None
    assert again[0] == first[0]
    outbox.give_back(second[0])
    assert outbox.take(8193) is None


def test_memory_that_cannot_be_reached_or_is_another_is_refused(tmp_path: Path) -> None:
    outbox = Outbox(100, 1)
    for wrong in ({"path": "/proc/self/fd/9999"}, {"token": "00" * 16}):
        with pytest.raises(OSError, match=r"No such file|another process"):
            Inbox({**outbox.address(), **wrong})
    (tmp_path / "empty").touch()
    with pytest.raises(OSError, match="empty"):
        Inbox({**outbox.address(), "path": str(tmp_path / "empty")})
    inbox = Inbox(outbox.address())
    for offset, size in ((0, 1), (4096, 5000), (-4096, 1), (4096, -1), (2**63, 1)):
        with pytest.raises(ValueError, match="bytes at"):
            inbox.view(offset, size)


def begin(**learner: Any) -> tuple[Bench, Outgoing]:
    """A buffer with a few segments and the WELCOME that it gave its learner."""
    bench = Bench()
    bench.hello(PLAN)
    (welcome,) = of_kind(bench.attach(**learner), MessageKind.WELCOME)
    for seq in range(4):
        bench.segment(PLAN, seq)
    return bench, welcome


def shared(welcome: Outgoing) -> Any:
    return decode_json(welcome.payload).get("shared")


def batches(bench: Bench, ack: int, limit: int, **pull: int) -> list[Outgoing]:
    return of_kind([*bench.pull(ack, limit, **pull), *bench.turn()], MessageKind.BATCH)


def payload_of(message: Outgoing, inbox: Inbox) -> bytes:
    header = message.header
    assert message.payload == b""
    assert header.bits >= SHARED_BYTES
    return bytes(inbox.view(header.seq, header.bits))


def test_a_large_batch_lies_in_shared_memory_and_is_the_one_that_would_be_sent() -> None:
    bench, welcome = begin(shares=2)
    inbox = Inbox(shared(welcome))
    plain, unshared = begin()
    assert shared(unshared) is None
    for position, (here, there) in enumerate(
        zip(batches(bench, 0, 2), batches(plain, 0, 2), strict=True)
    ):
        assert payload_of(here, inbox) == there.payload
        assert here.header.limit == there.header.limit == position


def test_a_place_is_written_again_once_the_batch_in_it_is_confirmed() -> None:
    bench, welcome = begin(shares=2)
    inbox = Inbox(shared(welcome))
    first, second = batches(bench, 0, 2)
    kept = payload_of(first, inbox), payload_of(second, inbox)
    # More than it said it would hold comes as before.
    (third,) = batches(bench, 0, 3)
    assert len(third.payload) == first.header.bits
    assert (payload_of(first, inbox), payload_of(second, inbox)) == kept
    (fourth,) = batches(bench, 1, 4)
    assert fourth.header.seq == first.header.seq
    assert payload_of(first, inbox) != kept[0]
    assert payload_of(second, inbox) == kept[1]


def test_a_batch_that_is_sent_again_lies_where_it_lay() -> None:
    bench, welcome = begin(shares=1)
    inbox = Inbox(shared(welcome))
    (first,) = batches(bench, 0, 1)
    before = payload_of(first, inbox)
    bench.now += 2
    (again,) = batches(bench, 0, 1)
    assert (again.header.seq, payload_of(again, inbox)) == (first.header.seq, before)


def test_what_a_stalled_learner_reads_is_not_written_by_the_next_one() -> None:
    bench, welcome = begin(shares=1)
    inbox = Inbox(shared(welcome))
    (first,) = batches(bench, 0, 1)
    before = payload_of(first, inbox)
    (second,) = of_kind(bench.attach(lineage=2, shares=1), MessageKind.WELCOME)
    newer = Inbox(shared(second))
    # What it trained on comes again, from a copy.
    (again,) = batches(bench, 0, 1, lineage=2)
    assert again.payload == before
    (batch,) = batches(bench, 1, 2, lineage=2)
    assert payload_of(batch, newer) != before
    assert payload_of(first, inbox) == before
    # It goes to the one that asks for nothing of the kind, too.
    (third,) = of_kind(bench.attach(lineage=3), MessageKind.WELCOME)
    assert shared(third) is None
    assert len(batches(bench, 0, 1, lineage=3)[0].payload) >= SHARED_BYTES


def test_small_batches_and_too_many_large_ones_go_through_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, plan = Bench(), replay_plan()
    bench.hello(plan)
    assert shared(*of_kind(bench.attach(shares=2), MessageKind.WELCOME)) is None
    _, welcome = begin(shares=2000)
    assert shared(welcome) is None

    def fails(*_: int) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(delivering, "Outbox", fails)
    bench, welcome = begin(shares=2)
    assert shared(welcome) is None
    assert len(batches(bench, 0, 1)[0].payload) >= SHARED_BYTES


@pytest.mark.parametrize("shares", [-1, True, "2", 2**31])
def test_shares_is_a_number_of_batches(shares: Any) -> None:
    bench = Bench()
    bench.hello(PLAN)
    assert bench.attach(shares=shares) == []
    assert bench.told.reasons == ["json"]


def test_arrays_of_a_shared_batch_can_be_read() -> None:
    bench, welcome = begin(shares=1)
    (batch,) = batches(bench, 0, 1)
    arrays = unpack(Inbox(shared(welcome)).view(batch.header.seq, batch.header.bits))
    assert arrays["observation"].shape == (1, 24_000, 4)
    # Every value of a segment tells its number, and so does the one after it.
    numbers = arrays["reward"]
    assert set(np.unique(numbers)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(arrays["observation"][..., 0], numbers)
    np.testing.assert_array_equal(
        arrays["next_observation"][..., 1], arrays["observation"][..., 1] + 1
    )


class Learner:
    """A source on this machine, and what a test answers in the buffer's place."""

    def __init__(self) -> None:
        self.endpoint = FakeEndpoint()
        self.metrics = LearnerMetrics()
        self.source = ExperienceSource(
            cast(Any, Mock()), cast(Any, self.endpoint), 77, 1, 1, self.metrics, same_machine=True
        )
        self.now = 0.0

    def hello(self) -> dict[str, Any]:
        self.now += ASK_EVERY
        self.source.poll(self.now)
        return decode_json(self.endpoint.take(MessageKind.HELLO)[-1][1])

    def welcome(self, **more: Any) -> None:
        answer = {"plan": PLAN.to_json(), "arena": 5, "steps": 0, "episodes": 0, **more}
        self.endpoint.inbox.append((Header(MessageKind.WELCOME, ack=1), encode_json(answer)))
        self.source.poll(self.now)

    def batch(self, offset: int, size: int) -> None:
        header = Header(MessageKind.BATCH, seq=offset, bits=size, ack=1)
        self.endpoint.inbox.append((header, b""))
        self.source.poll(self.now)

    def rejected(self) -> float:
        return sum(
            self.metrics.registry.get_sample_value(
                "rljob_learner_messages_rejected_total", {"reason": reason}
            )
            or 0
            for reason in ("json", "table", "size")
        )


def test_a_learner_reads_batches_where_they_lie() -> None:
    learner, outbox = Learner(), Outbox(4096, 1)
    assert learner.hello()["shares"] == 2
    learner.welcome(shared=outbox.address())
    payload = pack({"reward": np.arange(3, dtype=np.float32)})
    taken = outbox.take(len(payload))
    assert taken is not None
    offset, memory = taken
    memory[:] = payload.data
    learner.batch(offset, len(payload))
    message = learner.source.take()
    assert message is not None
    assert unpack(message.payload)["reward"].tolist() == [0, 1, 2]
    assert learner.rejected() == 0


def test_a_batch_that_does_not_lie_there_is_refused() -> None:
    learner, outbox = Learner(), Outbox(4096, 1)
    learner.hello()
    learner.batch(4096, 64)
    learner.welcome(shared=outbox.address())
    for offset, size in ((4096, 8192), (2**40, 64), (0, 64), (4096, 64)):
        learner.batch(offset, size)
    assert learner.source.take() is None
    assert learner.rejected() == 4


@pytest.mark.parametrize(
    "address",
    [
        {"path": "/proc/self/fd/9999", "token": "00"},
        {"path": "/dev/null", "token": "00"},
        {"path": 1, "token": "00"},
    ],
)
def test_a_learner_that_cannot_reach_the_memory_does_without(address: dict[str, Any]) -> None:
    learner = Learner()
    assert learner.hello()["shares"] == 2
    learner.welcome(shared=address)
    assert "shares" not in learner.hello()
    learner.welcome()
    assert learner.source.poll(learner.now) is not None


@pytest.mark.parametrize("address", [7, [], {}, {"token": "00"}])
def test_an_address_that_is_none_is_refused(address: Any) -> None:
    learner = Learner()
    learner.hello()
    learner.welcome(shared=address)
    assert learner.rejected() == 1
    assert learner.source.poll(learner.now) is None
