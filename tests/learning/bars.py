"""The return that a training run has to reach, and what happens when one run misses it."""

from __future__ import annotations

import pytest


class BelowBar(AssertionError):
    """A run learned less than it had to."""


by_chance = pytest.mark.flaky(reruns=1, only_rerun=["BelowBar"])
"""Repeat a test once when its return is below the bar.

The processes of a run race each other, so that a seed does not fix its course. A correct rule misses its bar in a few
of 100 runs, a wrong rule misses it again. Every other failure is final: a run that ends early is not repeated.
"""


def reach(returned: float | None, bar: float) -> None:
    """Raises BelowBar unless a run has a return of at least `bar`."""
    if returned is None or not returned >= bar:
        raise BelowBar(f"a return of {returned}, which has to be at least {bar}")
