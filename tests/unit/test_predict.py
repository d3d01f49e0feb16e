"""Predictions for a job, compared with what can be computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rljob.plan import table
from rljob.plan.costs import Costs, Work
from rljob.plan.predict import (
    BUSY,
    Deployment,
    Prediction,
    fewest,
    predict,
    shares,
    side_by_side,
)

STEPS = 50
"""In a segment."""
PODS = Deployment(1.0, pods=True)
"""A core for each process: none waits for a core."""


def computing(seconds: float) -> Work:
    return Work(seconds, seconds)


def costs(segment: float = 0.010, update: float = 0.005, sleep: float = 0.0, **more: Any) -> Costs:
    """Of a job whose messages cost nothing; seconds of a segment and of an update."""
    messages = ("sending", "loading", "buffering", "receiving", "publishing")
    values: dict[str, Any] = {
        **dict.fromkeys((*messages, "update_per_segment", "publishing_per_rollout"), Work()),
        "length": 10,
        "envs": 5,
        "segment_steps": float(STEPS),
        "on_policy": True,
        "alternating": False,
        "segments_per_version": 0,
        "updates_per_version": 1,
        "collecting": Work(segment, segment + sleep),
        "stepping_share": 0.8,
        "acting_share": 0.1,
        "update": computing(update),
    }
    return Costs(**{**values, **more})


def replay(segment: float, update: float, **more: Any) -> Costs:
    """4 updates of 100 samples for a version, 8 samples for each step."""
    values = {"on_policy": False, "segments_per_version": 1.0, "updates_per_version": 4, **more}
    return costs(segment, update, **values)


def period(one: Prediction) -> float:
    """Seconds from one update to the next."""
    return 1 / one.updates_per_second


@pytest.mark.parametrize(
    ("segment", "update", "bottleneck"),
    [(0.010, 0.005, "stepping environments"), (0.005, 0.010, "updating the policy")],
)
def test_collecting_and_training_overlap(segment: float, update: float, bottleneck: str) -> None:
    one = predict(costs(segment, update), 3, PODS)
    assert period(one) == pytest.approx(0.010)
    assert one.steps_per_second == pytest.approx(3 * STEPS / 0.010)
    assert one.learner_busy == pytest.approx(update / 0.010)
    assert one.bottleneck == bottleneck
    assert one.cores_busy == pytest.approx((update + 3 * segment) / 0.010)
    assert one.cores_held == 5, "3 rollouts, a buffer and a learner"


def test_without_lag_they_take_turns() -> None:
    one = predict(costs(0.010, 0.005, alternating=True), 2, PODS)
    assert period(one) == pytest.approx(0.015)
    assert one.bottleneck == "waiting for each other"


def test_rollouts_that_take_turns_send_at_the_same_time() -> None:
    job = costs(0.010, 0.005, alternating=True, buffering=computing(0.001))
    assert period(predict(job, 3, PODS)) == pytest.approx(0.010 + 3 * 0.001 + 0.005)


def test_turns_on_shared_cores() -> None:
    # 4 segments of 10 ms on 2 cores, then an update of 5 ms.
    one = predict(costs(0.010, 0.005, alternating=True), 4, Deployment(2.0))
    assert period(one) == pytest.approx(0.025)


def test_messages_count_where_neither_side_is_slower() -> None:
    # Two batches are on their way: rollout, buffer, learner.
    one = predict(costs(0.010, 0.010, buffering=computing(0.004)), 1, PODS)
    assert period(one) == pytest.approx((0.010 + 0.010 + 0.004) / 2)
    assert one.bottleneck == "waiting for each other"


def test_a_batch_of_fewer_segments_than_rollouts() -> None:
    # Two batches of two are on their way; the other rollouts have no credit.
    one = predict(costs(0.010, 0.002, segments_per_version=2), 8, PODS)
    assert period(one) == pytest.approx((0.010 + 0.002) / 2)


def test_a_batch_of_more_segments_than_rollouts() -> None:
    one = predict(costs(0.010, 0.002, segments_per_version=8), 2, PODS)
    assert period(one) == pytest.approx(0.040)


def test_updates_and_messages_grow_with_the_batch() -> None:
    parts: dict[str, Any] = {
        name: computing(0.001)
        for name in ("update_per_segment", "receiving", "publishing_per_rollout", "publishing")
    }
    one = predict(costs(0.001, 0.002, **parts), 4, PODS)
    assert period(one) == pytest.approx(0.002 + 3 * 4 * 0.001 + 0.001)


@pytest.mark.parametrize(
    ("rollouts", "bottleneck"), [(1, "stepping environments"), (5, "updating the policy")]
)
def test_replay_goes_at_the_rate_of_the_slower_side(rollouts: int, bottleneck: str) -> None:
    # A segment takes 40 ms, the 4 updates for it 20 ms.
    one = predict(replay(0.040, 0.005), rollouts, PODS)
    assert one.steps_per_second == pytest.approx(STEPS / (0.040 if rollouts == 1 else 0.020))
    assert one.updates_per_second == pytest.approx(one.steps_per_second * 4 / STEPS)
    assert one.bottleneck == bottleneck


def test_replay_publishes_once_in_ten_milliseconds() -> None:
    # Versions of 1 ms: every tenth is sent.
    job = replay(0.0001, 0.00025, publishing=computing(0.001))
    assert predict(job, 1, PODS).updates_per_second == pytest.approx(4 / 0.0011)


def test_shared_cores_are_a_bound() -> None:
    # Both cores compute for 2 segments of 10 ms and an update of 10 ms.
    one = predict(costs(0.010, 0.010), 2, Deployment(2.0))
    assert period(one) == pytest.approx(0.030 / 2)
    assert one.cores_busy == pytest.approx(2.0)
    assert one.bottleneck == "all cores are busy"


def test_rollouts_on_shared_cores_slow_the_learner() -> None:
    # For 1 ms of work 5 processes share 2 cores; then the learner computes alone for 9 ms.
    one = predict(costs(0.001, 0.010), 4, Deployment(2.0))
    assert period(one) == pytest.approx(0.001 * 5 / 2 + 0.009)
    assert (one.learner_busy, one.bottleneck) == (1.0, "updating the policy")


def test_environments_that_sleep_leave_the_cores_to_others() -> None:
    asleep = costs(0.001, 0.002, sleep=0.099)
    alone, many = (predict(asleep, count, Deployment(2.0)) for count in (1, 16))
    assert period(alone) == pytest.approx(0.100)
    assert many.steps_per_second == pytest.approx(16 * alone.steps_per_second)
    busy = predict(costs(0.100, 0.002), 16, Deployment(2.0))
    assert busy.steps_per_second < 3 * alone.steps_per_second


@pytest.mark.parametrize(
    ("one", "other", "cores", "ends"),
    [
        (computing(1.0), computing(3.0), 2.0, (1.0, 3.0)),
        (computing(1.0), computing(3.0), 1.0, (2.0, 4.0)),
        (Work(8.0, 2.0), computing(3.0), 4.0, (2.5, 3.5)),
        (Work(0.0, 2.0), computing(3.0), 1.0, (2.0, 3.0)),
        (Work(), computing(3.0), 1.0, (0.0, 3.0)),
    ],
)
def test_cores_are_shared_evenly(
    one: Work, other: Work, cores: float, ends: tuple[float, float]
) -> None:
    assert side_by_side(one, other, cores) == pytest.approx(ends)
    assert side_by_side(other, one, cores) == pytest.approx(ends[::-1])


def test_a_slow_buffer_is_the_bottleneck() -> None:
    one = predict(costs(0.010, 0.001, buffering=computing(0.005)), 20, PODS)
    assert one.bottleneck == "storing experience"
    assert period(one) == pytest.approx(20 * 0.005)


def test_steps_that_only_reset_do_not_count() -> None:
    whole, part = (predict(costs(segment_steps=steps), 2, PODS) for steps in (50.0, 40.0))
    assert part.steps_per_second == pytest.approx(0.8 * whole.steps_per_second)


def test_more_rollouts_are_never_slower_with_cores_of_their_own() -> None:
    counts = (1, 2, 3, 5, 8, 13, 64)
    rates = [predict(costs(0.010, 0.004), count, PODS).steps_per_second for count in counts]
    assert rates == sorted(rates)


@pytest.mark.parametrize("part", ["collecting", "sending", "buffering", "receiving", "publishing"])
@pytest.mark.parametrize("alternating", [False, True])
def test_a_part_that_costs_more_makes_nothing_faster(part: str, alternating: bool) -> None:
    rates = []
    for seconds in (0.001, 0.01, 0.1):
        slow: dict[str, Any] = {part: computing(seconds)}
        job = costs(alternating=alternating, **slow)
        rates.append(predict(job, 4, Deployment(2.0)).steps_per_second)
    assert rates == sorted(rates, reverse=True)
    assert rates[2] < rates[0]


@pytest.mark.parametrize("cores", [0.5, 1.0, 2.0, 7.0])
@pytest.mark.parametrize("alternating", [False, True])
def test_no_more_cores_are_busy_than_there_are(cores: float, alternating: bool) -> None:
    for rollouts in (1, 3, 40):
        job = costs(0.010, 0.004, alternating=alternating, buffering=computing(0.002))
        assert predict(job, rollouts, Deployment(cores)).cores_busy <= cores * 1.0001


def test_the_fewest_rollouts_that_keep_the_learner_busy() -> None:
    # Four segments, each of as long as an update, for every update.
    job = costs(0.040, 0.040, segments_per_version=4)
    assert fewest(job, PODS) == 4
    assert predict(job, 3, PODS).learner_busy < BUSY


def test_nothing_keeps_a_learner_busy_that_grants_too_little_credit() -> None:
    assert fewest(costs(0.010, 0.001, segments_per_version=1), PODS) is None


def test_core_seconds_are_of_busy_cores() -> None:
    one = predict(costs(0.010, 0.005), 2, Deployment(4.0))
    expected = 1e6 * one.cores_busy / one.steps_per_second
    assert one.core_seconds_per_million_steps == pytest.approx(expected)
    assert one.cores_held == 4


def test_where_the_time_of_a_segment_goes() -> None:
    found = shares(costs(0.009, sending=computing(0.001)))
    assert found == pytest.approx(
        {
            "stepping environments": 0.72,
            "packing and sending": 0.19,
            "choosing actions": 0.09,
            "loading policies": 0.0,
        }
    )
    assert next(iter(found)) == "stepping environments"


def test_the_table() -> None:
    job = costs(0.010, 0.012, sleep=0.010, segments_per_version=1)
    predictions = [predict(job, count, PODS) for count in (1, 2)]
    lines = table.lines(job, PODS, predictions)
    assert lines[0].startswith("rollouts   steps/s")
    assert lines[1].split()[:2] == ["1", "2,500"]
    text = " ".join(" ".join(lines).split())
    why = "(waiting for each other)"
    assert f"No number of rollouts up to 1,024 keeps the learner busy {why}." in text
    assert "A step of a rollout's 5 environments takes 2 ms: stepping environments 80 %" in text
    assert "An update of one segment takes 12 ms." in text
    found = table.values(job, PODS, predictions)
    assert found["pods"] is True
    assert found["predictions"][0]["bottleneck"] == "stepping environments"
    assert found["costs"]["segmentSteps"] == STEPS
    assert found["costs"]["collecting"] == {"cpu": 0.010, "seconds": 0.020}
    json_names = found["predictions"][0].keys()
    assert {"stepsPerSecond", "learnerBusy", "coreSecondsPerMillionSteps"} <= json_names
