"""What the buffer answers to a rollout: acknowledgements, earlier lives, malformed messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rljob.roles.buffer.rollouts import FENCE_AFTER
from rljob.wire.experience import ACTOR_WINDOW
from rljob.wire.messages import Header, MessageKind, decode_json, encode_json
from tests.unit.experience import (
    Bench,
    begin,
    grant,
    make_payload,
    numbers,
    of_kind,
    on_policy_plan,
    replay_plan,
    told,
)


def test_a_segment_is_acknowledged_after_it_was_stored_and_once() -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    for _ in range(3):
        bench.segment(plan, 0)
        answer = grant(bench.turn())
        assert (answer.ack, answer.bits) == (1, 0)
    bench.segment(plan, 2)
    answer = grant(bench.turn())
    assert (answer.ack, answer.bits) == (1, 1)
    assert bench.told.stores == [(1, 1, 0), (1, 1, 2)]
    assert bench.told.duplicates == 2
    assert numbers(told(bench, 0, 100))["duplicates"] == 2


def test_strangers_are_asked_who_they_are() -> None:
    bench, plan = Bench(), on_policy_plan()
    assert of_kind(bench.segment(plan, 0), MessageKind.WHO)
    bench.hello(plan, epoch=5)
    assert of_kind(bench.segment(plan, 0, epoch=4), MessageKind.WHO), "an earlier life"
    assert of_kind(bench.segment(plan, 0, epoch=6), MessageKind.WHO), "a later one, without HELLO"
    other = Header(MessageKind.STATUS, actor=1, epoch=5)
    assert of_kind(bench.say("rollout-2", other, encode_json({})), MessageKind.WHO), (
        "another's number"
    )
    assert not bench.told.stores


def test_an_older_life_of_a_rollout_is_refused() -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    bench.hello(plan, epoch=7)
    refusal = of_kind(bench.hello(plan, epoch=6), MessageKind.REFUSED)
    assert "newer process" in decode_json(refusal[0].payload)["message"]
    bench.segment(plan, 0, epoch=7)
    assert bench.told.stores == [(1, 7, 0)]


def test_an_older_life_of_a_rollout_is_refused_after_a_restart_as_well(tmp_path: Path) -> None:
    bench, plan = Bench(tmp_path / "arena"), on_policy_plan()
    begin(bench, plan)
    bench.hello(plan, epoch=7)
    bench.restart()
    assert of_kind(bench.hello(plan, epoch=6), MessageKind.REFUSED)


def test_a_new_life_begins_at_zero_and_its_grants_do_too() -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    bench.segment(plan, 0)
    bench.segment(plan, 1)
    bench.hello(plan, epoch=2)
    bench.pull(2, 100, version=1)
    answer = grant(bench.turn())
    assert (answer.epoch, answer.ack) == (2, 0)
    assert 0 < answer.limit <= ACTOR_WINDOW * plan.layout.size
    bench.segment(plan, 0, epoch=2)
    assert bench.told.stores[-1] == (1, 2, 0)


def test_other_experience_than_the_first_rollouts_is_refused() -> None:
    bench = Bench()
    bench.hello(on_policy_plan())
    for other in (on_policy_plan(length=5), on_policy_plan(segments_per_batch=3), replay_plan()):
        refusal = of_kind(bench.hello(other, actor=2), MessageKind.REFUSED)
        assert "differ" in decode_json(refusal[0].payload)["message"]


def test_three_malformed_messages_fence_until_hello() -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    good = make_payload(plan, 0)
    bad = memoryview(bytes(good[:-8]))
    header = {"actor": 1, "epoch": 1, "seq": 0}
    for _ in range(FENCE_AFTER - 1):
        bench.say("rollout-1", Header(MessageKind.SEGMENT, **header), bad)
    bench.segment(plan, 0)
    header["seq"] = 1
    assert bench.told.stores, "fewer than three do no harm"
    for _ in range(FENCE_AFTER):
        bench.say("rollout-1", Header(MessageKind.SEGMENT, **header), bad)
    assert bench.told.fences == 1
    assert set(bench.told.reasons) == {"layout"}
    assert of_kind(bench.segment(plan, 1), MessageKind.REFUSED), "so that it does not wait for ever"
    assert len(bench.told.stores) == 1
    bench.hello(plan, epoch=2)
    bench.segment(plan, 0, epoch=2)
    assert len(bench.told.stores) == 2


@pytest.mark.parametrize(
    "status",
    [b"", b"[]", b"{}x", b'{"waiting": "x"}', b'{"waiting": [1]}', b'{"waiting": -1}',
     b'{"waiting": 1e400}', b'{"waiting": true}'],
)  # fmt: skip
def test_an_odd_status_is_rejected_and_nothing_dies(status: bytes) -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    bench.say("rollout-1", Header(MessageKind.STATUS, actor=1, epoch=1), status)
    assert bench.told.reasons == ["json"]
    bench.say("rollout-1", Header(MessageKind.STATUS, actor=1, epoch=1), b'{"waiting": 0.5}')
    assert numbers(told(bench, 0, 100))["rollouts_waiting"] == 0.5


@pytest.mark.parametrize("tail", [8, 24 * 9])
def test_odd_episode_records_are_rejected(tail: int) -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    payload = bytes(make_payload(plan, 0)) + bytes(tail)
    bench.say("rollout-1", Header(MessageKind.SEGMENT, actor=1, epoch=1), payload)
    nan = make_payload(plan, 0, np.array([[np.nan, 1.0]]))
    bench.say("rollout-1", Header(MessageKind.SEGMENT, actor=1, epoch=1), nan)
    assert bench.told.reasons == ["episodes"] * 2
    assert not bench.told.stores


def test_kinds_that_no_rollout_sends_are_rejected() -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    bench.say("rollout-1", Header(MessageKind.PULL, actor=1, epoch=1))
    bench.ask(Header(MessageKind.SEGMENT, epoch=1))
    assert bench.told.reasons == ["unexpected"] * 2
