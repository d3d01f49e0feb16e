"""Settings that a schedule replaced, and what to write instead. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rljob.algorithms.schedule import Schedule, SchedulePhase

_RATE = "learningRateSchedule"
_EPSILON = {"epsilonStart": "from", "epsilonEnd": "to", "epsilonSteps": "steps"}
REPLACED: Mapping[str, str] = {
    _RATE: "learningRate: {from: 0.001, to: 0}",
    **dict.fromkeys(_EPSILON, "epsilon: {from: 1.0, to: 0.05, steps: 10000}"),
}
"""An example of the new form for each replaced name, for the API server, which sees no values."""


def renamed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and message of each given setting that a schedule replaced.

    Args:
        values: the settings, as they stand in YAML.
        defaults: those of the algorithm; it may have a setting of a replaced name itself.
    """
    rate, epsilon = defaults.get("learningRate"), defaults.get("epsilon")
    if isinstance(rate, Schedule) and _RATE in values and _RATE not in defaults:
        number = values.get("learningRate", rate.start)
        falls = values[_RATE] == "linear"
        yield (
            _RATE,
            _instead(f"learningRate: {_flow({'from': number, 'to': 0}) if falls else number}"),
        )
    given = [name for name in _EPSILON if name in values and name not in defaults]
    if isinstance(epsilon, Schedule) and given:
        first = (
            epsilon.phases[0] if epsilon.phases else SchedulePhase(from_=1.0, to=0.05, steps=10_000)
        )
        phase = first.model_dump(by_alias=True, exclude_defaults=True)
        phase |= {_EPSILON[name]: values[name] for name in given}
        for name in given:
            yield name, _instead(f"epsilon: {_flow(phase)}")


def _instead(line: str) -> str:
    return f"is part of a schedule now; write {line}"


def _flow(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}"
