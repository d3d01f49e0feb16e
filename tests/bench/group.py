"""What a benchmark is made of: measurements that are taken in turn, and the figures made from them.

A group is measured as a whole, seed by seed, so that whatever is compared was measured in one run.
"""

from __future__ import annotations

import math
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
        beside: values that are shown after the part of the same measurement, where they were recorded.
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
    beside: tuple[tuple[str, str, str], ...] = ()

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
        limit: what bounds the figures, as `findings`, for docs/performance.md.
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
    beside: tuple[tuple[str, str, str], ...] = (),
) -> Figure:
    """How many times `over` is `under`, each a measurement and its value."""
    return Figure(
        name,
        tuple(dict.fromkeys((over[0], under[0]))),
        lambda value: value(*over) / value(*under),
        ((*over, unit), (*under, unit)),
        aim,
        least=least,
        beside=beside,
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


UNTIL_SOLVED = frozenset({"seconds", "reached", "ended", "steps", "collected"})
"""Values of a run that would be more than what is recorded, had it not been stopped before it solved."""


@dataclass(frozen=True)
class Number:
    """What was measured, or its bound where it is made from runs that were stopped before they solved.

    Attributes:
        sign: `≥` or `≤` before a bound, `?` where it could be anything, else nothing.
    """

    value: float
    sign: str = ""

    @classmethod
    def between(cls, stopped: float, endless: float) -> Number:
        """The number from two: with stopped runs as long as they were, and with them endless."""
        if math.isnan(endless):
            return cls(stopped, "?")
        sign = "≥" if endless > stopped else "≤" if endless < stopped else ""
        return cls(stopped, sign)


@dataclass(frozen=True)
class Part:
    """A median that stands behind a figure, and those that are shown with it."""

    number: Number
    unit: str
    beside: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Line:
    """A figure with what was measured for it: median over seeds (or worst), least and most."""

    figure: Figure
    number: Number
    low: Number
    high: Number
    parts: tuple[Part, ...]
    others: float
    stolen: float | None
    """None for results that were kept before this was recorded."""

    @property
    def value(self) -> float:
        return self.number.value

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its aim; None without one, and where a bound does not tell."""
        met = self.figure.met(self.value)
        # What this bound can show: that the aim holds, or that it does not.
        shows = {"": met, "≥": self.figure.least, "≤": not self.figure.least, "?": None}
        return met if met is shows[self.number.sign] else None


def line(figure: Figure, results: Results) -> Line | None:
    """The figure of these results; None where a measurement, or a value of it, is missing."""
    if not all(results.get(name) for name in figure.about):
        return None
    try:
        return _line(figure, results)
    except KeyError:
        # Results that were kept before the measurement took this value.
        return None


def median(runs: Sequence[Mapping[str, Any]], value: str) -> Number:
    """Of one value of a measurement.

    Raises:
        KeyError: it was not recorded.
    """
    return Number.between(*(_median(runs, value, endless) for endless in (False, True)))


def _median(runs: Sequence[Mapping[str, Any]], value: str, endless: bool) -> float:
    return statistics.median(_of_run(run, value, endless) for run in runs)


def _of_run(run: Mapping[str, Any], value: str, endless: bool) -> float:
    values = run["values"]
    if endless and value in UNTIL_SOLVED and values.get("solved") == 0:
        return math.inf
    return float(values[value])


def _line(figure: Figure, results: Results) -> Line:
    numbers = zip(*(_numbers(figure, results, endless) for endless in (False, True)), strict=True)
    value, low, high = (Number.between(*each) for each in numbers)

    def most(noise: str) -> float:
        return max(
            statistics.median(float(one[noise]) for one in results[name]) for name in figure.about
        )

    known = all("stolen" in one for name in figure.about for one in results[name])
    parts = tuple(
        Part(median(results[name], value), unit, _beside(figure, name, results))
        for name, value, unit in figure.parts
    )
    return Line(figure, value, low, high, parts, most("others"), most("stolen") if known else None)


def _beside(figure: Figure, about: str, results: Results) -> tuple[Part, ...]:
    return tuple(
        Part(median(results[name], value), unit)
        for name, value, unit in figure.beside
        if name == about and all(value in run["values"] for run in results[name])
    )


def _numbers(figure: Figure, results: Results, endless: bool) -> tuple[float, float, float]:
    """The figure, its least and its most over seeds."""
    count = min(len(results[name]) for name in figure.about)

    def of_seed(index: int) -> Lookup:
        return lambda name, value: _of_run(results[name][index], value, endless)

    each = [figure.of(of_seed(index)) for index in range(count)]
    unknown = any(map(math.isnan, each))
    low, high = (math.nan, math.nan) if unknown else (min(each), max(each))
    if figure.every:
        return (low if figure.least else high), low, high
    return figure.of(lambda name, value: _median(results[name], value, endless)), low, high
