"""What the buffer delivers to a learner and to the next one, and what it tells it of episodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rljob.roles.buffer.core import RESEND_AFTER
from rljob.roles.buffer.store import StoreSettings
from rljob.spec import parse
from rljob.wire.arrays import unpack
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Header, MessageKind, decode_json
from tests.unit import specs
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
    to_learner,
    told,
)


def test_what_ended_is_told_with_its_rollout_version_and_info() -> None:
    plan = replace(on_policy_plan(), info=("score",))
    bench = Bench()
    bench.hello(plan)
    bench.attach()
    records = np.array([[1.0, 2.0, 0.5, np.nan], [3.0, 4.0, 1.5, 7.0]])
    payload = bytes(make_payload(plan, 0)) + records.tobytes()
    bench.say("rollout-1", Header(MessageKind.SEGMENT, actor=1, epoch=1, version=6), payload)
    (message,) = of_kind(told(bench, 0, 0), MessageKind.STATS)
    arrays = unpack(memoryview(message.payload))
    np.testing.assert_array_equal(arrays["episode"], records)
    assert arrays["version"].tolist() == [6, 6]
    assert arrays["rollout"].tolist() == [0, 0]
    assert arrays["names"].tobytes() == b"rollout-1"
    assert arrays["stored_then"].tolist() == [arrays["steps"][0]] * 2 != [0, 0]
    wrong = bytes(make_payload(plan, 1)) + np.array([1.0, 2.0, 0.5, np.inf]).tobytes()
    header = Header(MessageKind.SEGMENT, actor=1, epoch=1, seq=1, version=6)
    bench.say("rollout-1", header, wrong)
    assert bench.told.reasons == ["episodes"]


def test_deliveries_come_in_order_and_only_up_to_the_limit() -> None:
    bench, plan = Bench(), on_policy_plan(segments_per_batch=2)
    begin(bench, plan, limit=0)
    for seq in range(3):
        bench.segment(plan, seq)
    assert not of_kind(bench.turn(), MessageKind.SEGMENT)
    bench.pull(0, 2)
    first = of_kind(bench.turn(), MessageKind.SEGMENT)
    assert origins(first) == [(1, 1, 0), (1, 1, 1)]
    assert [m.header.limit for m in first] == [0, 1]
    assert [bytes(m.payload) for m in first] == [bytes(make_payload(plan, n)) for n in (0, 1)]
    bench.pull(0, 3)
    assert [(m.header.seq, m.header.limit) for m in of_kind(bench.turn(), MessageKind.SEGMENT)] == [
        (2, 2)
    ]


def test_what_is_not_received_is_sent_again_after_a_second() -> None:
    bench, plan = Bench(), on_policy_plan(segments_per_batch=2)
    begin(bench, plan)
    for seq in range(3):
        bench.segment(plan, seq)
    first = of_kind(bench.turn(), MessageKind.SEGMENT)
    assert not of_kind(bench.pull(0, 100), MessageKind.SEGMENT)
    bench.now += RESEND_AFTER
    again = of_kind(bench.pull(0, 100, seq=1), MessageKind.SEGMENT)
    assert [m.payload for m in again] == [m.payload for m in first[1:]]
    assert [m.header for m in again] == [m.header for m in first[1:]]
    assert not of_kind(bench.pull(0, 100, seq=1), MessageKind.SEGMENT), "their age began anew"
    bench.now += RESEND_AFTER
    assert len(of_kind(bench.pull(2, 100), MessageKind.SEGMENT)) == 1
    assert bench.told.resends == 3


def test_a_confirmed_segment_frees_its_slot() -> None:
    bench, plan = Bench(capacity=24 * 2), on_policy_plan(segments_per_batch=2)
    begin(bench, plan)
    for seq in range(4):
        bench.segment(plan, seq)
    bench.turn()
    full = bench.buffer.fill
    bench.pull(2, 100, version=1)
    assert bench.buffer.fill == pytest.approx(full / 2)


def test_strangers_and_earlier_lives_of_the_learner_are_not_served() -> None:
    bench, plan = Bench(), on_policy_plan()
    bench.hello(plan)
    assert of_kind(bench.pull(0, 10), MessageKind.WHO)
    bench.attach(lineage=5)
    assert of_kind(bench.pull(0, 10, lineage=4), MessageKind.WHO)
    refusal = of_kind(bench.attach(lineage=4), MessageKind.REFUSED)[0]
    assert decode_json(refusal.payload)["newest"] == 5
    assert of_kind(told(bench, 0, 10, lineage=5), MessageKind.STATS)


def test_a_learner_that_comes_first_waits_for_a_rollout() -> None:
    bench, plan = Bench(), on_policy_plan()
    assert bench.attach() == []
    bench.hello(plan)
    welcome = of_kind(bench.attach(), MessageKind.WELCOME)[0]
    assert ExperienceFormat.from_json(decode_json(welcome.payload)["plan"]) == plan


def test_a_new_learner_gets_what_the_last_one_did_not_confirm() -> None:
    bench, plan = Bench(), on_policy_plan(segments_per_batch=2)
    begin(bench, plan)
    for seq in range(4):
        bench.segment(plan, seq)
    assert len(origins(bench.turn())) == 4
    bench.pull(2, 100, version=1)
    bench.attach(lineage=2, version=1)
    bench.pull(0, 100, version=1, lineage=2)
    delivered = of_kind(bench.turn(), MessageKind.SEGMENT)
    assert origins(delivered) == [(1, 1, 2), (1, 1, 3)]
    assert [m.header.limit for m in delivered] == [0, 1]


def test_what_was_acted_by_a_lost_future_is_evicted_and_counted() -> None:
    bench, plan = Bench(), on_policy_plan(segments_per_batch=2)
    begin(bench, plan)
    bench.pull(0, 0, version=3)
    for seq, version in enumerate((2, 3, 1, 2)):
        bench.segment(plan, seq, version=version)
    # The checkpoint was of version 2: version 3 of the new lineage will be another one.
    bench.attach(lineage=2, version=2)
    bench.pull(0, 100, version=2, lineage=2)
    assert origins(bench.turn()) == [(1, 1, 0), (1, 1, 2), (1, 1, 3)]
    bench.segment(plan, 4, lineage=1, version=3)
    bench.segment(plan, 5, lineage=2, version=3)
    assert origins(bench.turn()) == [(1, 1, 5)]
    assert bench.told.evictions == [("lineage", (1, 1, 1)), ("lineage", (1, 1, 4))]
    assert numbers(told(bench, 0, 100, lineage=2))["evicted"] == 2


def test_what_is_too_old_is_evicted_and_counted() -> None:
    bench, plan = Bench(max_policy_lag=1), on_policy_plan(segments_per_batch=1)
    begin(bench, plan, version=5)
    for seq, version in enumerate((3, 4, 4, 5)):
        bench.segment(plan, seq, version=version)
    assert origins(bench.turn()) == [(1, 1, 1), (1, 1, 3)]
    assert bench.told.evictions == [("lag", (1, 1, 0)), ("lag", (1, 1, 2))]
    assert bench.told.lags == [1, 1]


@pytest.mark.parametrize("plan", [on_policy_plan(1), replay_plan()])
def test_ages_are_never_negative(tmp_path: Path, plan: ExperienceFormat) -> None:
    bench = Bench(tmp_path / "arena")
    begin(bench, plan, limit=0)
    for seq in range(4):
        bench.segment(plan, seq)
    # The clock was set back between two lives.
    bench.now -= 50
    bench.restart()
    begin(bench, plan)
    assert bench.told.ages
    assert set(bench.told.ages) == {0.0}


def test_rollouts_must_wait_for_weights_of_the_new_learner() -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan)
    bench.attach(lineage=9, version=3)
    bench.segment(plan, 0)
    answer = grant(bench.turn())
    assert (answer.lineage, answer.version) == (9, 3)


def test_episodes_are_said_until_the_learner_has_heard_them() -> None:
    bench, plan = Bench(), on_policy_plan()
    begin(bench, plan, limit=0)
    bench.segment(plan, 0, episodes=np.array([[1.0, 5.0], [2.0, 6.0]]))
    assert episodes(told(bench, 0, 0)) == [(0, [1.0, 2.0])]
    bench.segment(plan, 1, episodes=np.array([[3.0, 7.0]]))
    assert episodes(told(bench, 0, 0)) == [(0, [1.0, 2.0, 3.0])], "the last message was lost"
    assert episodes(told(bench, 0, 0, bits=2)) == [(2, [3.0])]
    assert episodes(told(bench, 0, 0, bits=1)) == [(2, [3.0])], "an old request"
    assert episodes(told(bench, 0, 0, bits=3)) == [(3, [])]
    assert episodes(told(bench, 0, 0, bits=99)) == [(3, [])]
    bench.attach(lineage=2)
    bench.segment(plan, 2, episodes=np.array([[4.0, 8.0]]))
    assert episodes(told(bench, 0, 0, lineage=2)) == [(3, [4.0])], "a new life hears what is new"


def test_statistics_come_before_a_delivery() -> None:
    bench, plan = Bench(), on_policy_plan(segments_per_batch=1)
    begin(bench, plan)
    bench.segment(plan, 0, episodes=np.array([[1.0, 5.0]]))
    assert to_learner(bench.turn()) == [MessageKind.STATS, MessageKind.SEGMENT]


def test_statistics_are_said_once_for_what_is_sent_together() -> None:
    bench, plan = Bench(), on_policy_plan(segments_per_batch=1)
    begin(bench, plan)
    for seq in range(2):
        bench.segment(plan, seq)
    asked = bench.pull(0, 100)
    assert to_learner([*asked, *bench.turn()]) == [
        MessageKind.STATS,
        MessageKind.SEGMENT,
        MessageKind.SEGMENT,
    ]
    assert to_learner(told(bench, 2, 100)) == [MessageKind.STATS], "there is nothing to deliver"
    assert to_learner(bench.turn()) == [], "nor was anything asked"


def test_settings_are_those_of_the_job() -> None:
    spec = parse(specs.job(rollout={"replicas": 5}, buffer={"capacity": 70_000})).spec
    settings = StoreSettings.of(spec, 3, None)
    assert (settings.rollouts, settings.capacity, settings.seed) == (5, 70_000, 3)
    assert StoreSettings.of(spec.model_copy(update={"strict": True}), 3, None).max_policy_lag == 0
