"""Every query of every panel, asked of a real Prometheus: that it gives data, and that the data is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rljob.telemetry.metrics import ROLES
from tests.apiserver import ApiServer
from tests.controlplane.operators import install
from tests.controlplane.operators import running as operator_running
from tests.controlplane.rljobs import Job
from tests.monitoring.agreement import agrees
from tests.monitoring.operators import scraping
from tests.monitoring.panels import queries, without_data
from tests.monitoring.prometheus import RULES, Prometheus, running, until
from tests.monitoring.runs import job, started

pytestmark = pytest.mark.timeout(300)
DATA_SECONDS = 180.0
RATE_SECONDS = 20


TROUBLE = re.compile(
    "retransmitted|duplicate|rejected|evicted|fenced|above_bound|restarts|failures|stored_steps"
    "|reconnects|not_finite|set_aside|refused|gpu_|episode_info|applications_connected"
)
"""Metrics that stay at 0 while all is well and the learner is the faster side, and those of what the job does not have."""


def test_a_local_run_fills_every_panel_and_agrees_with_its_own_records(tmp_path: Path) -> None:
    content = job("x", evaluation={"interval": "1s", "episodes": 2}, rollout={"replicas": 2})
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
        silent: list[str] = []

        def all_have_moved() -> bool:
            silent[:] = still(prometheus)
            return not silent

        until(all_have_moved, lambda: "\n".join(silent), DATA_SECONDS)
        agrees(prometheus, runs["x"].records, 'rljob="x"', RATE_SECONDS)


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


def still(prometheus: Prometheus) -> list[str]:
    """Metrics of the roles that have said nothing: nobody sets them."""
    names = [
        f"{one.name}_count" if one.type == "histogram" else one.name
        for make in ROLES
        for one in make().declared
        if not TROUBLE.search(one.name)
    ]
    return [name for name in names if not prometheus.query(f"max_over_time({name}[5m]) > 0")]
