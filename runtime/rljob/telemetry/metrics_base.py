"""Base of the metrics: declared with name, unit and help, with few labels, in a separate registry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from rljob.spec.sinks import SINKS
from rljob.wire.refusals import REFUSALS
from rljob.wire.traffic import Traffic

OTHER = "other"
OPEN_LABEL_LIMIT = 32
LINKS = ("experience", "samples", "weights")

# A second series with the start time of each counter would double what is scraped, and nobody reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]

M = TypeVar("M", Counter, Gauge)


@dataclass(frozen=True)
class Declared:
    """One line of docs/reference/metrics.md. `unit` is that of the value, `values` those of the label."""

    name: str
    type: str
    unit: str
    help: str
    label: str = ""
    values: str = ""


class Labelled(Generic[M]):
    """A metric with one label: `seconds["acting"].inc(0.1)`.

    An unknown value raises KeyError, unless the label was declared as open. An open label takes up to
    `OPEN_LABEL_LIMIT` values; any further one counts as "other", so that no peer can grow the registry.
    """

    def __init__(self, metric: M, values: Sequence[str], is_open: bool) -> None:
        self._metric: M = metric
        self._children: dict[str, M] = {value: metric.labels(value) for value in values}
        self.is_open = is_open

    def __getitem__(self, value: str) -> M:
        child = self._children.get(value)
        if child is None:
            if not self.is_open:
                raise KeyError(f"{value!r} is not one of {', '.join(self._children)}")
            if len(self._children) >= OPEN_LABEL_LIMIT and value != OTHER:
                return self[OTHER]
            child = self._children[value] = self._metric.labels(value)
        return child


class Links(Collector):
    """What goes over the sockets of a role, read when it is asked for."""

    def __init__(
        self, messages: Declared, size: Declared, reconnects: Declared, refused: Declared
    ) -> None:
        self._messages, self._size = messages, size
        self._reconnects, self._refused = reconnects, refused
        self._traffic: dict[str, Traffic] = {}

    def add(self, link: str, traffic: Traffic) -> None:
        """Show what goes over one socket; `link` is one of `LINKS`."""
        if link not in LINKS:
            raise KeyError(f"{link!r} is not one of {', '.join(LINKS)}")
        self._traffic[link] = traffic

    def collect(self) -> Iterator[CounterMetricFamily]:
        labels = ("link", "direction")
        messages = CounterMetricFamily(self._messages.name, self._messages.help, labels=labels)
        size = CounterMetricFamily(self._size.name, self._size.help, labels=labels)
        reconnects = CounterMetricFamily(
            self._reconnects.name, self._reconnects.help, labels=("link",)
        )
        refused = CounterMetricFamily(
            self._refused.name, self._refused.help, labels=("link", "reason")
        )
        for link, traffic in list(self._traffic.items()):
            messages.add_metric((link, "sent"), traffic.sent_messages)
            messages.add_metric((link, "received"), traffic.received_messages)
            size.add_metric((link, "sent"), traffic.sent_bytes)
            size.add_metric((link, "received"), traffic.received_bytes)
            reconnects.add_metric((link,), traffic.reconnects)
            for reason, count in traffic.refused.items():
                refused.add_metric((link, reason), count)
        yield from (messages, size, reconnects, refused)


class Metrics:
    """Base of a role's metrics: a registry of its own, which also describes process and Python."""

    role: str

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.declared: list[Declared] = []
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def _name(
        self, name: str, kind: str, unit: str, text: str, label: str = "", values: str = ""
    ) -> str:
        name = f"rljob_{self.role}_{name}"
        self.declared.append(Declared(name, kind, unit, text, label, values))
        return name

    def _counter(self, name: str, unit: str, text: str) -> Counter:
        return Counter(self._name(name, "counter", unit, text), text, registry=self.registry)

    def _gauge(self, name: str, unit: str, text: str, start: float = 0.0) -> Gauge:
        gauge = Gauge(self._name(name, "gauge", unit, text), text, registry=self.registry)
        gauge.set(start)
        return gauge

    def _histogram(self, name: str, unit: str, text: str, buckets: Sequence[float]) -> Histogram:
        full = self._name(name, "histogram", unit, text)
        return Histogram(full, text, buckets=buckets, registry=self.registry)

    def _by_stage(self, stages: Sequence[str], text: str) -> Labelled[Counter]:
        name = self._name(
            "stage_seconds_total", "counter", "seconds", text, "stage", ", ".join(stages)
        )
        return Labelled(Counter(name, text, ["stage"], registry=self.registry), stages, False)

    def _links(self) -> Links:
        labels, values = "link, direction", f"{', '.join(LINKS)}; sent, received"
        for name, unit, text in (
            ("link_messages_total", "messages", "Messages over a link, malformed ones included."),
            ("link_bytes_total", "bytes", "Bytes of headers and payloads over a link."),
        ):
            self._name(name, "counter", unit, text, labels, values)
        text = "Connections started anew because nothing was heard."
        self._name("link_reconnects_total", "counter", "reconnects", text, "link", ", ".join(LINKS))
        text = (
            "Connections refused at a link that the role serves: a wrong key, no key, another protocol, or a handshake "
            "that was not finished."
        )
        values = f"{', '.join(LINKS)}; {', '.join(REFUSALS)}"
        self._name("link_refused_total", "counter", "connections", text, "link, reason", values)
        links = Links(*self.declared[-4:])
        self.registry.register(links)
        return links

    def _by_reason(self, name: str, unit: str, text: str) -> Labelled[Counter]:
        full = self._name(name, "counter", unit, text, "reason", f"at most {OPEN_LABEL_LIMIT}")
        return Labelled(Counter(full, text, ["reason"], registry=self.registry), (), True)

    def _by_sink(self, name: str, unit: str, text: str) -> Labelled[Counter]:
        full = self._name(name, "counter", unit, text, "sink", ", ".join(SINKS))
        return Labelled(Counter(full, text, ["sink"], registry=self.registry), SINKS, False)
