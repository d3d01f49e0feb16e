"""What the buffer answers to rollouts and to a learner, over restarts of each of the three."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob.errors import InputError, RunError
from rljob.roles.buffer.core import RESEND_AFTER
from rljob.roles.buffer.rollouts import FENCE_AFTER, FORGET_AFTER, MOST_STRIKES, SILENT_AFTER
from rljob.roles.buffer.store import StoreSettings
from rljob.spec import parse
from rljob.wire.experience import ACTOR_WINDOW, ExperienceFormat
from rljob.wire.messages import Header, MessageKind, decode_json, encode_json
from rljob.wire.watermark import Watermark
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

# -- rollouts ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("tail", [8, 16 * 9])
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


# -- grants ------------------------------------------------------------------------------------


def test_grants_are_absolute_and_only_grow() -> None:
    bench, plan = Bench(), on_policy_plan(segments_per_batch=2)
    begin(bench, plan)
    size = plan.layout.size
    status = encode_json({"waiting": 0.0})
    limits = []
    for _ in range(5):
        bench.say("rollout-1", Header(MessageKind.STATUS, actor=1, epoch=1), status)
        limits.append(grant(bench.turn()).limit)
    assert limits == [4 * size] * 5, "two batches, however often it asks"
    for seq in range(4):
        bench.segment(plan, seq)
    assert grant(bench.turn()).limit == 4 * size
    bench.pull(2, 100, version=1)
    bench.segment(plan, 3)
    assert grant(bench.turn()).limit == 6 * size


def test_nobody_may_produce_before_there_is_a_learner() -> None:
    for plan in (on_policy_plan(), replay_plan()):
        bench = Bench()
        bench.hello(plan)
        assert grant(bench.turn()).limit == 0


def test_a_restarted_buffer_counts_what_was_granted_before(tmp_path: Path) -> None:
    bench, plan = Bench(tmp_path / "arena"), on_policy_plan(segments_per_batch=2)
    begin(bench, plan)
    bench.segment(plan, 0)
    bench.restart()
    bench.attach()
    bench.hello(plan, limit=4 * plan.layout.size, ack=1)
    bench.pull(0, 100)
    assert grant(bench.turn()).limit == 4 * plan.layout.size
    assert bench.buffer.rollouts.actors[1].outstanding == 3


def test_an_absurd_claim_of_credit_starves_nobody() -> None:
    bench, plan = Bench(), on_policy_plan(segments_per_batch=4)
    bench.attach()
    bench.hello(plan, actor=1, limit=2**63)
    bench.hello(plan, actor=2)
    bench.attach()
    bench.pull(0, 100)
    answers = bench.turn()
    assert grant(answers, 2).limit > 0


def test_a_silent_rollout_is_not_waited_for_and_one_that_returns_is_not_lost() -> None:
    bench, plan = Bench(), on_policy_plan(segments_per_batch=2)
    begin(bench, plan, actors=2)
    assert (
        bench.buffer.rollouts.actors[1].outstanding
        == bench.buffer.rollouts.actors[2].outstanding
        == 2
    )
    seq, position, version = 0, 0, 0
    for _ in range(40):
        bench.now += 0.5
        while bench.buffer.rollouts.actors[1].outstanding:
            bench.segment(plan, seq, actor=1, version=version)
            seq += 1
        bench.say("rollout-1", Header(MessageKind.STATUS, actor=1, epoch=1), b'{"waiting": 1}')
        position += len(origins(bench.turn()))
        if position >= 2 * (version + 1):
            version += 1
            bench.pull(2 * version, 100, version=version)
    assert version > (40 * 0.5 - SILENT_AFTER) - 2
    assert list(bench.buffer.rollouts.live(bench.now)) == [1]
    bench.segment(plan, 0, actor=2, version=version - 1)
    bench.turn()
    assert (2, 1, 0) in bench.told.stores
    assert sorted(bench.buffer.rollouts.live(bench.now)) == [1, 2]
    assert not bench.told.evictions


def test_no_version_is_asked_for_that_is_not_published() -> None:
    """One that returns brings grants that others have got meanwhile: more than may be ahead."""
    bench, plan = Bench(max_policy_lag=0), on_policy_plan(segments_per_batch=1)
    begin(bench, plan, actors=2)
    bench.now += SILENT_AFTER
    for actor in (2, 1):
        bench.say(
            f"rollout-{actor}", Header(MessageKind.STATUS, actor=actor, epoch=1), b'{"waiting": 0}'
        )
        answers = bench.turn()
    assert [state.outstanding for state in bench.buffer.rollouts.actors.values()] == [1, 1]
    assert grant(answers).version == 0


@pytest.mark.parametrize("max_lag", range(5))
@pytest.mark.parametrize(
    ("replicas", "per_batch"), [(1, 1), (1, 3), (2, 2), (3, 2), (4, 4), (4, 1)]
)
def test_no_lag_above_the_bound_is_ever_delivered(
    replicas: int, per_batch: int, max_lag: int
) -> None:
    """Rollouts of different speeds, one of them 20 times slower; each eviction is counted."""
    bench = Bench(max_policy_lag=max_lag)
    plan = on_policy_plan(per_batch)
    begin(bench, plan, actors=replicas, limit=2 * per_batch)
    rng = np.random.default_rng(per_batch)
    version, received, done = 0, 0, 0
    sent = dict.fromkeys(range(1, replicas + 1), 0)
    acting: dict[int, tuple[int, int]] = {}
    minimum = dict.fromkeys(sent, 0)
    turns = 0
    while version < 30:
        turns += 1
        assert turns < 50_000, "stuck"
        answers = bench.turn()
        for answer in of_kind(answers, MessageKind.GRANT):
            minimum[answer.header.actor] = answer.header.version
        received += len(origins(answers))
        who = int(rng.integers(0, replicas + 1))
        if who == 0:
            if received - done >= per_batch:
                done += per_batch
                version += 1
                bench.pull(done, done + 2 * per_batch, version=version, seq=received)
        elif who in acting:
            acted, left = acting[who]
            acting[who] = acted, left - 1
            if left == 1:
                del acting[who]
                bench.segment(plan, sent[who], actor=who, version=acted)
                sent[who] += 1
        else:
            bench.say(
                f"rollout-{who}", Header(MessageKind.STATUS, actor=who, epoch=1), b'{"waiting": 0}'
            )
            if bench.buffer.rollouts.actors[who].outstanding and version >= minimum[who]:
                acting[who] = version, 20 if who > 1 and who == replicas else 1
    assert max(bench.told.lags) <= max_lag
    assert min(bench.told.lags) >= 0
    assert {reason for reason, _ in bench.told.evictions} <= {"lag"}
    assert numbers(told(bench, 0, 0))["evicted"] == len(bench.told.evictions)
    if replicas == 1:
        assert not bench.told.evictions


# -- the learner -------------------------------------------------------------------------------


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


# -- a buffer that is restarted ----------------------------------------------------------------


@pytest.mark.parametrize("unheard", [False, True])
@pytest.mark.parametrize(
    ("per_batch", "held"),
    [(per_batch, held) for per_batch in (1, 2, 4) for held in range(per_batch)],
)
def test_a_restarted_buffer_completes_the_batch_in_the_learners_hands(
    tmp_path: Path, per_batch: int, unheard: bool, held: int
) -> None:
    """The learner has `held` segments of a batch, and trained on one whose confirmation may be lost."""
    bench, plan = Bench(tmp_path / "arena"), on_policy_plan(per_batch)
    begin(bench, plan, limit=2 * per_batch)
    for seq in range(2 * per_batch):
        bench.segment(plan, seq)
    delivered = origins(bench.turn())
    assert len(delivered) == 2 * per_batch
    if not unheard:
        bench.pull(per_batch, 3 * per_batch, version=1)
    trained = Watermark()
    for origin in delivered[:per_batch]:
        trained.take(*origin)
    holding = delivered[per_batch : per_batch + held]
    bench.restart()
    bench.hello(plan, ack=2 * per_batch, limit=2 * per_batch * plan.layout.size)
    bench.attach(version=1, trained=trained.to_json(), holding=holding)
    # In lockstep the learner asks for no more than one batch.
    bench.pull(0, per_batch, version=1)
    more = of_kind(bench.turn(), MessageKind.SEGMENT)
    assert origins(more) == delivered[per_batch + held :]
    assert [m.header.limit for m in more] == list(range(held, per_batch))
    bench.pull(per_batch, 2 * per_batch, version=2)
    assert bench.buffer.fill == 0.0, "what it held is released with the rest"
    bench.turn()
    ahead = min(2 * per_batch, ACTOR_WINDOW)
    assert bench.buffer.rollouts.actors[1].outstanding == ahead, "full production again"


def test_nothing_acknowledged_is_lost_or_stored_twice_over_restarts(tmp_path: Path) -> None:
    bench, plan = Bench(tmp_path / "arena"), on_policy_plan(segments_per_batch=4)
    begin(bench, plan, limit=0)
    counters = []
    for life in range(3):
        for seq in range(2 * life + 2):
            bench.segment(plan, seq, episodes=np.array([[1.0, 1.0]]))
        answer = grant(bench.turn())
        assert answer.ack == 2 * life + 2
        counters.append(numbers(told(bench, 0, 0)))
        bench.restart()
        assert of_kind(bench.segment(plan, 0), MessageKind.WHO)
        bench.hello(plan, ack=answer.ack)
        bench.attach()
    assert bench.told.stores == [(1, 1, seq) for seq in range(6)]
    for before, after in itertools.pairwise(counters):
        for name in ("steps", "episodes", "evicted", "duplicates"):
            assert after[name] >= before[name]
    assert counters[-1]["steps"] == 6 * plan.steps
    bench.pull(0, 100)
    assert origins(bench.turn()) == [(1, 1, seq) for seq in range(6)]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("plan", [on_policy_plan(), replay_plan()])
@pytest.mark.parametrize("step", ["commit", "stored", "remember"])
def test_a_kill_between_storing_and_recording(
    tmp_path: Path, plan: ExperienceFormat, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "arena")
    begin(bench, plan, limit=0)
    bench.segment(plan, 0)

    def kill(*_: Any) -> None:
        raise Killed

    arena = bench.buffer._store.arena
    with monkeypatch.context() as patch:
        target: Any = bench.told if step == "stored" else arena
        patch.setattr(target, step, kill)
        with pytest.raises(Killed):
            bench.segment(plan, 1)
    bench.restart()
    assert bench.told.recoveries == ([] if step == "commit" else [(1, 1, 1)])
    bench.hello(plan)
    bench.attach()
    bench.segment(plan, 1)
    assert grant(bench.turn()).ack == 2
    assert sorted({*bench.told.stores, *bench.told.recoveries}) == [(1, 1, 0), (1, 1, 1)]
    assert bench.told.duplicates == (0 if step == "commit" else 1)
    assert numbers(told(bench, 0, 0))["steps"] == 2 * plan.steps
    bench.restart()
    assert len(bench.told.recoveries) <= 1, "once"


def test_a_buffer_that_lost_its_file_goes_on(tmp_path: Path) -> None:
    bench, plan = Bench(tmp_path / "arena"), on_policy_plan()
    begin(bench, plan)
    (tmp_path / "arena").unlink()
    bench.restart()
    bench.hello(plan, ack=500, bits=0b10, limit=505 * plan.layout.size)
    bench.attach()
    bench.segment(plan, 500)
    assert grant(bench.turn()).ack == 501
    assert grant_bits(bench, plan) == 0b1


def grant_bits(bench: Bench, plan: ExperienceFormat) -> int:
    bench.segment(plan, 502)
    return grant(bench.turn()).bits


def test_a_damaged_description_is_refused(tmp_path: Path) -> None:
    bench, plan = Bench(tmp_path / "arena"), on_policy_plan()
    begin(bench, plan)
    whole = (tmp_path / "arena").read_bytes()
    (tmp_path / "arena").write_bytes(whole.replace(b'"on-policy"', b'"off-polic"'))
    with pytest.raises(RunError, match="damaged"):
        bench.restart()


@pytest.mark.parametrize(
    ("plan", "least"),
    [(on_policy_plan(2), 48), (replay_plan(min_size=90), 96), (replay_plan(min_size=1), 16)],
)
def test_a_capacity_that_is_too_small_says_what_is_needed(
    plan: ExperienceFormat, least: int
) -> None:
    with pytest.raises(InputError, match="at least") as caught:
        begin(Bench(capacity=least - 1), plan)
    assert caught.value.path == "buffer.capacity"
    needed = int(str(caught.value).split("at least ")[1].split()[0])
    begin(Bench(capacity=needed), plan)


# -- rollouts that come and go -----------------------------------------------------------------


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


# -- statistics --------------------------------------------------------------------------------


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
