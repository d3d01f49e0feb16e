"""Records of a run as values over steps and time. Pure.

Time is the learner's training time, without pauses. Records that were lost when a learner returned to its
checkpoint are left out.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

PlotPoint = tuple[float, float]
Axis = Literal["steps", "seconds"]

PAUSE_SECONDS = 1.0
"""Seconds without training between two records that count as a pause; longer than a turn of the learner."""
MOST_POINTS = 400


@dataclass(frozen=True)
class Sample:
    """One line of `metrics.jsonl`.

    Attributes:
        time: Unix time in seconds.
        seconds: spent training.
        values: all other numbers by name; nested ones as `metrics.entropy`.
        checkpoint: policy version of the newest checkpoint, if any.
    """

    time: float
    seconds: float
    steps: float
    values: Mapping[str, float]
    checkpoint: int | None

    def at(self, axis: Axis) -> float:
        return self.steps if axis == "steps" else self.seconds


@dataclass(frozen=True)
class Played:
    """One line of `evaluations.jsonl`."""

    time: float
    version: int
    mean: float
    std: float
    episodes: int


@dataclass(frozen=True)
class Event:
    """An event of a role: `died`, `back` or `stalled`."""

    time: float
    role: str
    what: str
    reason: str


@dataclass(frozen=True)
class RunMark:
    """A marked time on the axes."""

    seconds: float
    steps: float
    kind: Literal["restart", "checkpoint"]
    text: str

    def at(self, axis: Axis) -> float:
        return self.steps if axis == "steps" else self.seconds


@dataclass(frozen=True)
class RunHistory:
    """History of a run.

    Attributes:
        samples: sorted by `seconds`.
        marks: restarts and checkpoints, sorted by time.
        stalls: why the run made no progress, each time.
    """

    samples: Sequence[Sample] = ()
    evaluations: Sequence[Played] = ()
    marks: Sequence[RunMark] = field(default=())
    stalls: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.samples)

    def names(self, prefix: str) -> list[str]:
        """Names of values with the prefix, in order of appearance."""
        found = (name for sample in self.samples for name in sample.values)
        return [name for name in dict.fromkeys(found) if name.startswith(prefix)]

    def series(self, name: str, axis: Axis) -> list[PlotPoint]:
        """One value over the axis, in at most `MOST_POINTS` points."""
        return thin(
            [
                (sample.at(axis), sample.values[name])
                for sample in self.samples
                if name in sample.values
            ]
        )

    def evaluated(self, axis: Axis) -> list[tuple[float, Played]]:
        """Evaluations, each at the axis position of its policy version."""
        known = [
            (sample.values["policyVersion"], sample.at(axis))
            for sample in self.samples
            if "policyVersion" in sample.values
        ]
        return [(between(known, played.version), played) for played in self.evaluations if known]

    def mean(self, name: str) -> float | None:
        """Mean over time; each value applies to the interval before it."""
        total = span = before = 0.0
        for sample in self.samples:
            if name in sample.values:
                total += sample.values[name] * (sample.seconds - before)
                span += sample.seconds - before
            before = sample.seconds
        return total / span if span > 0 else None


def history(
    records: Iterable[Mapping[str, Any]],
    evaluations: Iterable[Mapping[str, Any]] = (),
    events: Iterable[Mapping[str, Any]] = (),
) -> RunHistory:
    """Build the history from the lines of a run's files; invalid lines are skipped."""
    samples = [sample for record in records if (sample := _sample(record)) is not None]
    kept = _without_lost(samples)
    happened = [event for line in events if (event := _event(line)) is not None]
    marks = [*_checkpoints(kept), *_restarts(samples, kept, happened)]
    played = [each for line in evaluations if (each := _played(line)) is not None]
    stalls = [event.reason for event in happened if event.what == "stalled"]
    return RunHistory(kept, played, sorted(marks, key=lambda mark: mark.seconds), stalls)


def thin(points: Sequence[PlotPoint], most: int = MOST_POINTS) -> list[PlotPoint]:
    """Reduce to at most `most` points by averaging neighbours; the first and the last stay unchanged."""
    if len(points) <= most:
        return list(points)
    inner, spans = points[1:-1], most - 2
    cuts = [len(inner) * k // spans for k in range(spans + 1)]
    middle = [_middle(inner[start:end]) for start, end in pairwise(cuts)]
    return [points[0], *middle, points[-1]]


def between(points: Sequence[PlotPoint], x: float) -> float:
    """Linear interpolation of points sorted by x; outside their range, the nearest point."""
    at = bisect_right(points, x, key=lambda point: point[0])
    if at == 0:
        return points[0][1]
    if at == len(points):
        return points[-1][1]
    (x0, y0), (x1, y1) = points[at - 1], points[at]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _middle(points: Sequence[PlotPoint]) -> PlotPoint:
    xs, ys = zip(*points, strict=True)
    return sum(xs) / len(points), sum(ys) / len(points)


def _sample(record: Mapping[str, Any]) -> Sample | None:
    values: dict[str, float] = {}
    for name, value in record.items():
        inner = value.items() if isinstance(value, Mapping) and name != "checkpoint" else ()
        for key, item in [(name, value), *((f"{name}.{key}", item) for key, item in inner)]:
            found = number(item)
            if found is not None:
                values[key] = found
    time, seconds, steps = (values.pop(name, None) for name in ("time", "seconds", "steps"))
    if time is None or seconds is None or steps is None:
        return None
    saved = record.get("checkpoint")
    version = number(saved.get("policyVersion")) if isinstance(saved, Mapping) else None
    return Sample(time, seconds, steps, values, None if version is None else int(version))


def _played(line: Mapping[str, Any]) -> Played | None:
    names = ("time", "policyVersion", "mean", "std", "episodes")
    time, version, mean, std, episodes = (number(line.get(name)) for name in names)
    if time is None or version is None or mean is None:
        return None
    return Played(time, int(version), mean, std or 0.0, int(episodes or 0))


def _event(line: Mapping[str, Any]) -> Event | None:
    time = number(line.get("time"))
    if time is None:
        return None
    role, what, reason = (str(line.get(name, "")) for name in ("role", "event", "reason"))
    return Event(time, role, what, reason)


def _without_lost(samples: Sequence[Sample]) -> list[Sample]:
    kept: list[Sample] = []
    for sample in reversed(samples):
        if not kept or sample.seconds < kept[-1].seconds:
            kept.append(sample)
    return kept[::-1]


def _checkpoints(samples: Sequence[Sample]) -> list[RunMark]:
    marks, before = [], None
    for sample in samples:
        if sample.checkpoint is not None and sample.checkpoint != before:
            text = f"checkpoint v{sample.checkpoint}"
            marks.append(RunMark(sample.seconds, sample.steps, "checkpoint", text))
            before = sample.checkpoint
    return marks


def _restarts(
    samples: Sequence[Sample], kept: Sequence[Sample], events: Sequence[Event]
) -> list[RunMark]:
    """Restarts from the events, and restarts of the learner found in its records."""
    found = []
    deaths = [event for event in events if event.what == "died"]
    for event in deaths:
        text = f"{event.role} {event.reason}".strip()
        found.append(_mark_at(kept, event.time, text))
    for before, after in pairwise(samples):
        paused = (after.time - before.time) - (after.seconds - before.seconds)
        if after.seconds >= before.seconds and paused < PAUSE_SECONDS:
            continue
        if any(before.time <= event.time <= after.time for event in deaths):
            continue
        found.append(_mark_at(kept, after.time, "the learner resumed"))
    return found


def _mark_at(kept: Sequence[Sample], time: float, text: str) -> RunMark:
    seconds = between([(sample.time, sample.seconds) for sample in kept], time)
    steps = between([(sample.time, sample.steps) for sample in kept], time)
    return RunMark(seconds, steps, "restart", text)
