"""What is predicted of a job, against what can be worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rljob.errors import InputError, RunError
from rljob.plan import page
from rljob.plan.measured import Costs, Line, OnPolicyUse, ReplayUse, Work
from rljob.plan.model import BUSY, Place, Prediction, fewest, predict, shares

NOTHING = Work(cpu=0.0)
LENGTH, ENVS = 10, 5
PODS = Place(1.0, pods=True)
"""A core for each process: nobody is in anybody's way."""


def costs(segment: float = 0.010, update: float = 0.005, wait: float = 0.0, **more: Any) -> Costs:
    """Of a job whose messages cost nothing; seconds of a segment and of an update."""
    stepping = Work(cpu=segment / LENGTH, wait=wait / LENGTH)
    values = {
        **dict.fromkeys(("acting", "packing", "shipping", "applying", "carrying"), NOTHING),
        **dict.fromkeys(("storing", "delivering", "receiving"), NOTHING),
        "job": "x",
        "cores": 2,
        "length": LENGTH,
        "envs": ENVS,
        "use": OnPolicyUse(),
        "segment_bytes": 1000,
        "weights_bytes": 1000,
        "hop": 0.0,
        "stepping": stepping,
        "updating": Line(fixed=Work(cpu=update), each=NOTHING),
        "publishing": Line(fixed=NOTHING, each=NOTHING),
    }
    return Costs(**{**values, **more})


def period(one: Prediction) -> float:
    """Seconds from one update to the next."""
    return 1 / one.updates


# -- by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segment", "update", "bound"),
    [(0.010, 0.005, "environment"), (0.005, 0.010, "learner")],
)
def test_collecting_and_training_overlap(segment: float, update: float, bound: str) -> None:
    one = predict(costs(segment, update), 3, PODS)
    assert period(one) == pytest.approx(max(segment, update))
    assert one.steps == pytest.approx(3 * LENGTH * ENVS / 0.010)
    assert one.learner == pytest.approx(update / 0.010)
    assert one.rollout == pytest.approx(segment / 0.010)
    assert one.bound == bound
    assert one.lag == (1, 1), "one batch is collected while the last is trained on"
    assert one.cores == pytest.approx(one.learner + 3 * one.rollout)


def test_without_lag_they_take_turns() -> None:
    strict = predict(costs(0.010, 0.005, strict=True), 2, PODS)
    bound = predict(costs(0.010, 0.005, use=OnPolicyUse(max_policy_lag=0)), 2, PODS)
    for one in (strict, bound):
        assert period(one) == pytest.approx(0.015)
        assert (one.lag, one.bound) == ((0, 0), "turns")


def test_messages_count_where_neither_side_is_slower() -> None:
    # Two batches are on their way round: segment to buffer, to the learner, version to the buffer, grant.
    one = predict(costs(0.010, 0.010, hop=0.001), 3, PODS)
    assert period(one) == pytest.approx((0.010 + 0.010 + 4 * 0.001) / 2)
    assert predict(costs(0.020, 0.010, hop=0.001), 3, PODS).updates == pytest.approx(50)


def test_a_fixed_batch_of_fewer_segments_than_rollouts() -> None:
    # Two batches of two are on their way; the other rollouts have no credit.
    one = predict(costs(0.010, 0.002, use=OnPolicyUse(segments_per_batch=2)), 8, PODS)
    assert period(one) == pytest.approx((0.010 + 0.002) / 2)
    assert one.rollout == pytest.approx(2 * 0.010 / period(one) / 8)


def test_a_fixed_batch_of_more_segments_than_rollouts() -> None:
    one = predict(costs(0.010, 0.002, use=OnPolicyUse(segments_per_batch=8)), 2, PODS)
    assert period(one) == pytest.approx(0.040)
    assert one.lag is not None
    assert one.lag[1] <= 1


def test_replay_holds_its_ratio() -> None:
    use = ReplayUse(batch_size=100, samples_per_insert=8.0, updates_per_publish=4)
    learner_bound = predict(costs(0.001, 0.005, use=use), 2, PODS)
    assert learner_bound.updates == pytest.approx(200, rel=0.02)
    assert learner_bound.steps == pytest.approx(200 * 100 / 8, rel=0.05)
    assert (learner_bound.bound, learner_bound.lag) == ("learner", None)
    rollout_bound = predict(costs(0.040, 0.005, use=use), 1, PODS)
    assert rollout_bound.steps == pytest.approx(LENGTH * ENVS / 0.040, rel=0.02)
    assert rollout_bound.updates == pytest.approx(rollout_bound.steps * 8 / 100, rel=0.05)
    assert rollout_bound.bound == "environment"


def test_cores_that_are_shared_are_a_bound() -> None:
    # 4 segments of 10 ms and an update of 5 ms for each batch, on 2 cores.
    one = predict(costs(0.010, 0.005), 4, Place(2.0))
    assert period(one) == pytest.approx(0.045 / 2)
    assert (one.cores, one.bound) == (pytest.approx(2.0), "cores")


def test_environments_that_wait_leave_the_cores_to_others() -> None:
    asleep = costs(0.001, 0.002, wait=0.099)
    alone, many = (predict(asleep, count, Place(2.0)) for count in (1, 16))
    assert period(alone) == pytest.approx(0.100)
    assert many.steps == pytest.approx(16 * alone.steps, rel=0.03)
    busy = predict(costs(0.100, 0.002), 16, Place(2.0))
    assert busy.steps < 3 * alone.steps


def test_a_slow_buffer_is_named_and_shards_relieve_it() -> None:
    slow = costs(0.010, 0.001, storing=Work(cpu=0.005))
    one = predict(slow, 20, PODS)
    assert one.bound == "buffer"
    assert period(one) == pytest.approx(20 * 0.005, rel=0.1)
    sharded = predict(slow, 20, Place(1.0, pods=True, buffers=4))
    assert sharded.steps > 2 * one.steps


def test_resets_are_no_steps() -> None:
    whole, part = (predict(costs(valid=share), 2, PODS).steps for share in (1.0, 0.75))
    assert part == pytest.approx(0.75 * whole)


# -- limits ------------------------------------------------------------------------------------


def test_more_rollouts_are_never_slower_with_cores_of_their_own() -> None:
    rates = [predict(costs(0.010, 0.004), count, PODS).steps for count in (1, 2, 3, 5, 8, 13, 64)]
    assert rates == sorted(rates)


@pytest.mark.parametrize(
    "part", ["stepping", "acting", "packing", "shipping", "storing", "receiving"]
)
def test_what_costs_more_makes_nothing_faster(part: str) -> None:
    before, after = (
        predict(costs(**{part: Work(cpu=cpu)}), 4, Place(2.0)).steps for cpu in (0.0001, 0.001)
    )
    assert after <= before * 1.001


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_lag_stays_in_its_bound(lag: int) -> None:
    for segment, update in ((0.010, 0.001), (0.001, 0.010), (0.010, 0.010)):
        use = OnPolicyUse(segments_per_batch=3, max_policy_lag=lag)
        one = predict(costs(segment, update, use=use), 7, Place(2.0))
        assert one.lag is not None
        assert 0 <= one.lag[0] <= one.lag[1] <= lag


def test_a_thousand_rollouts_can_be_played() -> None:
    one = predict(costs(0.050, 0.005), 1000, Place(1.0, pods=True, buffers=8))
    assert one.steps == pytest.approx(1000 * LENGTH * ENVS / 0.050, rel=0.02)
    assert one.held == 1009


# -- how many ----------------------------------------------------------------------------------


def test_the_fewest_rollouts_that_keep_the_learner_busy() -> None:
    # Four segments, each of as long as an update, for every update.
    job = costs(0.040, 0.040, use=OnPolicyUse(segments_per_batch=4))
    found = fewest(job, PODS)
    assert found is not None
    assert (found.rollouts, found.learner) == (4, pytest.approx(1.0))
    assert predict(job, found.rollouts - 1, PODS).learner < BUSY


def test_cores_may_be_full_before_the_learner_is_busy() -> None:
    each = Line(fixed=NOTHING, each=Work(cpu=0.001))
    assert fewest(costs(0.010, updating=each), Place(2.0)) is None
    assert fewest(costs(0.010, updating=each), PODS) is not None


def test_nothing_keeps_a_learner_busy_that_has_too_little_credit() -> None:
    assert fewest(costs(0.010, 0.001, use=OnPolicyUse(segments_per_batch=1)), PODS, most=64) is None


# -- what is printed and kept ------------------------------------------------------------------


def test_what_it_costs() -> None:
    one = predict(costs(0.010, 0.005), 2, Place(4.0))
    assert one.core_seconds == pytest.approx(1e6 * one.cores / one.steps)
    assert one.cost(0.36) == pytest.approx(1e6 / one.steps * 4 * 0.36 / 3600)
    assert predict(costs(0.010, 0.005), 2, PODS).held == 4, "2 rollouts, a buffer and a learner"


def test_where_the_time_of_a_step_goes() -> None:
    found = shares(costs(0.006, wait=0.002, acting=Work(cpu=0.0001), shipping=Work(cpu=0.001)))
    assert found == pytest.approx(
        {
            "stepping environments": 0.8,
            "choosing actions": 0.1,
            "packing and sending": 0.1,
            "loading policies": 0.0,
        }
    )
    assert next(iter(found)) == "stepping environments"


def test_the_table_says_it_in_words() -> None:
    job = costs(0.010, 0.012, wait=0.010)
    many = [predict(job, count, PODS) for count in (1, 2)]
    lines = page.lines(job, PODS, many, None, 0.05)
    assert lines[0].startswith("rollouts   steps/s")
    text = " ".join(" ".join(lines).split())
    assert "stepping environments" in text
    assert "cost / M steps" in text
    assert "Not even 1,024 rollouts keep the learner busy." in text
    assert "50 % of it without a core" in text
    found = page.values(job, PODS, many, None, 0.05)
    assert found["fewestRollouts"] is None
    assert found["predictions"][1]["bottleneck"] == "stepping environments"
    assert found["predictions"][1]["lag"] == {"p50": 1, "p95": 1}


def test_costs_are_kept_in_a_file(tmp_path: Path) -> None:
    use = ReplayUse(batch_size=8, samples_per_insert=2.0, updates_per_publish=1)
    kept = costs(use=use)
    kept.save(tmp_path / "costs.json")
    assert Costs.load(tmp_path / "costs.json") == kept
    with pytest.raises(RunError, match="cannot write"):
        kept.save(tmp_path / "none" / "costs.json")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"job": 1}', "\0"])
def test_another_file_is_no_costs(tmp_path: Path, text: str) -> None:
    file = tmp_path / "costs.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"costs\.json: no costs that rljob plan has saved"):
        Costs.load(file)
