"""The cluster under test: the operator installed once, a namespace for each test, all logs of a failure.

Several processes may run these tests at once (`pytest -n 3`). They share the cluster and its operator. A test that is
marked `alone` replaces the operator or closes a node, so no other test runs beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.e2e.kube import (
    ROOT,
    KubectlError,
    Namespace,
    await_definitions,
    command,
    kubectl,
)

OPERATOR = "rljob-system"
STATE = ROOT / ".cluster"
ARTIFACTS = STATE / "artifacts"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
FASTER = {"poll": "1", "status": "0.5", "pending-grace": "1"}
"""Intervals of the operator in seconds. The shorter they are, the less a test waits for a status."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: no other test may run on the cluster meanwhile")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run alone come last, so that nobody waits for them."""
    items.sort(key=is_alone)


def is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Hold the cluster for the test and its fixtures, alone or with others; before any time limit starts."""
    with locked("cluster", fcntl.LOCK_EX if is_alone(item) else fcntl.LOCK_SH):
        return (yield)


@contextlib.contextmanager
def locked(name: str, how: int) -> Iterator[IO[str]]:
    """An empty or written file that processes with this working tree lock."""
    STATE.mkdir(exist_ok=True)
    with (STATE / f"{name}.lock").open("a+") as file:
        fcntl.flock(file, how)
        yield file


@pytest.fixture(scope="session")
def operator(testrun_uid: str) -> str:
    """The operator, installed from its manifests by the first process that needs it; the namespace it is in."""
    with locked("operator", fcntl.LOCK_EX) as file:
        file.seek(0)
        if file.read() != testrun_uid:
            install_operator()
            file.truncate(0)
            file.write(testrun_uid)
    return OPERATOR


def install_operator() -> None:
    """Install it, or restart the one that is there: its image may be new and its tag the same."""
    with contextlib.suppress(KubectlError):
        kubectl("create", "namespace", OPERATOR)
    # A chart that was there before has left the definition behind as its own.
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    await_definitions("crd/rljobs.rljob.dev")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=faster_manifests())
    kubectl("-n", OPERATOR, "rollout", "restart", "deployment/rljob-operator")
    kubectl("-n", OPERATOR, "rollout", "status", "deployment/rljob-operator", "--timeout=300s")


def faster_manifests() -> str:
    """The manifests, with the intervals of `FASTER`."""
    files = sorted((ROOT / "operator" / "manifests").glob("*.yaml"))
    text = "\n---\n".join(file.read_text() for file in files)
    for name, seconds in FASTER.items():
        text, count = re.subn(rf"--{name}-seconds=\S+", f"--{name}-seconds={seconds}", text)
        assert count == 1, f"--{name}-seconds is in the manifests {count} times"
    return text


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
