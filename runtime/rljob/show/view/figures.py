"""Numbers of a run for users: formats, history of the return, progress to the stop condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rljob.run_folder.record import Record
from rljob.spec import RLJobSpec, StopSpec

ReturnPoint = tuple[float, float]
"""(environment steps, mean return)"""
MOST_POINTS = 2048


def count(value: float) -> str:
    """Format a whole number: `106,496`; `12.35 M` from ten million on."""
    return f"{value:,.0f}" if abs(value) < 1e7 else f"{value / 1e6:,.2f} M"


def score(value: float | None, like: float | None = None) -> str:
    """Format a return with decimals that suit its size, or that of `like`."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value if like is None else like)
    decimals = 2 if size < 10 else 1 if size < 10_000 else 0
    return f"{value:,.{decimals}f}"


def share_text(value: float) -> str:
    """Format a share of 1 as percent, at least two digits wide."""
    return f"{round(100 * value):>2} %"


def span_text(seconds: float) -> str:
    """Format a time span: `2.1 s`, `42 s`, `1m 20s`, `2h 05m`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def some(number: int, noun: str) -> str:
    """`1 restart`, `2 restarts`."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def feeds(spec: RLJobSpec) -> str:
    """What feeds a job: `2 rollouts × 4 envs`, `applications`, or both."""
    rollout = spec.rollout
    parts = ["applications"] if rollout.applications is not None else []
    if spec.environment.played:
        envs = f"{some(rollout.replicas, 'rollout')} × {some(rollout.envs_per_replica, 'env')}"
        parts.insert(0, envs)
    return ", ".join(parts)


class ReturnCurve:
    """The mean return over the whole run, by environment steps, in a bounded number of points."""

    def __init__(self) -> None:
        self._points: list[ReturnPoint] = []
        self._pending: list[ReturnPoint] = []
        self._each = 1
        self._reached = -1.0

    def add(self, record: Record) -> None:
        """Add the mean return of a record, if its steps exceed those of earlier records."""
        mean, steps = record.mean_return, record.steps
        if mean is None or not math.isfinite(mean) or steps <= self._reached:
            return
        self._reached = steps
        self._pending.append((steps, mean))
        if len(self._pending) == self._each:
            self._points.append(_middle(self._pending))
            self._pending = []
        if len(self._points) == MOST_POINTS:
            self._points = [_middle(self._points[k : k + 2]) for k in range(0, MOST_POINTS, 2)]
            self._each *= 2

    @property
    def first(self) -> float | None:
        """The first known mean."""
        return next((mean for _, mean in (*self._points[:1], *self._pending[:1])), None)

    @property
    def points(self) -> list[ReturnPoint]:
        """The points so far, by increasing steps."""
        return [*self._points, _middle(self._pending)] if self._pending else list(self._points)

    def columns(self, width: int) -> list[float]:
        """At most `width` means over equal intervals of steps; an interval without a point repeats the last."""
        points = self.points
        width = min(width, len(points))
        sums, counts = [0.0] * width, [0] * width
        for steps, mean in points:
            at = min(width - 1, int(steps * width / max(1.0, self._reached)))
            sums[at] += mean
            counts[at] += 1
        columns: list[float] = []
        for total, number in zip(sums, counts, strict=True):
            before = columns[-1] if columns else points[0][1]
            columns.append(total / number if number else before)
        return columns


def _middle(points: Sequence[ReturnPoint]) -> ReturnPoint:
    steps, means = zip(*points, strict=True)
    return sum(steps) / len(points), sum(means) / len(points)


@dataclass(frozen=True)
class NearestStop:
    """The nearest stop condition: its share in [0, 1], its name, and the remaining seconds if known."""

    share: float
    condition: str
    left: float | None


def reached(stop: StopSpec, record: Record, first: float | None) -> NearestStop:
    """Reached share of the stop condition; of several, the largest share.

    The share of the mean return starts at its `first` value and stays below 1, because only the learner
    decides that it is reached.
    """
    seconds = record.seconds
    found = []
    for name in ("steps", "updates", "episodes"):
        most = getattr(stop, name)
        if most is not None:
            found.append((min(1.0, getattr(record, name) / most), f"{count(most)} {name}"))
    if stop.duration is not None:
        found.append((min(1.0, seconds / stop.duration.seconds), f"duration {stop.duration}"))
    if stop.mean_return is not None:
        mean, share = record.mean_return, 0.0
        if mean is not None and first is not None:
            way = stop.mean_return - first
            share = (mean - first) / way if way > 0 else float(mean >= stop.mean_return)
        found.append((min(0.99, max(0.0, share)), f"meanReturn {stop.mean_return:g}"))
    share, condition = max(found, key=lambda item: item[0], default=(0.0, "no end"))
    sure = seconds >= 1.0 and share >= 0.02
    return NearestStop(share, condition, seconds * (1 - share) / share if sure else None)


def roughly(seconds: float) -> str:
    """Format a remaining time, rounded so that it does not change at every update."""
    step = 1 if seconds < 10 else 5 if seconds < 120 else 30 if seconds < 1200 else 300
    rounded = max(1, math.ceil(seconds / step)) * step
    return f"{rounded} s" if rounded < 60 else span_text(rounded)
