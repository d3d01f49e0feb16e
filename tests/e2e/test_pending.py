"""Jobs that cannot start say why, in words, within seconds."""

from __future__ import annotations

import pytest

from tests.e2e.jobs import endless, requests
from tests.e2e.kube import Namespace, Object, command

CASES = {
    "ImagePull": (
        endless(image="registry.invalid/none:1"),
        ("ImagePull", "ErrImage"),
        "registry.invalid",
    ),
    "Unschedulable": (
        endless(rollout={"replicas": 1, "template": requests("rollout", cpu="1000")}),
        ("Unschedulable",),
        "Insufficient cpu",
    ),
    "InvalidTemplate": (
        endless(rollout={"replicas": 1, "template": requests("rollout", cpu="many")}),
        ("InvalidTemplate",),
        "quantit",
    ),
    "MissingConfigMap": (
        endless(
            rollout={
                "replicas": 1,
                "template": {
                    "spec": {
                        "containers": [
                            {
                                "name": "rollout",
                                "envFrom": [{"configMapRef": {"name": "not-there"}}],
                            }
                        ]
                    }
                },
            }
        ),
        ("CreateContainerConfigError",),
        "not-there",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pending_reason(namespace: Namespace, name: str) -> None:
    job_object, reasons, words = CASES[name]
    namespace.apply(job_object)
    job = namespace.job("x")

    def told(status: Object) -> bool:
        text = str(status.get("roleStatuses")) + str(status.get("conditions"))
        return any(reason in text for reason in reasons) and words in text

    job.until(told, f"{reasons[0]} with {words!r}")
    assert job.status()["phase"] in ("Pending", "Starting")


def test_quota(namespace: Namespace) -> None:
    """A namespace that may hold no more pods."""
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none"},
            "spec": {"hard": {"pods": "0"}},
        }
    )
    namespace.apply(endless())
    job = namespace.job("x")
    job.until(lambda s: "exceeded quota" in str(s), "the quota is named")


def test_pending_deadline(namespace: Namespace) -> None:
    namespace.apply(endless(image="registry.invalid/none:1", pendingDeadlineSeconds=10))
    job = namespace.job("x")
    job.wait("Failed")
    assert job.condition("Failed")["reason"] == "PendingDeadlineExceeded"


def test_invalid_template_is_healed_by_an_edit(namespace: Namespace) -> None:
    namespace.apply(endless(rollout={"replicas": 1, "template": requests("rollout", cpu="many")}))
    job = namespace.job("x")
    job.until(lambda s: "InvalidTemplate" in str(s), "InvalidTemplate")
    namespace.patch("rljob", "x", {"spec": {"rollout": {"template": None}}})
    job.until_trains()


def test_bad_specs_are_refused(namespace: Namespace) -> None:
    """kubectl says what is wrong before anything exists."""
    import yaml

    for change, words in (
        ({"stop": {}}, "at least one of"),
        ({"rollout": {"replicas": 0}}, "greater than or equal to 1"),
        ({"rollout": {"replica": 2}}, "unknown field"),
    ):
        text = yaml.safe_dump(endless(**change))
        done = command("kubectl", "-n", namespace.name, "apply", "-f", "-", given=text)
        assert done.returncode != 0
        assert words in done.stderr
