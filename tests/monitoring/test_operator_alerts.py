"""The operator's alerts, fired for real: a real operator, a real API server, and a proxy that makes things go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rljob.kube.kinds import BY_NAME
from tests.apiserver import ApiServer
from tests.controlplane.operators import install
from tests.controlplane.operators import running as operator_running
from tests.controlplane.proxy import Fault, Proxy, proxied
from tests.controlplane.rljobs import Job
from tests.monitoring.operators import scraping
from tests.monitoring.prometheus import until

pytestmark = pytest.mark.timeout(400)
FIRE_SECONDS = 200.0


@pytest.fixture
def proxy(apiserver: ApiServer) -> Iterator[Proxy]:
    with proxied(apiserver.url, apiserver.folder / "ca.crt") as made:
        yield made


@pytest.fixture
def kubeconfig(apiserver: ApiServer, proxy: Proxy, tmp_path: Path) -> Path:
    return proxy.kubeconfig(install(apiserver), tmp_path / "kubeconfig")


def test_an_api_server_that_answers_no_write_fires_queue_stuck(
    apiserver: ApiServer, proxy: Proxy, kubeconfig: Path, tmp_path: Path
) -> None:
    """One worker, and jobs that each hold it up."""
    jobs = [Job(apiserver, apiserver.namespace()) for _ in range(12)]
    namespaces = ",".join(job.namespace for job in jobs)
    options = ("--lease=false", f"--namespaces={namespaces}", "--workers=1")
    with (
        operator_running(kubeconfig, tmp_path / "log", *options) as operator,
        scraping(operator.until_ready(), tmp_path / "prometheus") as prometheus,
    ):
        assert prometheus.firing() == set()
        proxy.judge = lambda request: Fault(hold=True) if request.write else None
        for job in jobs:
            job.create()
        fires = {("RLJobOperatorQueueStuck", "")}
        until(lambda: fires <= prometheus.firing(), "the alert", FIRE_SECONDS)
        assert prometheus.firing() == fires
        proxy.judge = lambda _: None
        until(lambda: not prometheus.firing(), "nothing fires", FIRE_SECONDS)


def test_a_watch_that_died_in_silence_fires_watch_dead(
    apiserver: ApiServer, namespace: str, proxy: Proxy, kubeconfig: Path, tmp_path: Path
) -> None:
    job = Job(apiserver, namespace)
    options = (
        *("--lease=false", f"--namespaces={namespace}", "--silence-seconds=3600"),
        *("--audit-seconds=2", "--stale-seconds=1"),
    )
    with (
        operator_running(kubeconfig, tmp_path / "log", *options) as operator,
        scraping(operator.until_ready(), tmp_path / "prometheus") as prometheus,
    ):
        job.create()
        until(job.complete, "all children")
        assert prometheus.firing() == set()
        proxy.silent = lambda request: request.path.endswith("/services")
        apiserver.call("DELETE", BY_NAME["Service"].path(namespace, "x-buffer"))
        fires = {("RLJobWatchDead", "")}
        until(lambda: fires <= prometheus.firing(), "the alert", FIRE_SECONDS)
        assert prometheus.firing() == fires
