"""One API server, with the RLJob's definition, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver import ApiServer, missing, start
from tests.controlplane import node
from tests.controlplane.client import Client
from tests.controlplane.node import Node

CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """A running API server that knows RLJobs. Without its programs the tests fail; they do not skip."""
    if lacking := missing():
        pytest.fail(lacking, pytrace=False)
    with start() as server:
        for crd in sorted(CRDS.glob("*.yaml")):
            server.install(crd)
        yield server


@pytest.fixture
def namespace(apiserver: ApiServer) -> str:
    """A namespace of the test's own."""
    return apiserver.namespace()


@pytest.fixture
def rljob(apiserver: ApiServer, namespace: str, capsys: pytest.CaptureFixture[str]) -> Client:
    """The command, in this namespace."""
    return Client(apiserver, namespace, capsys, apiserver.admin)


@pytest.fixture
def machine(rljob: Client, tmp_path: Path) -> Iterator[Node]:
    """A node; the commands reach its pods."""
    rljob.create()
    with node.running(rljob.server, rljob.namespace, tmp_path) as found:
        rljob.kubeconfig = found.kubeconfig
        yield found
