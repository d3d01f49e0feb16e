"""Converts lines of a run's files to scalars for sinks. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

JsonLine = Mapping[str, Any]
_NO_SCALARS = ("time", "steps", "lagBound", "checkpoint", "lineage")
"""Of a line; an algorithm's metrics and the numbers of an environment may have these names."""


@dataclass(frozen=True)
class ScalarPoint:
    """Scalars of one moment.

    Attributes:
        step: environment steps.
        time: Unix time in seconds.
        values: by name; metrics of the algorithm as `metrics/entropy`.
        trained: whether it is of a line of `metrics.jsonl`; evaluations come late, at earlier steps.
    """

    step: int
    time: float
    values: Mapping[str, float]
    trained: bool = True


@dataclass
class VersionSteps:
    """Environment steps at which each policy version was published."""

    _versions: list[int] = field(default_factory=list)
    _steps: list[int] = field(default_factory=list)

    def add(self, record: JsonLine) -> None:
        """Add a line of `metrics.jsonl`; a line of a resumed learner replaces the lines that it lost."""
        version, steps = record.get("policyVersion"), record.get("steps")
        if not isinstance(version, int) or not isinstance(steps, int):
            return
        at = bisect_right(self._versions, version)
        while at and self._versions[at - 1] == version:
            at -= 1
        self._versions[at:], self._steps[at:] = [version], [steps]

    def step(self, version: int) -> int:
        """Steps at the newest known version up to this one; 0 before the first."""
        at = bisect_right(self._versions, version)
        return self._steps[at - 1] if at else 0


def trained(record: JsonLine) -> ScalarPoint | None:
    """Scalars of a line of `metrics.jsonl`; None for any other line."""
    steps, time = record.get("steps"), record.get("time")
    if not isinstance(steps, int) or not isinstance(time, int | float):
        return None
    failed = record.get("hookFailures")
    count = failed.get("count") if isinstance(failed, Mapping) else None
    return ScalarPoint(steps, float(time), dict(_numbers(_told({**record, "hookFailures": count}))))


def evaluated(record: JsonLine, versions: VersionSteps) -> ScalarPoint | None:
    """Scalars of a line of `evaluations.jsonl`, at the steps of its policy; None for any other line."""
    version, time = record.get("policyVersion"), record.get("time")
    if not isinstance(version, int) or not isinstance(time, int | float):
        return None
    values = dict(_numbers(_told(record), "evaluation/"))
    return ScalarPoint(versions.step(version), float(time), values, trained=False)


def settings(spec: Mapping[str, Any]) -> dict[str, str]:
    """A job's settings as text, by dotted path."""
    return dict(_texts(spec, ""))


def _told(record: JsonLine) -> JsonLine:
    return {name: value for name, value in record.items() if name not in _NO_SCALARS}


def _numbers(record: JsonLine, prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            yield prefix + name, float(value)


def _texts(value: Any, path: str) -> Iterable[tuple[str, str]]:
    if not isinstance(value, Mapping):
        yield path, str(value)
        return
    for name, item in value.items():
        yield from _texts(item, f"{path}.{name}" if path else str(name))
