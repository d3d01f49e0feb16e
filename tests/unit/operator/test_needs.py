"""What a pod needs and has not got is named, with since when and what to do."""

from __future__ import annotations

import inspect
import re

import pytest

from rljob.diagnosis import advice
from rljob.kube.kinds import Manifest
from rljob_operator.decide import pending, uncreated, unstarted
from rljob_operator.decide.uncreated import SUSPENDED_SECONDS
from rljob_operator.decide.unstarted import SILENCE_SECONDS, START_SECONDS
from tests.unit.operator.cluster import NAME, Cluster, quiet
from tests.unit.operator.test_pending import asked, pod, unschedulable, waiting

CLAIM = f"{NAME}-checkpoints"


def unplaced(cluster: Cluster, role: str) -> Manifest:
    """A pod of which nobody says anything."""
    found = pod(cluster, role)
    found["status"] = {"phase": "Pending"}
    return found


def at(cluster: Cluster, seconds: float, role: str) -> dict[str, object]:
    """The role's status some seconds later, not one second earlier."""
    cluster.tick(seconds - 1)
    cluster.look()
    assert "reason" not in cluster.role(role)
    cluster.tick(1)
    cluster.look()
    return cluster.role(role)


def test_a_claim_that_stays_unbound_without_a_word_of_anybody() -> None:
    cluster = asked(
        checkpoint={"storage": {"volumeClaimTemplate": {"size": "1Gi", "storageClassName": "fast"}}}
    )
    unplaced(cluster, "learner")
    cluster.objects["PersistentVolumeClaim", CLAIM]["status"] = {"phase": "Pending"}
    found = at(cluster, SILENCE_SECONDS, "learner")
    assert (found["reason"], found["message"]) == (
        "VolumePending",
        f"volume claim {CLAIM} is not bound; storage class fast",
    )
    for kind in ("Progressing", "Ready"):
        said = cluster.condition(kind)
        assert (said["status"], said["reason"]) == ("False", "VolumePending")
        assert "(since 2026-01-31T12:00:00Z); look at kubectl describe pvc" in said["message"]
    assert cluster.notices[-1].message == cluster.condition("Progressing")["message"]
    # Time alone changes nothing more.
    cluster.tick(100)
    assert quiet(cluster.decide())


def test_an_unbound_claim_that_waits_for_the_pod_is_not_to_blame() -> None:
    cluster = asked()
    unschedulable(pod(cluster, "learner"), "0/3 nodes are available: 3 Insufficient cpu.")
    cluster.objects["PersistentVolumeClaim", CLAIM]["status"] = {"phase": "Pending"}
    cluster.tick(SILENCE_SECONDS)
    cluster.look()
    assert cluster.role("learner")["reason"] == "Unschedulable"


def test_a_claim_that_does_not_exist() -> None:
    storage = {"persistentVolumeClaim": {"claimName": "mine"}}
    cluster = asked(checkpoint={"storage": storage})
    unschedulable(pod(cluster, "learner"), 'persistentvolumeclaim "mine" not found')
    cluster.tick(SILENCE_SECONDS)
    cluster.look()
    assert cluster.role("learner")["reason"] == "VolumePending"
    assert cluster.role("learner")["message"] == 'persistentvolumeclaim "mine" not found'
    assert "claimName" in cluster.condition("Progressing")["message"]


def test_a_pod_without_any_condition() -> None:
    storage = {"persistentVolumeClaim": {"claimName": "mine"}}
    cluster = asked(checkpoint={"storage": storage})
    name = unplaced(cluster, "learner")["metadata"]["name"]
    found = at(cluster, SILENCE_SECONDS, "learner")
    assert found["reason"] == "NotScheduled"
    assert found["message"] == (
        f"pod {name} has no node, and no scheduler says why; it needs the volume claims mine"
    )
    assert "schedulerName" in cluster.condition("Progressing")["message"]


def test_a_pod_whose_node_starts_nothing() -> None:
    cluster = asked()
    found = pod(cluster, "buffer")
    found["spec"]["nodeName"] = "n1"
    found["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
    }
    told = at(cluster, START_SECONDS, "buffer")
    assert told["reason"] == "ContainerCreating"
    assert "its node n1 does not say why" in str(told["message"])


def test_packages_that_take_long_to_install_are_no_problem() -> None:
    cluster = asked()
    found = pod(cluster, "rollout")
    waiting(found, "PodInitializing")
    found["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
    found["status"]["initContainerStatuses"] = [{"name": "i", "state": {"running": {}}}]
    cluster.tick(START_SECONDS)
    cluster.look()
    assert "reason" not in cluster.role("rollout")


def test_a_workload_that_never_gets_pods() -> None:
    cluster = Cluster()
    cluster.look()
    found = at(cluster, SILENCE_SECONDS, "buffer")
    assert found["reason"] == "PodsMissing"
    assert found["message"] == f"StatefulSet {NAME}-buffer has no pods, and nothing says why"


@pytest.mark.parametrize("queue", ["", "team"])
def test_a_job_that_another_program_suspended(queue: str) -> None:
    cluster = Cluster()
    cluster.look()
    job = cluster.objects["Job", f"{NAME}-learner"]
    job["spec"]["suspend"] = True
    job["metadata"]["labels"].update({"kueue.x-k8s.io/queue-name": queue} if queue else {})
    found = at(cluster, SUSPENDED_SECONDS, "learner")
    reason = "JobQueued" if queue else "JobSuspended"
    assert found["reason"] == reason
    how = f"waits in the queue {queue} of Kueue" if queue else "was suspended by another program"
    assert found["message"] == f"Job {NAME}-learner {how}"
    assert "externalFrameworks" in cluster.condition("Progressing")["message"]
    assert cluster.told()[-1] == reason
    # It is left to whoever suspended it.
    assert not cluster.decide().apply
    job["spec"]["suspend"] = False
    cluster.settle()
    assert cluster.status["phase"] == "Starting"


def test_a_buffer_that_does_not_end_is_named_with_its_node() -> None:
    cluster = Cluster().trained()
    (name,) = cluster.named("buffer")
    cluster.delete_pod(name)
    cluster.control()
    cluster.tick(30)
    cluster.look()
    assert cluster.role("buffer")["reason"] == "Terminating"
    assert f"{name} did not terminate" in cluster.role("buffer")["message"]


def test_every_reason_has_something_to_do() -> None:
    text = "".join(map(inspect.getsource, (pending, uncreated, unstarted)))
    reasons = set(re.findall(r'"([A-Z][a-z]+[A-Z][A-Za-z]+)"', text))
    reasons -= {"ReplicaFailure", "PodScheduled", "RegistryUnavailable", "CrashLoopBackOff"}
    reasons -= {"PersistentVolumeClaim", "ProvisioningFailed", "FailedBinding", "Suspended"}
    assert len(reasons) > 15
    assert [reason for reason in sorted(reasons) if not advice.for_reason(reason)] == []
