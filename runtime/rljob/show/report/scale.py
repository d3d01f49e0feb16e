"""Axes: range, ticks and tick labels. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rljob.show.report.history import Axis
from rljob.show.report.plots import Plot

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TIMES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_TIMES_LONG = (*_TIMES, 21600, 43200, 86400, 172800, 604800)
_ROOM = 0.04


@dataclass(frozen=True)
class Scale:
    """A range with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Relative position of the value: 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


def x_scale(plot: Plot, most: int = 6) -> Scale:
    """From 0 to the last point."""
    high = max(plot.xs, default=0.0) or 1.0
    each = _time_step(high, most) if plot.x == "seconds" else nice_step(high, most)
    return Scale(0.0, high, tuple(_multiples(0.0, high, each)))


def y_scale(plot: Plot, most: int = 5) -> Scale:
    """Range of all data with a margin; shares from 0 to 1."""
    if plot.share:
        return Scale(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
    ys = [y for line in plot.lines for _, y in line.points]
    ys += [y for band in plot.bands for point in band.points for y in point[1:]]
    ys += [
        y for dots in plot.dots for _, mean, std in dots.points for y in (mean - std, mean + std)
    ]
    ys += [level.y for level in plot.levels]
    low, high = min(ys, default=0.0), max(ys, default=1.0)
    if plot.zero:
        low, high = min(0.0, low), max(0.0, high)
    if high == low:
        low, high = low - (abs(low) or 1.0) * 0.5 * (not plot.zero), high + (abs(high) or 1.0) * 0.5
    room = (high - low) * _ROOM
    low, high = (low if plot.zero and low == 0 else low - room), high + room
    return Scale(low, high, tuple(_multiples(low, high, nice_step(high - low, most))))


def nice_step(span: float, most: int) -> float:
    """The smallest round step that gives at most `most` steps."""
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


def tick(value: float, ticks: Sequence[float], share: bool = False) -> str:
    """Label of a tick, with enough digits to differ from its neighbours: `250 k`, `1.5 M`, `-0.02`, `50 %`."""
    if share:
        return f"{100 * value:.0f} %"
    largest = max(abs(each) for each in ticks)
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if largest >= size:
            return f"{value / (1e3 if unit == ' k' else size):g}{unit}" if value else "0"
    return f"{value:.6g}".replace("-", "−")


def time_tick(value: float, ticks: Sequence[float]) -> str:
    """Label of a time tick in the unit of the step between ticks: `30 s`, `5 min`, `2 h`, `3 d`."""
    each = ticks[1] - ticks[0] if len(ticks) > 1 else value
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if each >= size:
            return f"{value / size:g} {unit}" if value else "0"
    return f"{value:g} s" if value else "0"


def x_tick(axis: Axis, value: float, ticks: Sequence[float]) -> str:
    return time_tick(value, ticks) if axis == "seconds" else tick(value, ticks)


def _time_step(high: float, most: int) -> float:
    return next((each for each in _TIMES_LONG if high / each <= most), nice_step(high, most))


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]
