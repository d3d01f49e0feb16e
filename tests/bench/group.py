"""What a benchmark is made of: measurements that are taken in turn, and the figures made from them.

A group is measured as a whole, seed by seed, so that whatever is compared was measured in one run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Values = dict[str, float]
Measure = Callable[[int], Values]
"""Takes a seed, gives values by name."""
Lookup = Callable[[str, str], float]
"""Takes a measurement's name and a value's, gives the value: of one seed, or the median over seeds."""
Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""For each measurement, what each seed gave: `seed`, `others` and `stolen` (see `machine.Load`) and `values`."""


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: what it says.
        about: measurements that it is made from.
        of: the figure from values; applied to medians, and to each seed for the spread.
        parts: values that stand behind it, with their units, as (measurement, value, unit).
        aim: bound of the figure; None where there is only something to know.
        least: whether the figure is to be at least that, else at most.
        every: the worst seed counts, not the median.
    """

    name: str
    about: tuple[str, ...]
    of: Callable[[Lookup], float]
    parts: tuple[tuple[str, str, str], ...] = ()
    aim: float | None = None
    unit: str = ""
    least: bool = True
    every: bool = False

    def met(self, figure: float) -> bool | None:
        """Whether a figure is within the aim; None without one."""
        if self.aim is None:
            return None
        return figure >= self.aim if self.least else figure <= self.aim


SEEDS = 5
"""Of every measurement that `make bench-full` takes."""


@dataclass(frozen=True)
class Group:
    """Measurements that belong together.

    Attributes:
        measurements: by name, taken in this order for each seed.
        figures: made from them.
        quick: how many seeds `make bench` takes; 0 where it takes none.
        slow: measurements that only `make bench-full` takes.
        note: what a reader has to know, for docs/benchmarks.md.
        stages: from results to where the time goes, for docs/performance.md.
        limit: what bounds the figures, and what remains between, for docs/performance.md.
        warm: measurements that are taken once before anything counts.
        elsewhere: processes that are not below the measuring one do the work, so that nobody can tell how
            busy others were.
    """

    name: str
    title: str
    measurements: Mapping[str, Measure]
    figures: Sequence[Figure]
    quick: int = 1
    slow: frozenset[str] = field(default_factory=frozenset)
    note: str = ""
    stages: Callable[[Results], str] | None = None
    limit: str = ""
    warm: tuple[str, ...] = ()
    elsewhere: bool = False


def ratio(
    name: str,
    over: tuple[str, str],
    under: tuple[str, str],
    aim: float | None = None,
    unit: str = "",
    least: bool = True,
) -> Figure:
    """How many times `over` is `under`, each a measurement and its value."""
    return Figure(
        name,
        tuple(dict.fromkeys((over[0], under[0]))),
        lambda value: value(*over) / value(*under),
        ((*over, unit), (*under, unit)),
        aim,
        least=least,
    )


def plain(
    name: str,
    about: tuple[str, str],
    aim: float | None = None,
    unit: str = "",
    least: bool = True,
    every: bool = False,
) -> Figure:
    """One value as it is."""
    return Figure(
        name,
        about[:1],
        lambda value: value(*about),
        aim=aim,
        unit=unit,
        least=least,
        every=every,
    )


@dataclass(frozen=True)
class Line:
    """A figure with what was measured for it: median over seeds (or worst), least and most."""

    figure: Figure
    value: float
    low: float
    high: float
    parts: tuple[float, ...]
    others: float
    stolen: float | None
    """None for results that were kept before this was recorded."""


def line(figure: Figure, results: Results) -> Line | None:
    """The figure of these results; None where a measurement, or a value of it, is missing."""
    if not all(results.get(name) for name in figure.about):
        return None
    try:
        return _line(figure, results)
    except KeyError:
        # Results that were kept before the measurement took this value.
        return None


def _line(figure: Figure, results: Results) -> Line:
    count = min(len(results[name]) for name in figure.about)

    def of_seed(index: int) -> Lookup:
        return lambda name, value: float(results[name][index]["values"][value])

    def median(name: str, value: str) -> float:
        return statistics.median(float(one["values"][value]) for one in results[name])

    each = [figure.of(of_seed(index)) for index in range(count)]
    low, high = min(each), max(each)
    value = figure.of(median)
    if figure.every:
        value = low if figure.least else high

    def most(noise: str) -> float:
        return max(
            statistics.median(float(one[noise]) for one in results[name]) for name in figure.about
        )

    known = all("stolen" in one for name in figure.about for one in results[name])
    parts = tuple(median(name, part) for name, part, _ in figure.parts)
    return Line(figure, value, low, high, parts, most("others"), most("stolen") if known else None)
