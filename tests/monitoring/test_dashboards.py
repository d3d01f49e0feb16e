"""Every query of every panel, asked of a real Prometheus: that it gives data, and that the data is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.apiserver import ApiServer
from tests.controlplane.operators import install
from tests.controlplane.operators import running as operator_running
from tests.controlplane.rljobs import Job
from tests.monitoring.operators import scraping
from tests.monitoring.panels import queries, without_data
from tests.monitoring.prometheus import RULES, Prometheus, running, until
from tests.monitoring.runs import Run, job, started

pytestmark = pytest.mark.timeout(300)
DATA_SECONDS = 90.0
RATE_SECONDS = 20
AGREE = 0.15
"""Share by which a rate may differ: the two sides begin and end it at other moments."""


def test_a_local_run_fills_every_panel_and_agrees_with_its_own_records(tmp_path: Path) -> None:
    content = job("x", evaluation={"interval": "1s", "episodes": 1}, rollout={"replicas": 2})
    folder = tmp_path / "runs"
    folder.mkdir()
    asked = [one for one in queries("local", "x", f"{RATE_SECONDS}s") if not one.of_operator]
    assert len(asked) > 60
    with (
        started(folder, content) as runs,
        running(tmp_path / "prometheus", [runs["x"].targets], RULES) as prometheus,
    ):
        missing: list[str] = []

        def all_give_data() -> bool:
            missing[:] = without_data(prometheus, asked)
            return not missing

        until(all_give_data, lambda: "\n".join(missing), DATA_SECONDS)
        assert prometheus.firing() == set()
        agrees(prometheus, runs["x"])


def test_an_operator_fills_every_panel_of_it(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    asked = [one for one in queries(namespace, "x", "30s") if one.of_operator]
    assert len(asked) > 10
    options = ("--lease=false", f"--namespaces={namespace}", "--resync-seconds=1")
    kubeconfig = install(apiserver)
    with (
        operator_running(kubeconfig, tmp_path / "log", *options) as operator,
        scraping(operator.until_ready(), tmp_path / "prometheus") as prometheus,
    ):
        made = Job(apiserver, namespace)
        made.create()
        until(made.complete, "all children")
        missing: list[str] = []

        def all_give_data() -> bool:
            missing[:] = without_data(prometheus, asked)
            return not missing

        until(all_give_data, lambda: "\n".join(missing), DATA_SECONDS)
        assert prometheus.firing() == set()
        phase = f'rljob:phase:info{{namespace="{namespace}",rljob="x"}}'
        assert prometheus.query(phase)[0].labels["phase"] == "Pending"
        made.delete()
        until(lambda: not prometheus.query(phase), "nothing is told of a job that is gone")


def agrees(prometheus: Prometheus, run: Run) -> None:
    """Counters lie between the records before and after, gauges are one of them, rates are like theirs."""
    until(lambda: seconds(run.records()) > RATE_SECONDS + 15, "enough records", DATA_SECONDS)
    for metric, field in (
        ("rljob_learner_updates_total", "updates"),
        ("rljob_learner_steps_consumed_total", "steps"),
    ):
        at, value = sampled(prometheus, metric)
        until(lambda at=at: run.records()[-1]["time"] > at, "a later record")
        before = [one[field] for one in run.records() if one["time"] <= at]
        after = [one[field] for one in run.records() if one["time"] > at]
        assert before[-1] <= value <= after[0], metric
    for metric, field in (
        ("rljob_learner_mean_return", "meanReturn"),
        ("rljob_learner_policy_version", "policyVersion"),
    ):
        assert sampled(prometheus, metric)[1] in [one[field] for one in run.records()], metric
    window = run.records()[:-1]
    end = window[-1]["time"]
    window = [one for one in window if one["time"] >= end - RATE_SECONDS]
    for metric, field in (
        ("rljob_learner_updates_total", "updates"),
        ("rljob_learner_steps_consumed_total", "steps"),
        ("rljob_rollout_environment_steps_total", "steps"),
    ):
        expected = (window[-1][field] - window[0][field]) / seconds(window)
        rate = f"sum(rate({metric}[{RATE_SECONDS}s] @ {end}))"
        assert prometheus.value(rate) == pytest.approx(expected, rel=AGREE), metric
    waited = (
        f'rate(rljob_learner_stage_seconds_total{{stage="data_wait"}}[{RATE_SECONDS}s] @ {end})'
    )
    told = sum(one["learnerWaiting"] for one in window) / len(window)
    assert prometheus.value(waited) == pytest.approx(told, abs=AGREE)


def sampled(prometheus: Prometheus, metric: str) -> tuple[float, float]:
    """When it was scraped last, and what it was then."""
    at = prometheus.value(f"timestamp({metric})")
    return at, prometheus.value(f"{metric} @ {at}")


def seconds(records: list[dict[str, Any]]) -> float:
    """From the first to the last of them."""
    return float(records[-1]["time"] - records[0]["time"]) if records else 0.0
