"""Intervals by steps and updates."""

from __future__ import annotations

import pytest

from rljob.process.multiples import Multiples
from rljob.spec.sections import CheckpointSpec


def multiples(**values: int) -> Multiples:
    return Multiples(CheckpointSpec.model_validate(values))


def test_each_multiple_counts_once() -> None:
    every = multiples(everySteps=100)
    assert every.any
    assert [every.passed(steps, 10**9) for steps in (0, 99, 100, 101, 350)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    every.done(100, 1)
    assert not every.passed(199, 2)
    # Several that were passed at once are done at once.
    assert every.passed(450, 3)
    every.done(450, 3)
    assert not every.passed(499, 4)
    assert every.passed(500, 4)


def test_the_first_of_both_counts() -> None:
    every = multiples(everySteps=100, everyUpdates=3)
    assert every.passed(1, 3)
    every.done(1, 3)
    assert every.passed(100, 3)
    every.done(100, 3)
    assert not every.passed(199, 5)


@pytest.mark.parametrize("steps", [0, 10**12])
def test_without_intervals_nothing_is_passed(steps: int) -> None:
    every = multiples()
    assert not every.any
    assert not every.passed(steps, steps)
