"""Whether Prometheus says of a job what the job says of itself in `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.monitoring.prometheus import Prometheus, until

Record = dict[str, Any]
PATIENCE = 120.0
AGREE = 0.15
"""Share by which a rate may differ: the two sides begin and end it at other moments."""
COUNTERS = {"rljob_learner_updates_total": "updates", "rljob_learner_steps_consumed_total": "steps"}
GAUGES = {
    "rljob_learner_mean_return": "meanReturn",
    "rljob_learner_policy_version": "policyVersion",
}
RATES = {**COUNTERS, "rljob_rollout_environment_steps_total": "steps"}


def agrees(
    prometheus: Prometheus, records: Callable[[], list[Record]], matchers: str, window: int
) -> None:
    """Counters lie between the records before and after, gauges are one of them, rates are like theirs.

    Args:
        records: reads those of an on-policy job that was never restarted.
        matchers: choose that job.
        window: seconds over which rates are taken.
    """
    until(lambda: _seconds(records()) > 1.5 * window, "enough records", PATIENCE)
    for metric, field in COUNTERS.items():
        at, value = _sampled(prometheus, f"{metric}{{{matchers}}}")
        until(lambda at=at: records()[-1]["time"] > at, "a later record")
        found = records()
        before = [one[field] for one in found if one["time"] <= at]
        after = [one[field] for one in found if one["time"] > at]
        assert before[-1] <= value <= after[0], metric
    for metric, field in GAUGES.items():
        value = _sampled(prometheus, f"{metric}{{{matchers}}}")[1]
        assert value in [one[field] for one in records()], metric
    differ: list[str] = []

    def rates_agree() -> bool:
        differ[:] = _other_rates(prometheus, records()[:-1], matchers, window)
        return not differ

    until(rates_agree, lambda: "\n".join(differ), PATIENCE)


def _other_rates(
    prometheus: Prometheus, found: list[Record], matchers: str, window: int
) -> list[str]:
    """Rates up to the last of these records that differ, each with both values."""
    end = found[-1]["time"]
    inside = [one for one in found if one["time"] >= end - window]
    rates = {
        f"sum(rate({metric}{{{matchers}}}[{window}s] @ {end}))": pytest.approx(
            (inside[-1][field] - inside[0][field]) / _seconds(inside), rel=AGREE
        )
        for metric, field in RATES.items()
    }
    waited = f'rljob_learner_stage_seconds_total{{stage="data_wait",{matchers}}}'
    # A record tells the share of the time since the one before it.
    told = sum(
        (one["time"] - before["time"]) * one["learnerWaiting"] for before, one in pairwise(inside)
    )
    rates[f"rate({waited}[{window}s] @ {end})"] = pytest.approx(told / _seconds(inside), abs=AGREE)
    values = {expression: prometheus.value(expression) for expression in rates}
    return [
        f"{expression} is {values[expression]}, told is {expected}"
        for expression, expected in rates.items()
        if values[expression] != expected
    ]


def _sampled(prometheus: Prometheus, series: str) -> tuple[float, float]:
    """When it was scraped last, and what it was then."""
    at = prometheus.value(f"timestamp({series})")
    return at, prometheus.value(f"{series} @ {at}")


def _seconds(records: list[Record]) -> float:
    """From the first to the last of them."""
    return float(records[-1]["time"] - records[0]["time"]) if records else 0.0
