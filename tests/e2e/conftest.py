"""The cluster under test: the operator installed once, a namespace for each test, all logs of a failure."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kube import ROOT, KubectlError, Namespace, command, kubectl

OPERATOR = "rljob-system"
ARTIFACTS = ROOT / ".cluster" / "artifacts"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@pytest.fixture(scope="session")
def operator() -> str:
    """The operator, installed from its manifests; the namespace it is in."""
    install_operator()
    return OPERATOR


def install_operator() -> None:
    """Install it, or restart the one that is there: its image may be new and its tag the same."""
    with contextlib.suppress(KubectlError):
        kubectl("create", "namespace", OPERATOR)
    # A chart that was there before has left the definition behind as its own.
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "crd/rljobs.rljob.dev", "--timeout=60s")
    manifests = str(ROOT / "operator" / "manifests")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", manifests)
    kubectl("-n", OPERATOR, "rollout", "restart", "deployment/rljob-operator")
    kubectl("-n", OPERATOR, "rollout", "status", "deployment/rljob-operator", "--timeout=120s")


@pytest.fixture
def namespace(operator: str, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace that enforces the restricted Pod Security Standard."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    made = Namespace(f"{name}-{uuid.uuid4().hex[:6]}")
    kubectl("create", "namespace", made.name)
    kubectl("label", "namespace", made.name, RESTRICTED)
    yield made
    if request.node.stash.get(FAILED, False):
        collect(made.name, ARTIFACTS / request.node.name)
    kubectl("delete", "namespace", made.name, "--wait=false")


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def collect(namespace: str, folder: Path) -> None:
    """Keep objects, events and logs of a namespace and of the operator."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = "rljobs,pods,deployments,statefulsets,jobs,services,configmaps,pvc,networkpolicies,pdb"
    pods = command("kubectl", "-n", namespace, "get", "pods", "-o", "name").stdout.split()
    wanted = {
        "objects.yaml": ("-n", namespace, "get", kinds, "-o", "yaml"),
        "events.txt": ("-n", namespace, "get", "events", "--sort-by=.lastTimestamp"),
        "describe.txt": ("-n", namespace, "describe", "rljobs,pods"),
        "nodes.txt": ("describe", "nodes"),
        "operator.log": ("-n", OPERATOR, "logs", "deployment/rljob-operator", "--tail=2000"),
    }
    for pod in pods:
        name = pod.removeprefix("pod/")
        wanted[f"{name}.log"] = ("-n", namespace, "logs", name, "--all-containers")
        wanted[f"{name}.before.log"] = ("-n", namespace, "logs", name, "--previous")
    for file, arguments in wanted.items():
        done = command("kubectl", *arguments)
        (folder / file).write_text(done.stdout + done.stderr)
