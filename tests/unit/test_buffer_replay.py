"""Replay in the buffer: its band, restarts, priorities, and sequences."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from rljob.errors import InputError
from rljob.roles.buffer.core import Outgoing
from rljob.wire.arrays import pack, unpack
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Header, MessageKind, decode_json, encode_json
from tests.unit.experience import (
    Bench,
    begin,
    make_payload,
    numbers,
    of_kind,
    replay_plan,
    sequence_plan,
    told,
)


def test_replay_delivers_batches_in_the_band() -> None:
    bench, plan = Bench(capacity=80), replay_plan(min_size=16, samples_per_insert=4.0)
    begin(bench, plan, limit=10_000)
    batches = []
    for seq in range(300):
        bench.now += 0.1
        bench.segment(plan, seq)
        batches += of_kind(bench.turn(), MessageKind.BATCH)
        bench.pull(len(batches), 10_000)
    assert [m.header.limit for m in batches] == list(range(len(batches)))
    chunk, band = 16, 2 * 4.0 * plan.steps
    expected = (300 * plan.steps - 16) * 4.0
    assert abs(len(batches) * chunk - expected) <= band
    arrays = unpack(memoryview(batches[-1].payload))
    assert arrays["reward"].shape == (2, 8)
    assert set(arrays["reward"].reshape(-1)) <= set(range(290, 300)), "the ring holds ten segments"
    assert numbers(told(bench, 0, 0))["evicted"] == 290


def test_a_replay_buffer_goes_on_after_a_restart(tmp_path: Path) -> None:
    bench, plan = Bench(tmp_path / "arena"), replay_plan(min_size=8)
    begin(bench, plan, limit=1)
    for seq in range(4):
        bench.segment(plan, seq)
    assert len(of_kind(bench.turn(), MessageKind.BATCH)) == 1
    stored = bench.buffer.stored
    bench.restart()
    assert bench.buffer.stored == stored
    bench.attach()
    bench.pull(0, 1)
    batch = of_kind(bench.turn(), MessageKind.BATCH)[0]
    assert batch.header.limit == 0
    assert set(unpack(memoryview(batch.payload))["reward"].reshape(-1)) <= {0.0, 1.0, 2.0, 3.0}


def test_priorities_reach_the_store_and_odd_ones_do_not() -> None:
    bench, plan = Bench(), replay_plan(min_size=8, priority_exponent=1.0)
    begin(bench, plan, limit=100)
    bench.segment(plan, 0)
    keys = unpack(memoryview(of_kind(bench.turn(), MessageKind.BATCH)[0].payload))["key"].reshape(
        -1
    )
    assert len(set(keys.tolist())) > 1

    def say(**arrays: np.ndarray) -> None:
        bench.ask(Header(MessageKind.PRIORITIES, epoch=1), pack(arrays).data)

    say(key=keys[:1], priority=np.array([1e6], np.float32))
    bench.segment(plan, 1)
    bench.pull(1, 100)
    drawn = unpack(memoryview(of_kind(bench.turn(), MessageKind.BATCH)[-1].payload))["key"].reshape(
        -1
    )
    assert keys[0] in drawn
    say(key=keys[:2], priority=np.ones(3, np.float32))
    say(key=keys.astype(np.int64), priority=np.ones(len(keys), np.float32))
    say(key=keys)
    bench.ask(Header(MessageKind.PRIORITIES, epoch=1), b"nonsense")
    assert len(bench.told.reasons) == 4


def test_experience_without_a_valid_row_does_not_hang_the_buffer() -> None:
    bench, plan = Bench(capacity=16), replay_plan(min_size=8)
    begin(bench, plan, limit=0)
    bench.segment(plan, 0)
    for seq in range(1, 4):
        bench.segment(plan, seq, invalid=plan.steps)
    bench.pull(0, 100)
    assert not of_kind(bench.turn(), MessageKind.BATCH)


def test_strict_replay_alternates() -> None:
    bench = Bench(strict=True, max_policy_lag=0)
    plan = replay_plan(min_size=8, samples_per_insert=2.0)
    begin(bench, plan, limit=1)
    order, seq, done = "", 0, 0
    while len(order) < 9:
        bench.now += 0.01
        if bench.buffer.rollouts.actors[1].outstanding:
            assert bench.buffer.rollouts.actors[1].outstanding == 1
            bench.segment(plan, seq)
            seq += 1
            order += "i"
        for _ in of_kind(bench.turn(), MessageKind.BATCH):
            order += "s"
            done += 1
            bench.pull(done, done + 1, version=done)
    assert order == "iisisisis"


def test_a_delivery_that_no_message_can_carry_is_refused_with_the_largest_that_one_can() -> None:
    plan = replay_plan(batch_size=2_000_000, updates_per_publish=2)
    with pytest.raises(InputError, match="at most") as caught:
        begin(Bench(capacity=10**6), plan)
    assert caught.value.path == "algorithm.config.batchSize"
    most = int(str(caught.value).split()[-1])
    begin(Bench(capacity=10**6), replay_plan(batch_size=most, updates_per_publish=2))


# -- sequences ---------------------------------------------------------------------------------


def follow(bench: Bench, plan: ExperienceFormat, seq: int, **values: float) -> list[Outgoing]:
    """A segment that goes on where the one before ended, as all of them have the same observations."""
    payload = make_payload(plan, 7)
    arrays = plan.layout.views(payload)
    arrays["observation"][...] = 1
    arrays["terminated"][...] = arrays["truncated"][...] = False
    for name, value in values.items():
        arrays[name][...] = value
    header = Header(MessageKind.SEGMENT, actor=1, epoch=1, seq=seq, lineage=1)
    return bench.say("rollout-1", header, payload)


@pytest.mark.parametrize("strict", [False, True])
def test_sequences_are_delivered_once_they_are_whole_and_count_as_all_their_rows(
    strict: bool,
) -> None:
    plan = sequence_plan(11, period=2, core_size=3, min_size=8, samples_per_insert=2.0)
    bench = Bench(strict=strict, max_policy_lag=0 if strict else 4)
    begin(bench, plan)
    batches, seq, done, idle = [], 0, 0, 0
    while seq < 60:
        bench.now += 0.01
        outstanding = bench.buffer.rollouts.actors[1].outstanding
        if outstanding:
            follow(bench, plan, seq)
            seq += 1
        more = of_kind(bench.turn(), MessageKind.BATCH)
        idle = 0 if outstanding or more else idle + 1
        assert idle < 2, "neither side can go on"
        assert not more or seq >= 3, "11 steps are three segments of 4"
        batches += more
        done += len(more)
        bench.pull(done, done + 5, version=done)
    chunk = 2 * 8 * 11
    expected = (seq * plan.steps - 8) * 2.0
    assert abs(len(batches) * chunk - expected) <= 3 * chunk
    arrays = unpack(memoryview(batches[-1].payload))
    assert arrays["reward"].shape == (2, 11, 8)
    assert arrays["core"].shape == (2, 1, 8, 3)
    assert bench.told.sampled[-1] == chunk


def test_sequences_outlive_the_buffer(tmp_path: Path) -> None:
    bench, plan = Bench(tmp_path / "arena"), sequence_plan(11, min_size=8, core_size=3)
    begin(bench, plan, limit=1)
    for seq in range(4):
        follow(bench, plan, seq, core=seq)
    bench.restart()
    bench.attach()
    bench.pull(0, 1)
    batch = of_kind(bench.turn(), MessageKind.BATCH)[0]
    assert set(unpack(memoryview(batch.payload))["core"].reshape(-1)) == {0.0, 1.0}


@pytest.mark.parametrize("odd", [np.nan, np.inf, -5.0, 1e30])
def test_a_priority_may_be_any_number(odd: float) -> None:
    plan = replay_plan(min_size=8, priority_exponent=1.0, priority="float32")
    bench = Bench()
    begin(bench, plan)
    follow(bench, plan, 0, priority=odd)
    assert bench.told.stores == [(1, 1, 0)]
    follow(bench, plan, 1, reward=odd)
    assert bench.told.reasons == ([] if odd == -5.0 else ["values"])


def test_a_snapshot_holds_sequences_and_their_memory(tmp_path: Path) -> None:
    plan = sequence_plan(
        11, min_size=8, core_size=3, priority_exponent=0.5, samples_per_insert=50.0
    )

    def drawn(bench: Bench) -> bytes:
        bench.pull(0, 1, lineage=bench.life)
        return bytes(of_kind(bench.turn(), MessageKind.BATCH)[0].payload)

    bench = Bench(tmp_path / "arena", strict=True, max_policy_lag=0)
    begin(bench, plan, limit=0)
    for seq in range(4):
        follow(bench, plan, seq, core=seq)
    request = {"name": "7", "keep": 1}
    answer = bench.ask(Header(MessageKind.SNAPSHOT, epoch=1), encode_json(request))
    deadline = time.monotonic() + 60
    # The buffer copies in a thread.
    while not (done := of_kind(answer, MessageKind.SNAPSHOT_DONE)):
        assert time.monotonic() < deadline
        time.sleep(0.005)
        answer = bench.turn()
    saved = decode_json(done[0].payload)
    first = drawn(bench)
    for seq in range(4, 9):
        follow(bench, plan, seq, core=seq)
    bench.restart()
    bench.attach(lineage=2, restore="7", sha256=saved["sha256"])
    assert drawn(bench) == first


def test_a_capacity_that_holds_no_sequence_of_each_rollout_is_refused() -> None:
    plan = sequence_plan(11, min_size=8)
    with pytest.raises(InputError, match="reach over 4 segments of each rollout") as caught:
        begin(Bench(capacity=95, rollouts=3), plan)
    assert (caught.value.path, "at least 96" in str(caught.value)) == ("buffer.capacity", True)
    begin(Bench(capacity=96, rollouts=3), plan)


def test_sequences_that_no_message_can_carry_are_refused() -> None:
    with pytest.raises(InputError, match="sequences of 1000 steps") as caught:
        begin(Bench(capacity=10**6), sequence_plan(1000, batch_size=5000))
    assert caught.value.path == "algorithm.config.batchSize"
    most = int(str(caught.value).split()[-1])
    begin(Bench(capacity=10**6), sequence_plan(1000, batch_size=most))
    with pytest.raises(InputError, match="shorten the sequences"):
        begin(Bench(capacity=10**6), sequence_plan(2**31 - 1, batch_size=1))
