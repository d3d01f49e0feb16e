"""Metrics of single RLJobs from their status: phase, restarts, why pods are not ready.

They are computed from the existing jobs, so a deleted job has none. The job's namespace is in
`rljob_namespace`: the scraper adds `namespace`, which is the operator's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rljob.kube.kinds import Manifest
from rljob.telemetry.metrics_base import Declared
from rljob_operator.decide.observed import Key

_JOB = ("rljob_namespace", "rljob")
_BOUND = "those of the job; one series per job"
PHASE = Declared(
    "rljob_operator_job_phase",
    "gauge",
    "boolean",
    "1 for the current phase of the RLJob.",
    ", ".join((*_JOB, "phase")),
    _BOUND,
)
RESTARTS = Declared(
    "rljob_operator_job_restarts_total",
    "counter",
    "restarts",
    "Pods and containers of a role replaced since the RLJob started.",
    ", ".join((*_JOB, "role")),
    f"{_BOUND} and role",
)
WAITING = Declared(
    "rljob_operator_job_waiting",
    "gauge",
    "boolean",
    "1 while pods of a role are not ready, by reason.",
    ", ".join((*_JOB, "role", "reason")),
    f"{_BOUND} and role",
)
DECLARED = (PHASE, RESTARTS, WAITING)


class JobSeries(Collector):
    """At most nine series per job."""

    def __init__(self) -> None:
        self._families: tuple[Metric, ...] = families(())

    def show(self, jobs: Iterable[tuple[Key, Manifest]]) -> None:
        """Export the series of these jobs only."""
        self._families = families(jobs)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def families(jobs: Iterable[tuple[Key, Manifest]]) -> tuple[Metric, ...]:
    """The series of these jobs."""
    phase = GaugeMetricFamily(PHASE.name, PHASE.help, labels=PHASE.label.split(", "))
    restarts = CounterMetricFamily(RESTARTS.name, RESTARTS.help, labels=RESTARTS.label.split(", "))
    waiting = GaugeMetricFamily(WAITING.name, WAITING.help, labels=WAITING.label.split(", "))
    for key, job in jobs:
        status = job.get("status") or {}
        phase.add_metric((*key, status.get("phase", "")), 1)
        for role in status.get("roleStatuses", ()):
            restarts.add_metric((*key, role["name"]), role.get("restarts", 0))
            if role.get("reason"):
                waiting.add_metric((*key, role["name"], role["reason"]), 1)
    return phase, restarts, waiting
