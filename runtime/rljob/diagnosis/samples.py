"""The metrics of one process, from two scrapes of its `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]
Numbers = Mapping[tuple[str, Labels], float]
"""By name and sorted labels."""


def parse(text: str) -> Numbers:
    """Prometheus' text format.

    Raises:
        ValueError: it is something else.
    """
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@dataclass(frozen=True)
class Samples:
    """Metrics of a process.

    Attributes:
        seconds: time between the two scrapes.
    """

    before: Numbers = field(default_factory=dict)
    after: Numbers = field(default_factory=dict)
    seconds: float = 0.0

    def value(self, name: str, **labels: str) -> float | None:
        """Now; None when there is no such number."""
        return self.after.get(_key(name, labels))

    def rate(self, name: str, **labels: str) -> float | None:
        """Increase per second; None when it is unknown."""
        key = _key(name, labels)
        if self.seconds <= 0 or key not in self.before or key not in self.after:
            return None
        return max(0.0, self.after[key] - self.before[key]) / self.seconds

    def shares(self, name: str, label: str) -> dict[str, float]:
        """Share of time by the value of a label, for a counter of seconds, the largest first."""
        found = {
            dict(labels)[label]: self.rate(each, **dict(labels)) or 0.0
            for each, labels in self.after
            if each == name and label in dict(labels)
        }
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    def all(self, name: str) -> dict[Labels, float]:
        """Every value of a name, by labels."""
        return {labels: value for (each, labels), value in self.after.items() if each == name}


def _key(name: str, labels: Mapping[str, str]) -> tuple[str, Labels]:
    return name, tuple(sorted(labels.items()))
