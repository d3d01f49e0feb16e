"""From single measurements to what a piece of work takes."""

from __future__ import annotations

import pytest

from rljob.plan.calibrate import _line, _typical
from rljob.plan.measured import Work


def test_work_that_varies_counts_with_its_mean() -> None:
    """What comes out of an hour is decided by all pieces of work in it, not by the quick ones."""
    works = [
        Work(cpu=cpu, wait=1.0) for cpu in (90.0, 4.0, 6.0, 4.0, 6.0, 4.0, 6.0, 4.0, 6.0, 25.0)
    ]
    assert _typical(works).cpu == pytest.approx(65 / 9)
    assert _typical(works).wait == 1.0


@pytest.mark.parametrize(("seconds", "expected"), [([7.0], 7.0), ([90.0, 7.0], 7.0)])
def test_the_first_of_few_does_not_count(seconds: list[float], expected: float) -> None:
    assert _typical([Work(cpu=each) for each in seconds]).cpu == expected


def test_a_line_goes_through_both_sizes_of_a_batch() -> None:
    updates = {1: [Work(cpu=3.0)], 4: [Work(cpu=9.0)]}
    line = _line(updates, on_policy=True)
    assert (line.fixed.cpu, line.each.cpu) == (1.0, 2.0)
    assert line.of(4).cpu == 9.0
    alone = _line({1: [Work(cpu=3.0)], 4: []}, on_policy=True)
    assert (alone.fixed.cpu, alone.each.cpu) == (0.0, 3.0)
    assert _line(updates, on_policy=False).of(8).cpu == 3.0
