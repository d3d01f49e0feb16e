"""Keys are rotated while a job trains: real kubelets bring them to pods that run."""

from __future__ import annotations

import pytest

from tests.e2e.jobs import endless
from tests.e2e.kube import Namespace, Object, until
from tests.e2e.test_code import container_of, copy_of

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]
PATIENCE = 900.0
"""A kubelet takes about a minute for each of the three steps."""


def rollout_like(pod: Object, name: str) -> Object:
    """A copy of a rollout that nobody owns, with the labels by which NetworkPolicies know it."""
    made = copy_of(pod, name, "x-keys")
    labels = {k: v for k, v in pod["metadata"]["labels"].items() if k != "pod-template-hash"}
    made["metadata"]["labels"] = labels
    return made


def test_new_keys_reach_pods_that_run_and_old_ones_open_nothing(namespace: Namespace) -> None:
    namespace.apply(endless())
    job = namespace.job("x")
    job.until_trains()
    before = {pod["metadata"]["uid"] for pod in job.pods(alive=True)}
    pod = job.pod("rollout")

    done = namespace.rljob("rotate-keys", "x")
    assert done.returncode == 0, done.stderr
    job.until(lambda s: s.get("keysGeneration") == 2, "new keys are used", PATIENCE)
    job.wait("KeysCurrent", PATIENCE)
    assert {"KeysRotating", "KeysRotated"} <= job.reasons()
    job.until_trains(job.steps())
    status = job.status()
    assert {pod["metadata"]["uid"] for pod in job.pods(alive=True)} == before
    assert status["learner"]["failures"] == 0
    assert all(role["restarts"] == 0 for role in status["roleStatuses"])

    # A pod with the old keys alone, which believes that they are valid, and one with all of them.
    first = {"oldest": 1, "current": 1}
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "old-order"},
            "data": {"keys.json": str(first).replace("'", '"')},
        }
    )
    old = rollout_like(pod, "intruder")
    for volume in old["spec"]["volumes"]:
        for source in volume.get("projected", {}).get("sources", ()):
            if "configMap" in source:
                source["configMap"]["name"] = "old-order"
            elif source["secret"]["name"] != "x-keys":
                source["secret"]["name"] = "nothing"
    namespace.apply(old)
    until(lambda: container_of(namespace, "intruder").get("started"), "the intruder has started")
    namespace.apply(rollout_like(pod, "welcome"))
    until(lambda: container_of(namespace, "welcome").get("ready"), "the other one is ready")
    assert not container_of(namespace, "intruder")["ready"]
    job.until_trains(job.steps())
