"""A buffer that is restarted loses nothing that it acknowledged and stores nothing twice."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob.errors import InputError, RunError
from rljob.wire.experience import ACTOR_WINDOW, ExperienceFormat
from rljob.wire.messages import MessageKind
from rljob.wire.watermark import Watermark
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
