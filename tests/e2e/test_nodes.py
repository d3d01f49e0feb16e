"""A node restarts, with all that runs on it, and the job goes on."""

from __future__ import annotations

import pytest

from tests.e2e.jobs import endless
from tests.e2e.kube import Job, Namespace, command, kubectl, until

pytestmark = [pytest.mark.full, pytest.mark.alone]

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


def restart(node: str) -> None:
    """Stop the node's container and start it again, as a machine that is rebooted; wait for the API server."""
    done = command("docker", "restart", node)
    assert done.returncode == 0, done.stderr
    until(
        lambda: command("kubectl", "get", "--raw", "/readyz", timeout=30).returncode == 0,
        "the API server answers again",
    )


def complete(job: Job) -> None:
    """Let the job end soon, and wait for its end."""
    steps = job.steps() + 200
    job.namespace.patch("rljob", job.name, {"spec": {"stop": {"duration": None, "steps": steps}}})
    job.wait("Complete")


def test_the_worker_restarts_under_a_job(namespace: Namespace) -> None:
    """All pods of the job, and the operator, are on it. The job goes on from its checkpoint, and completes."""
    namespace.apply(endless())
    job = namespace.job("x")
    job.until(lambda s: s.get("lastCheckpoint", {}).get("verified"), "a checkpoint")
    node = job.pod("learner")["spec"]["nodeName"]
    assert {pod["spec"]["nodeName"] for pod in job.pods()} == {node}
    steps = job.steps()
    restart(node)
    job.until_trains(steps)
    complete(job)


def test_the_control_plane_restarts_under_a_job(namespace: Namespace) -> None:
    """Training goes on meanwhile. Afterwards new pods are made, and find the others by name."""
    namespace.apply(endless())
    job = namespace.job("x")
    steps = job.until_trains()
    learner = job.pod("learner")["metadata"]["uid"]
    nodes = kubectl("get", "nodes", "-l", CONTROL_PLANE, "-o", "jsonpath={.items[*].metadata.name}")
    for node in nodes.split():
        restart(node)
    steps = job.until_trains(steps)
    assert job.pod("learner")["metadata"]["uid"] == learner
    old = job.pod("rollout")["metadata"]
    namespace.run("delete", "pod", old["name"], "--wait=false")

    def replaced() -> bool:
        pods = job.pods("rollout", alive=True)
        return bool(pods) and all(pod["metadata"]["uid"] != old["uid"] for pod in pods)

    until(replaced, "another rollout")
    until(lambda: job.ready("rollout") == 1, "a rollout that is ready")
    job.until_trains(steps)
    complete(job)
