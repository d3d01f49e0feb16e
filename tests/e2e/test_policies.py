"""Who reaches which port of which role, by real connections, on a network that enforces NetworkPolicies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from rljob.spec.roles import LINK_PORTS, ROLES, clients
from tests.e2e.jobs import endless
from tests.e2e.kube import Job, Namespace, Object, kubectl, until

pytestmark = pytest.mark.full

CONNECT = """
import socket, sys
for target in sys.argv[1:]:
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 3).close()
        print("open")
    except OSError:
        print("closed")
"""
LISTENING = 8000
CLOSED: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "closed"},
    "spec": {"podSelector": {"matchLabels": {"control": "closed"}}, "policyTypes": ["Ingress"]},
}


@dataclass(frozen=True)
class Source:
    """A pod that connects to others; `role` is its role in the job, if it has one."""

    namespace: Namespace
    pod: str
    role: str = ""

    def reaches(self, targets: list[str]) -> list[bool]:
        """For each `address:port`, whether it takes a connection."""
        text = self.namespace.run("exec", self.pod, "--", "python", "-c", CONNECT, *targets)
        answers = text.split()
        assert len(answers) == len(targets), text
        return [answer == "open" for answer in answers]


def listener(name: str, image: str, labels: dict[str, str]) -> Object:
    """A pod that is of no job and listens on one port."""
    container = {
        "name": "listener",
        "image": image,
        "command": ["python", "-m", "http.server", str(LISTENING), "--directory", "/tmp"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }


@pytest.fixture
def elsewhere(namespace: Namespace) -> Iterator[Namespace]:
    """Another namespace."""
    made = Namespace(f"{namespace.name}-b")
    kubectl("create", "namespace", made.name)
    yield made
    kubectl("delete", "namespace", made.name, "--wait=false")


def running(namespace: Namespace, *pods: Object) -> None:
    namespace.apply(*pods)
    names = [f"pod/{pod['metadata']['name']}" for pod in pods]
    namespace.run("wait", "--for=condition=Ready", *names, "--timeout=180s", timeout=200)


def address(namespace: Namespace, pod: str) -> str:
    found = namespace.get("pod", pod)
    assert found is not None
    return str(found["status"]["podIP"])


def ports(job: Job) -> dict[tuple[str, str], str]:
    """`address:port` of each port of each role, by role and name of the port."""
    found = {}
    for role in ROLES:
        pod = job.pod(role)
        container = next(c for c in pod["spec"]["containers"] if c["name"] == role)
        for port in container["ports"]:
            target = f"{pod['status']['podIP']}:{port['containerPort']}"
            found[role, port["name"]] = target
    return found


def allowed(role: str, port: str) -> bool:
    """Metrics are open to all, links to the roles that use them, and anything else to nobody here."""
    return port == "metrics" or (port in LINK_PORTS and role in clients(port))


def test_each_role_reaches_the_ports_that_it_uses_and_no_others(
    namespace: Namespace, elsewhere: Namespace
) -> None:
    namespace.apply(endless(evaluation={"interval": "5s", "episodes": 1}))
    job = namespace.job("x")
    steps = job.until_trains()
    until(lambda: all(job.ready(role) for role in ROLES), "pods of all roles are ready")
    pod = job.pod("rollout")
    image, labels = pod["spec"]["containers"][0]["image"], pod["metadata"]["labels"]
    ours = {name: labels[name] for name in ("rljob.dev/job-name", "rljob.dev/role")}

    running(
        namespace,
        listener("closed", image, {"control": "closed"}),
        listener("open", image, {}),
        listener("other-job", image, {**ours, "rljob.dev/job-name": "other"}),
    )
    running(elsewhere, listener("like-ours", image, ours))
    control = [f"{address(namespace, name)}:{LISTENING}" for name in ("open", "closed")]
    stranger = Source(namespace, "open")
    neighbour = Source(namespace, "other-job")
    until(lambda: neighbour.reaches(control) == [True, True], "both listen")
    namespace.apply(CLOSED)
    until(
        lambda: neighbour.reaches(control) == [True, False],
        "a NetworkPolicy that closes a pod is enforced; `make policies` lets the cluster do it",
    )

    targets = ports(job)
    sources = {
        "stranger": stranger,
        "other job": neighbour,
        "other namespace": Source(elsewhere, "like-ours"),
        **{role: Source(namespace, job.pod(role)["metadata"]["name"], role) for role in ROLES},
    }
    expected = {
        (name, *target): allowed(source.role, target[1])
        for name, source in sources.items()
        for target in targets
        # A pod reaches itself without the network.
        if source.role != target[0]
    }
    wrong: list[object] = []

    def as_expected() -> bool:
        found = {
            (name, *target): reached
            for name, source in sources.items()
            for target, reached in zip(targets, source.reaches(list(targets.values())), strict=True)
        }
        wrong[:] = [entry for entry, reached in expected.items() if found[entry] != reached]
        return not wrong

    until(as_expected, lambda: f"as the table of roles says, but {wrong}", patience=60)
    job.until_trains(steps)
