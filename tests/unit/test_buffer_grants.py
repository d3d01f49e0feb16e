"""How many segments the buffer lets rollouts produce, and from which policy version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rljob.roles.buffer.rollouts import SILENT_AFTER
from rljob.wire.messages import Header, MessageKind, encode_json
from tests.unit.experience import (
    Bench,
    begin,
    grant,
    numbers,
    of_kind,
    on_policy_plan,
    origins,
    replay_plan,
    told,
)


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
