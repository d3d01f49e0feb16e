"""Every metric of the operator; `python -m rljob_operator.telemetry.metrics` prints docs/reference/operator-metrics.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from prometheus_client import Counter, Gauge

from rljob.kube.kinds import AUDITED, WATCHED
from rljob.spec.status import Phase
from rljob.telemetry.metrics_base import Labelled, Metrics
from rljob_operator.telemetry import job_series

RECONCILE_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
PHASES = (*get_args(Phase), "")


class OperatorMetrics(Metrics):
    """Metrics of one operator process."""

    role = "operator"

    def __init__(self) -> None:
        super().__init__()
        self.leader = self._gauge("leader", "boolean", "1 if this process leads, else 0.")
        self.jobs = self._gauges(
            "jobs", "jobs", "RLJobs by phase; empty for a new job.", "phase", PHASES
        )
        self.queue_depth = self._gauge("queue_depth", "jobs", "Jobs that wait for a worker.")
        self.queue_oldest = self._gauge(
            "queue_oldest_seconds", "seconds", "Waiting time of the oldest job in the queue."
        )
        self.reconcile_seconds = self._histogram(
            "reconcile_seconds",
            "seconds",
            "Duration of one reconcile, including its writes.",
            RECONCILE_BUCKETS,
        )
        self.errors = self._by_reason(
            "errors_total", "reconciles", "Failed reconciles; they are retried."
        )
        self._requests = self._api_requests()
        self.polls = self._counters(
            "polls_total",
            "calls",
            "Polls of learners.",
            "result",
            ("answered", "unreachable", "invalid", "refused"),
        )
        self.events = self._counters(
            "events_total", "events", "Events on RLJobs.", "result", ("posted", "failed", "dropped")
        )
        self.watch_age = self._gauges(
            "watch_last_event_age_seconds",
            "seconds",
            "Time since the last event of a watch; it grows for a resource without changes.",
            "resource",
            tuple(kind.plural for kind in WATCHED),
        )
        self.stale = self._gauges(
            "watch_stale_objects",
            "objects",
            "Objects with a change that a watch missed, at the last audit.",
            "resource",
            tuple(kind.plural for kind in AUDITED),
        )
        self.job_series = job_series.JobSeries()
        self.declared += job_series.DECLARED
        self.registry.register(self.job_series)

    def count_request(self, verb: str, resource: str, code: str) -> None:
        """Count one completed call to the API server."""
        self._requests.labels(verb, resource, code).inc()

    def _api_requests(self) -> Counter:
        text = "Calls to the API server, excluding watches."
        labels = ("verb", "resource", "code")
        values = "code is the HTTP status, `timeout` or `connection`"
        name = self._name("api_requests_total", "counter", "calls", text, ", ".join(labels), values)
        return Counter(name, text, labels, registry=self.registry)

    def _gauges(
        self, name: str, unit: str, text: str, label: str, values: Sequence[str]
    ) -> Labelled[Gauge]:
        full = self._name(name, "gauge", unit, text, label, ", ".join(filter(None, values)))
        return Labelled(Gauge(full, text, [label], registry=self.registry), values, False)

    def _counters(
        self, name: str, unit: str, text: str, label: str, values: Sequence[str]
    ) -> Labelled[Counter]:
        full = self._name(name, "counter", unit, text, label, ", ".join(values))
        return Labelled(Counter(full, text, [label], registry=self.registry), values, False)


def documentation() -> str:
    """The Markdown of docs/reference/operator-metrics.md."""
    lines = [
        "# Metrics of the operator",
        "",
        "<!-- Made by `make generate` from operator/rljob_operator/telemetry/metrics.py; change it there. -->",
        "",
        "Port 8080 serves them at `/metrics`, with the usual `process_*` and `python_*` ones. Only the process that leads",
        "serves `rljob_operator_job_…`: at most nine series for each RLJob, and none after the job is deleted. All other",
        "series together are fewer than 1000, whatever the number of jobs.",
        "",
        "| Name | Type | Unit | Labels | Meaning |",
        "|---|---|---|---|---|",
    ]
    for one in OperatorMetrics().declared:
        label = f"`{one.label}`: {one.values}" if one.label else ""
        lines.append(f"| `{one.name}` | {one.type} | {one.unit} | {label} | {one.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(documentation(), end="")
