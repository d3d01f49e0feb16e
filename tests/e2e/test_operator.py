"""The operator itself dies, is upgraded, and sees what others do to its children."""

from __future__ import annotations

import pytest

from tests.e2e.jobs import endless
from tests.e2e.kube import Job, Namespace, kubectl, until


def lives(job: Job) -> set[tuple[str, int]]:
    """Pods with the number of their containers' restarts."""
    return {
        (pod["metadata"]["uid"], container["restartCount"])
        for pod in job.pods()
        for container in pod["status"].get("containerStatuses", [])
    }


def test_operator_killed_while_a_job_trains(namespace: Namespace, operator: str) -> None:
    """No pod of the job restarts, and the new operator goes on telling."""
    namespace.apply(endless())
    job = namespace.job("x")
    job.until_trains()
    before = lives(job)
    selector = "app.kubernetes.io/name=rljob-operator"
    old = kubectl("-n", operator, "get", "pods", "-l", selector, "-o", "name")
    kubectl("-n", operator, "delete", "pods", "-l", selector, "--grace-period=0", "--force")
    until(
        lambda: (
            kubectl("-n", operator, "get", "pods", "-l", selector, "-o", "name") not in ("", old)
        ),
        "another operator",
    )
    job.until_trains(job.steps())
    assert lives(job) == before


def test_operator_upgraded_while_a_job_trains(namespace: Namespace, operator: str) -> None:
    """A new version of its Deployment rolls out; pods of the job stay."""
    namespace.apply(endless())
    job = namespace.job("x")
    job.until_trains()
    before = lives(job)
    kubectl("-n", operator, "rollout", "restart", "deployment/rljob-operator")
    kubectl("-n", operator, "rollout", "status", "deployment/rljob-operator", "--timeout=300s")
    job.until_trains(job.steps())
    assert lives(job) == before


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("deployment", "rollout"),
        ("service", "buffer"),
        ("configmap", "job"),
        ("networkpolicy", "learner"),
    ],
)
def test_deleted_child_is_made_again(namespace: Namespace, kind: str, suffix: str) -> None:
    """Whatever is deleted under a job comes back."""
    namespace.apply(endless())
    job = namespace.job("x")
    job.until_trains()
    child = namespace.get(kind, f"x-{suffix}")
    assert child is not None
    namespace.run("delete", kind, f"x-{suffix}")

    def back() -> bool:
        found = namespace.get(kind, f"x-{suffix}")
        return found is not None and found["metadata"]["uid"] != child["metadata"]["uid"]

    until(back, f"{kind} x-{suffix} is made again")
    job.until_trains(job.steps())


def test_edited_child_is_put_right(namespace: Namespace) -> None:
    """Drift is repaired; what others add stays."""
    namespace.apply(endless())
    job = namespace.job("x")
    job.until_trains()
    namespace.patch("deployment", "x-rollout", {"spec": {"replicas": 3}})
    namespace.patch("service", "x-buffer", {"metadata": {"labels": {"team": "blue"}}})

    def repaired() -> bool:
        found = namespace.get("deployment", "x-rollout")
        return found is not None and found["spec"]["replicas"] == 1

    until(repaired, "one rollout again")
    service = namespace.get("service", "x-buffer")
    assert service is not None
    assert service["metadata"]["labels"]["team"] == "blue"


def test_spec_edited_and_reverted(namespace: Namespace) -> None:
    """A new template rolls the pods, the old one rolls them back, and steps never go back."""
    namespace.apply(endless())
    job = namespace.job("x")
    job.until(lambda s: s.get("lastCheckpoint"), "a checkpoint")
    steps = job.steps()
    label = {"metadata": {"labels": {"team": "blue"}}}
    for template in (label, None):
        namespace.patch("rljob", "x", {"spec": {"rollout": {"template": template}}})

        def rolled(wanted: bool = template is not None) -> bool:
            pods = job.pods("rollout", alive=True)
            labels = ["team" in pod["metadata"]["labels"] for pod in pods]
            return labels == [wanted] and job.ready("rollout") == 1

        until(rolled, f"rollouts with the template {template}")
        steps = job.until_trains(steps)
    namespace.patch("rljob", "x", {"spec": {"learner": {"template": label}}})
    until(
        lambda: any("team" in p["metadata"]["labels"] for p in job.pods("learner", alive=True)),
        "a learner with the new template",
    )
    job.until_trains(steps)
    assert job.status()["learner"]["failures"] == 0


@pytest.mark.alone
def test_node_drained(namespace: Namespace) -> None:
    """A drain ends, the job waits, and goes on where it was once there is room again."""
    namespace.apply(endless(backoffLimit=0))
    job = namespace.job("x")
    job.until(lambda s: s.get("lastCheckpoint"), "a checkpoint")
    steps = job.status()["lastCheckpoint"]["step"]
    node = job.pod("learner")["spec"]["nodeName"]
    selector = "rljob.dev/job-name=x"
    kubectl("cordon", node)
    try:
        kubectl(
            "drain",
            node,
            "--delete-emptydir-data",
            "--ignore-daemonsets",
            f"--pod-selector={selector}",
            "--timeout=300s",
        )
        job.until(
            lambda s: any(r.get("reason") == "Unschedulable" for r in s["roleStatuses"]),
            "the status says that no node takes the pods",
        )
    finally:
        kubectl("uncordon", node)
    job.until_trains(steps)
    assert job.status()["learner"]["failures"] == 0
