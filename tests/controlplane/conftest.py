"""One API server, with the RLJob's definition, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver import ApiServer, missing, start

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
