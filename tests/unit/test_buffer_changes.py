"""Rollouts that come and go, larger batches, and senders of nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob.errors import InputError
from rljob.roles.buffer.rollouts import FENCE_AFTER, FORGET_AFTER, MOST_STRIKES
from rljob.wire.messages import Header, MessageKind, decode_json, encode_json
from tests.unit.experience import (
    Bench,
    begin,
    episodes,
    grant,
    make_payload,
    numbers,
    of_kind,
    on_policy_plan,
    origins,
    replay_plan,
)


def test_the_learner_says_how_many_segments_make_a_batch() -> None:
    bench, plan = Bench(max_policy_lag=0), on_policy_plan(segments_per_batch=0)
    for actor in range(1, 6):
        assert of_kind(bench.hello(plan, actor), MessageKind.WELCOME)
        assert grant(bench.turn(), actor).limit == 0, "nobody has asked for experience"
    bench.attach(segments_per_batch=3)
    bench.pull(0, 100)
    bench.turn()
    granted = [actor.outstanding for actor in bench.buffer.rollouts.actors.values()]
    assert sum(granted) == 3, "one batch, whoever and however many produce it"


def test_what_the_algorithm_fixes_counts_more_than_what_the_learner_says() -> None:
    bench, plan = Bench(max_policy_lag=0), on_policy_plan(segments_per_batch=2)
    begin(bench, plan, actors=3, segments_per_batch=9)
    assert sum(a.outstanding for a in bench.buffer.rollouts.actors.values()) == 2


@pytest.mark.parametrize("count", [None, 0, -1, 2**31, 1.0, True, "2"])
def test_a_learner_has_to_say_a_number(count: Any) -> None:
    bench = Bench()
    bench.hello(on_policy_plan(segments_per_batch=0))
    assert not bench.attach(segments_per_batch=count)
    assert bench.told.reasons == ["json"]


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_later_learner_with_larger_batches_finds_room(tmp_path: Path, on_disk: bool) -> None:
    bench = Bench(tmp_path / "arena" if on_disk else None, max_policy_lag=1)
    plan = on_policy_plan(segments_per_batch=0)
    begin(bench, plan, segments_per_batch=1)
    for seq in range(2):
        bench.segment(plan, seq, episodes=np.array([[float(seq), 1.0]]))
    assert len(origins(bench.turn())) == 2, "lent and not confirmed"
    arena = bench.buffer._store.arena.id  # type: ignore[union-attr]

    bench.attach(lineage=2, segments_per_batch=6)
    bench.pull(0, 100, lineage=2)
    messages = bench.turn()
    assert origins(messages) == [(1, 1, 0), (1, 1, 1)], "each again, once, in order"
    said = numbers(messages)
    assert (said["steps"], said["episodes"]) == (16, 2)
    assert [m.header.epoch for m in of_kind(messages, MessageKind.STATS)][-1] == arena, (
        "the same counters"
    )
    assert episodes(messages)[-1] == (0, [0.0, 1.0])
    for seq in range(2, 12):
        bench.segment(plan, seq, lineage=2)
    assert len(bench.told.stores) == 12
    bench.segment(plan, 1)
    assert bench.told.duplicates == 1, "it knows what has arrived"
    if on_disk:
        bench.restart()
        bench.hello(plan)
        bench.attach(lineage=3, segments_per_batch=6)
        bench.pull(0, 100, lineage=3)
        assert len(origins(bench.turn())) == 12
        assert [path.name for path in tmp_path.iterdir()] == ["arena"]
    assert not bench.told.evictions


def test_larger_batches_than_the_capacity_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    bench, plan = Bench(tmp_path / "arena", capacity=100), on_policy_plan(segments_per_batch=0)
    begin(bench, plan)
    bench.segment(plan, 0)
    with pytest.raises(InputError, match="too few for this job"):
        bench.attach(lineage=2, segments_per_batch=50)
    bench.restart()
    bench.hello(plan)
    bench.attach(lineage=3)
    bench.pull(0, 10, lineage=3)
    assert origins(bench.turn()) == [(1, 1, 0)]


def test_a_segment_before_any_learner_is_offered_again_and_then_stored() -> None:
    """Its rollout holds credit of a buffer that lost everything."""
    bench, plan = Bench(), on_policy_plan()
    bench.hello(plan, limit=4 * plan.layout.size)
    bench.segment(plan, 0)
    answer = grant(bench.turn())
    assert (answer.ack, answer.bits) == (0, 0)
    begin(bench, plan)
    bench.segment(plan, 0)
    assert grant(bench.turn()).ack == 1
    assert bench.told.stores == [(1, 1, 0)]


def test_what_a_leaving_rollout_was_granted_goes_to_others_at_once() -> None:
    bench, plan = Bench(max_policy_lag=0), on_policy_plan(segments_per_batch=2)
    begin(bench, plan, actors=2)
    assert [a.outstanding for a in bench.buffer.rollouts.actors.values()] == [1, 1]
    status = Header(MessageKind.STATUS, actor=2, epoch=1)
    bench.say("rollout-2", status, encode_json({"leaving": True}))
    assert grant(bench.turn()).limit == 2 * plan.layout.size
    assert of_kind(bench.segment(plan, 0, actor=2), MessageKind.WHO), "it is a stranger now"
    bench.say(
        "rollout-1", Header(MessageKind.STATUS, actor=1, epoch=1), encode_json({"leaving": 1})
    )
    assert bench.told.reasons == ["json"]


def test_who_has_long_been_silent_is_forgotten_and_may_come_back() -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    bench.segment(plan, 0)
    bench.turn()
    for actor in range(2, 1000):
        bench.now += 1.0
        bench.hello(plan, actor)
        bench.turn()
        assert len(bench.buffer.rollouts.actors) <= FORGET_AFTER + 2
    assert of_kind(bench.segment(plan, 1), MessageKind.WHO)
    bench.hello(plan, ack=1)
    bench.segment(plan, 0)
    assert grant(bench.turn()).ack == 1
    assert bench.told.stores == [(1, 1, 0)]
    assert bench.told.duplicates == 1


def test_nobody_waits_longest_for_ever() -> None:
    """With room for one segment at a time, all get their turn."""
    bench, plan = Bench(max_policy_lag=0), on_policy_plan(segments_per_batch=1)
    begin(bench, plan, actors=3)
    seqs, produced = dict.fromkeys((1, 2, 3), 0), []
    for version in range(9):
        actors = bench.buffer.rollouts.actors.items()
        (who,) = [number for number, actor in actors if actor.outstanding]
        produced.append(who)
        bench.segment(plan, seqs[who], actor=who, version=version)
        seqs[who] += 1
        bench.turn()
        bench.pull(version + 1, 100, version=version + 1)
        bench.turn()
    assert produced == [1, 2, 3] * 3


def test_strangers_who_talk_nonsense_do_not_fill_the_memory() -> None:
    bench = Bench()
    for number in range(3 * MOST_STRIKES):
        bench.buffer.rejected(f"client-{number}".encode(), "json")
    assert len(bench.buffer._fence._strikes) == MOST_STRIKES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reward", np.nan),
        ("reward", -np.inf),
        ("reward", 1e20),
        ("observation", np.nan),
        ("action", 10**9),
    ],
)
def test_poison_is_not_stored_and_fences_who_sends_it(name: str, value: float) -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    payload = make_payload(plan, 0)
    good = bytes(payload)
    plan.layout.views(payload)[name][1, 1] = value
    header = Header(MessageKind.SEGMENT, actor=1, epoch=1, seq=0, lineage=1, version=0)
    bench.say("rollout-1", header, payload)
    assert bench.told.reasons == ["values"]
    assert grant(bench.turn()).ack == 0
    bench.say("rollout-1", header, good)
    assert bench.told.stores == [(1, 1, 0)]
    header.seq = 1
    for _ in range(FENCE_AFTER):
        bench.say("rollout-1", header, payload)
    bench.say("rollout-1", header, good)
    assert bench.told.stores == [(1, 1, 0)], "it is fenced until it says HELLO again"


@pytest.mark.parametrize("version", [-2, 2**62, 2**63 - 1, -(2**63)])
def test_versions_that_leave_64_bits_are_refused(version: int) -> None:
    for plan in (on_policy_plan(), replay_plan()):
        bench = Bench()
        begin(bench, plan)
        bench.segment(plan, 0, version=version)
        bench.attach(lineage=2, version=version)
        assert bench.told.reasons == ["unexpected", "unexpected"]
        bench.segment(plan, 0)
        assert bench.told.stores == [(1, 1, 0)]
        bench.turn()


def test_an_older_epoch_is_told_the_newest() -> None:
    bench, plan = Bench(), on_policy_plan()
    bench.hello(plan, epoch=7)
    refusal = of_kind(bench.hello(plan, epoch=6), MessageKind.REFUSED)[0]
    assert decode_json(refusal.payload)["newest"] == 7
    other = of_kind(bench.hello(replay_plan(), actor=2), MessageKind.REFUSED)[0]
    assert "newest" not in decode_json(other.payload)
