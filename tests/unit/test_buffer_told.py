"""What the buffer tells of itself, for its metrics."""

from __future__ import annotations

from rljob.roles.buffer.core import Buffer
from rljob.roles.buffer.rollouts import SILENT_AFTER
from rljob.spec.experience import Replay
from rljob.wire.experience import ExperienceFormat
from tests.unit.experience import Bench, on_policy_plan, replay_plan


def begun(plan: ExperienceFormat, limit: int) -> Bench:
    """A rollout and a learner that asks for so many deliveries."""
    bench = Bench()
    bench.hello(plan)
    bench.attach()
    bench.pull(0, limit)
    bench.turn()
    return bench


def test_the_learner_waits_while_it_asks_for_more_than_there_is() -> None:
    plan = on_policy_plan()
    bench = begun(plan, limit=2)
    assert bench.buffer.learner_waits
    bench.segment(plan, 0)
    bench.turn()
    assert bench.buffer.learner_waits
    bench.segment(plan, 1)
    bench.turn()
    assert not bench.buffer.learner_waits, "what it asked for is on its way; it may be at work"
    bench.pull(2, 4, version=1)
    bench.turn()
    assert bench.buffer.learner_waits


def test_nobody_waits_without_a_learner() -> None:
    bench = Bench()
    bench.hello(on_policy_plan())
    bench.turn()
    assert not bench.buffer.learner_waits
    assert bench.buffer.granted_bytes(bench.now) == 0


def test_credit_is_what_was_granted_and_has_not_arrived() -> None:
    plan = on_policy_plan()
    bench = begun(plan, limit=2)
    granted = bench.buffer.granted_bytes(bench.now)
    assert granted > 0
    assert granted % plan.layout.size == 0
    bench.segment(plan, 0)
    assert bench.buffer.granted_bytes(bench.now) == granted - plan.layout.size
    assert bench.buffer.granted_bytes(bench.now + SILENT_AFTER) == 0, "it may be gone"
    assert Buffer(bench.settings, None, 9, bench.told).granted_bytes(bench.now) == 0


def test_transitions_of_each_delivery_are_counted() -> None:
    plan = on_policy_plan()
    bench = begun(plan, limit=2)
    bench.segment(plan, 0)
    bench.turn()
    assert bench.told.sampled == [plan.steps]

    plan = replay_plan()
    assert isinstance(plan.data, Replay)
    bench = begun(plan, limit=1)
    for seq in range(20):
        bench.segment(plan, seq)
        bench.turn()
    assert bench.told.sampled == [plan.data.batch_size * plan.data.updates_per_publish]
