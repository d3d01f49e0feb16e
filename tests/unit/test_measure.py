"""How single measurements become the costs of a part."""

from __future__ import annotations

import time

import pytest

from rljob.plan.costs import Work
from rljob.plan.measure import LARGE, SMALL, fit_updates
from rljob.plan.meter import Meter


def works(*seconds: float) -> list[Work]:
    return [Work(2 * each, each) for each in seconds]


def test_the_first_update_does_not_count() -> None:
    update, each = fit_updates({SMALL: works(90.0, 4.0, 6.0), LARGE: []}, on_policy=False)
    assert (update, each) == (Work(10.0, 5.0), Work())


def test_a_single_update_counts() -> None:
    update, each = fit_updates({SMALL: works(7.0), LARGE: []}, on_policy=True)
    assert (update, each) == (Work(), Work(14.0, 7.0)), "all of it grows with the batch"


def test_the_duration_of_an_update_is_linear_in_its_segments() -> None:
    update, each = fit_updates({SMALL: works(3.0), LARGE: works(9.0)}, on_policy=True)
    assert (update, each) == (Work(2.0, 1.0), Work(4.0, 2.0))


def test_a_large_batch_that_is_faster_costs_nothing_more() -> None:
    update, each = fit_updates({SMALL: works(3.0), LARGE: works(2.0)}, on_policy=True)
    assert (update, each) == (Work(6.0, 3.0), Work())


def test_sleep_takes_time_and_no_processor() -> None:
    meter = Meter()
    for _ in range(2):
        with meter:
            time.sleep(0.05)
    work = meter.process_work(2)
    assert work.seconds >= 0.045
    assert work.cpu < work.seconds / 2
    assert meter.thread_work(2).seconds == pytest.approx(meter.own / 2)
