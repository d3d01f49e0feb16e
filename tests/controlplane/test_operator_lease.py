"""Several operators: one acts, and another one takes over when it dies, ends or loses its Lease."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rljob.kube.kinds import LEASE
from rljob_operator.act.lease import STOP_SECONDS
from tests.apiserver import ApiServer
from tests.controlplane.operators import NAMESPACE, Operator, install, running, until
from tests.controlplane.proxy import Fault, Proxy, proxied
from tests.controlplane.rljobs import Job

pytestmark = pytest.mark.timeout(300)


@dataclass
class Two:
    """Two operators, each by its own proxy; the first one acts."""

    first: Operator
    second: Operator
    to_first: Proxy
    to_second: Proxy


@pytest.fixture
def job(apiserver: ApiServer, namespace: str) -> Job:
    return Job(apiserver, namespace)


@pytest.fixture
def two(apiserver: ApiServer, job: Job, tmp_path: Path) -> Iterator[Two]:
    given = install(apiserver)
    apiserver.call("DELETE", LEASE.path(NAMESPACE, "rljob-operator"))
    with contextlib.ExitStack() as stack:
        operators, proxies = [], []
        for name in ("first", "second"):
            proxy = stack.enter_context(proxied(apiserver.url, apiserver.folder / "ca.crt"))
            kubeconfig = proxy.kubeconfig(given, tmp_path / f"{name}.kubeconfig")
            options = (f"--namespaces={job.namespace}", f"--identity={name}")
            operator = stack.enter_context(running(kubeconfig, tmp_path / name, *options))
            operator.until_ready()
            if name == "first":
                until(operator.leads, "the first one acts")
            operators.append(operator)
            proxies.append(proxy)
        yield Two(*operators, *proxies)


def holder(server: ApiServer) -> str:
    lease = server.call("GET", LEASE.path(NAMESPACE, "rljob-operator")).body
    return str(lease["spec"]["holderIdentity"])


def test_one_acts_and_the_other_one_follows_when_it_is_killed(two: Two, job: Job) -> None:
    job.create()
    until(job.complete, "all children")
    assert two.to_first.writes()
    assert not two.to_second.writes()
    assert not two.second.leads()
    assert two.second.get("/readyz")[0] == 200
    before = len(two.to_second.seen)
    two.first.kill()
    job.edit(rollout={"replicas": 4})
    until(job.complete, "an edit that the second one follows")
    assert holder(job.server) == "second"
    # Its watches were open all the time: it listed nothing again.
    late = two.to_second.seen[before:]
    assert not [r for r in late if r.method == "GET" and not r.watch and "/leases" not in r.path]


def test_one_that_ends_hands_over_at_once(two: Two, job: Job) -> None:
    assert two.first.stop() == 0
    assert holder(job.server) != "first"
    until(two.second.leads, "the second one acts")
    job.create()
    until(job.complete, "all children")


def test_one_that_cannot_renew_writes_no_more_and_ends(two: Two, job: Job) -> None:
    """It still hears of everything and could write; only calls about the Lease get no answer."""
    job.create()
    until(job.complete, "all children")
    two.to_first.judge = lambda r: Fault(hold=True) if "/leases" in r.path else None
    cut = time.monotonic()

    def ended() -> bool:
        # There is always something to write.
        job.edit(rollout={"replicas": 1 + int(time.monotonic() * 10) % 9})
        return two.first.process.poll() is not None

    until(ended, "it ends")
    assert two.first.process.returncode == 1
    assert "was not renewed" in two.first.text()
    # Its last renewal was before the cut.
    written = [request.at for request in two.to_first.writes()]
    assert max(written) > cut
    assert max(written) < cut + STOP_SECONDS
    until(two.second.leads, "the second one acts")
    until(job.complete, "the last edit")
