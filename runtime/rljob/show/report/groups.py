"""Groups runs that differ only in the seed; computes their mean and spread. Pure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rljob.show.report.files import Run
from rljob.show.report.history import PlotPoint, between

GRID = 200
"""Number of points of a mean curve."""
_NO_DIFFERENCE = ("seed",)


@dataclass(frozen=True)
class RunGroup:
    """Runs of one configuration.

    Attributes:
        label: settings that differ from the other groups, or a name.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> str:
        return ", ".join(str(run.seed) for run in self.runs)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of several curves, over their common range."""

    mean: list[PlotPoint]
    band: list[tuple[float, float, float]]


def group(runs: Sequence[Run]) -> list[RunGroup]:
    """Group the runs, in the order of their first runs. A run without a readable job is its own group."""
    found: dict[str, list[Run]] = {}
    for at, run in enumerate(runs):
        found.setdefault(_key(run) or f"run {at}", []).append(run)
    differing = differences([members[0] for members in found.values()])
    names = [_label(members, differing) for members in found.values()]
    return [
        RunGroup(name if names.count(name) == 1 else f"{name} ({members[0].name})", tuple(members))
        for name, members in zip(names, found.values(), strict=True)
    ]


def differences(runs: Sequence[Run]) -> list[str]:
    """Dotted paths of the settings, except the seed, that differ between the runs."""
    flat = [settings(run) for run in runs if run.job is not None]
    paths = dict.fromkeys(path for each in flat for path in each)
    return [path for path in paths if len({each.get(path) for each in flat}) > 1]


def settings(run: Run) -> dict[str, str]:
    """Settings of the run's job as text, by dotted path below `spec`."""
    if run.job is None:
        return {}
    dumped = run.job.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    flat: dict[str, str] = {}
    _flatten(dumped, "", flat)
    return {path: text for path, text in flat.items() if path not in _NO_DIFFERENCE}


def spread(curves: Sequence[Sequence[PlotPoint]]) -> Spread:
    """Mean and standard deviation of two or more curves at `GRID` points of their common range."""
    low = max(curve[0][0] for curve in curves)
    high = min(curve[-1][0] for curve in curves)
    if high <= low:
        return Spread([], [])
    mean, band = [], []
    for k in range(GRID):
        x = low + (high - low) * k / (GRID - 1)
        values = [between(curve, x) for curve in curves]
        middle, deviation = statistics.fmean(values), statistics.stdev(values)
        mean.append((x, middle))
        band.append((x, middle - deviation, middle + deviation))
    return Spread(mean, band)


def _key(run: Run) -> str:
    return json.dumps(settings(run), sort_keys=True) if run.job is not None else ""


def _label(members: Sequence[Run], differing: Sequence[str]) -> str:
    first = members[0]
    own = settings(first)
    parts = [f"{path.rpartition('.')[2]} {own[path]}" for path in differing if path in own]
    if 0 < len(parts) <= 2:
        return ", ".join(parts)
    if len(members) > 1 and first.job is not None:
        return first.job.metadata.name
    return first.name


def _flatten(value: Any, path: str, into: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            _flatten(item, f"{path}.{name}" if path else str(name), into)
    else:
        into[path] = value if isinstance(value, str) else json.dumps(value)
