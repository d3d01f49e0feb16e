"""Why pods are not ready: from what Kubernetes says, in one word and a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from rljob.kube.kinds import Manifest
from tests.unit.operator.cluster import NAME, SETTINGS, Cluster, quiet

GRACE = SETTINGS.pending_grace_seconds


def asked(**changes: Any) -> Cluster:
    """A job whose pods exist and have not started."""
    cluster = Cluster(**changes)
    cluster.look()
    cluster.control()
    return cluster


def pod(cluster: Cluster, role: str = "rollout") -> Manifest:
    """The first pod of a role; the others are taken out of the way by starting them."""
    for name in [*cluster.pods]:
        if name != cluster.named(role)[0]:
            cluster.start_pod(name)
    return cluster.pods[cluster.named(role)[0]]


def waiting(found: Manifest, reason: str, message: str = "") -> None:
    found["status"]["containerStatuses"][0]["state"] = {
        "waiting": {"reason": reason, "message": message}
    }


def unschedulable(found: Manifest, message: str, reason: str = "Unschedulable") -> None:
    found["status"]["containerStatuses"] = []
    found["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    ]


def warn(cluster: Cluster, reason: str, about: Manifest, message: str, at: str = "1") -> None:
    cluster.warnings.append(
        {
            "kind": "Event",
            "type": "Warning",
            "reason": reason,
            "message": message,
            "lastTimestamp": at,
            "involvedObject": {"kind": about["kind"], "uid": about["metadata"]["uid"]},
        }
    )


def told(cluster: Cluster, role: str = "rollout") -> tuple[str | None, str | None]:
    """Reason and message of a role after a look."""
    cluster.tick(GRACE)
    cluster.look()
    found = cluster.role(role)
    return found.get("reason"), found.get("message")


@pytest.mark.parametrize(
    ("reason", "message", "as_reason", "as_message"),
    [
        (
            "ErrImagePull",
            "failed to pull: registry.invalid: no such host",
            "ImagePullBackOff",
            "cannot pull image rljob/any:1: failed to pull: registry.invalid: no such host",
        ),
        (
            "ImagePullBackOff",
            'Back-off pulling image "a": ErrImagePull: failed to pull: registry.invalid: no such host',
            "ImagePullBackOff",
            "cannot pull image rljob/any:1: failed to pull: registry.invalid: no such host",
        ),
        (
            "ImagePullBackOff",
            'Back-off pulling image "rljob/any:1"',
            "ImagePullBackOff",
            "cannot pull image rljob/any:1",
        ),
        (
            "InvalidImageName",
            "couldn't parse image reference",
            "InvalidImageName",
            "couldn't parse image reference",
        ),
        (
            "CreateContainerConfigError",
            'secret "gone" not found',
            "CreateContainerConfigError",
            'secret "gone" not found',
        ),
    ],
)
def test_container_that_cannot_start_is_told_at_once(
    reason: str, message: str, as_reason: str, as_message: str
) -> None:
    cluster = asked()
    waiting(pod(cluster), reason, message)
    cluster.look()
    found = cluster.role("rollout")
    assert (found["reason"], found["message"]) == (as_reason, as_message)


def test_the_two_words_for_an_image_that_is_not_there_are_one() -> None:
    """They take turns for ever: that is no change of the status and no Event."""
    cluster = asked(rollout={"replicas": 1})
    found = pod(cluster)
    waiting(found, "ErrImagePull", "not found")
    cluster.look()
    cluster.look()
    waiting(found, "ImagePullBackOff", 'Back-off pulling image "a": ErrImagePull: not found')
    assert quiet(cluster.decide())


def test_unschedulable_pod_is_told_after_a_while_with_the_schedulers_words() -> None:
    cluster = asked(rollout={"replicas": 1})
    unschedulable(pod(cluster), "0/3 nodes are available: 3 Insufficient cpu.")
    decision = cluster.look()
    assert "reason" not in cluster.role("rollout")
    assert decision.requeue_after == GRACE
    cluster.tick(decision.requeue_after)
    cluster.look()
    assert cluster.role("rollout")["reason"] == "Unschedulable"
    assert cluster.role("rollout")["message"] == "0/3 nodes are available: 3 Insufficient cpu."
    assert cluster.status["phase"] == "Pending"
    for kind in ("Ready", "Progressing"):
        found = cluster.condition(kind)
        assert (found["status"], found["reason"]) == ("False", "Unschedulable")
        assert found["message"].startswith(
            "rollout: 0/3 nodes are available: 3 Insufficient cpu (since 2026-01-31T12:00:00Z); lower the "
        )
    assert cluster.notices[-1].reason == "Unschedulable"
    assert cluster.notices[-1].type == "Warning"


def test_one_rollout_too_many_does_not_hold_up_training() -> None:
    cluster = Cluster().trained()
    cluster.edit(rollout={"replicas": 3})
    cluster.look()
    cluster.control()
    unschedulable(cluster.pods[cluster.named("rollout")[-1]], "no room")
    assert told(cluster) == ("Unschedulable", "no room")
    assert cluster.status["phase"] == "Training"
    assert cluster.condition("Progressing")["status"] == "True"
    assert cluster.condition("Ready")["status"] == "True"
    assert cluster.status["rollout"]["ready"] == "2/3"


def test_scheduling_gate() -> None:
    cluster = asked()
    unschedulable(pod(cluster), "waiting for a gate", reason="SchedulingGated")
    assert told(cluster) == ("SchedulingGated", "waiting for a gate")


def test_failing_init_container_tells_its_last_line() -> None:
    cluster = asked()
    found = pod(cluster)
    found["status"]["initContainerStatuses"] = [
        {
            "name": "rljob-requirements",
            "restartCount": 1,
            "ready": False,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s …"}},
            "lastState": {
                "terminated": {
                    "exitCode": 1,
                    "reason": "Error",
                    "message": "Collecting\nERROR: No matching distribution\n",
                    "finishedAt": cluster.stamp(),
                }
            },
        }
    ]
    assert told(cluster) == (
        "InitContainerFailed",
        "init container rljob-requirements: ERROR: No matching distribution (exit code 1)",
    )
    assert cluster.status["lastFailure"]["message"].startswith("ERROR: No matching")


def test_init_container_that_did_its_work_in_the_end_is_not_to_blame() -> None:
    cluster = asked()
    found = pod(cluster)
    found["status"]["initContainerStatuses"] = [
        {
            "name": "rljob-requirements",
            "restartCount": 1,
            "ready": True,
            "state": {"terminated": {"exitCode": 0, "finishedAt": cluster.stamp(1)}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": cluster.stamp()}},
        }
    ]
    assert told(cluster) == (None, None)


def test_crash_loop_is_told_also_while_it_runs_again() -> None:
    cluster = asked(rollout={"replicas": 1})
    found = pod(cluster)
    name = found["metadata"]["name"]
    cluster.start_pod(name)
    found["status"]["conditions"][-1]["status"] = "False"
    cluster.crash(name, "ImportError: no module named mine")
    assert told(cluster) == (None, None)
    expected = ("CrashLoopBackOff", "ImportError: no module named mine (exit code 1)")
    cluster.crash(name, "ImportError: no module named mine")
    assert told(cluster) == expected
    container = found["status"]["containerStatuses"][0]
    container["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s …"}}
    assert told(cluster) == expected


def test_sidecar_is_named() -> None:
    cluster = asked()
    found = pod(cluster)
    sidecar = {
        "name": "proxy",
        "image": "mesh:1",
        "state": {"waiting": {"reason": "CreateContainerError", "message": "no"}},
    }
    found["status"]["containerStatuses"].append(sidecar)
    assert told(cluster) == ("CreateContainerError", "container proxy: no")


def test_worst_reason_is_told() -> None:
    cluster = asked(rollout={"replicas": 2})
    first, second = cluster.named("rollout")
    unschedulable(cluster.pods[first], "no room")
    waiting(cluster.pods[second], "InvalidImageName", "bad")
    assert told(cluster)[0] == "InvalidImageName"


def test_volume_that_is_not_provided() -> None:
    cluster = asked()
    unschedulable(pod(cluster, "learner"), "pod has unbound immediate PersistentVolumeClaims")
    claim = cluster.objects["PersistentVolumeClaim", f"{NAME}-checkpoints"]
    claim["status"] = {"phase": "Pending"}
    warn(cluster, "ProvisioningFailed", claim, 'storageclass "fast" not found', at="2")
    warn(cluster, "ProvisioningFailed", claim, "an older one", at="1")
    assert told(cluster, "learner") == (
        "VolumePending",
        f'volume claim {NAME}-checkpoints: storageclass "fast" not found',
    )
    claim["status"] = {"phase": "Bound"}
    assert told(cluster, "learner")[0] == "Unschedulable"


def test_volume_that_is_not_mounted() -> None:
    cluster = asked()
    found = pod(cluster, "buffer")
    found["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
    message = 'MountVolume.SetUp failed for volume "v": configmap "not-there" not found'
    warn(cluster, "FailedMount", found, message)
    assert told(cluster, "buffer") == ("FailedMount", message)


QUOTA = "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"


def test_quota_on_a_deployment() -> None:
    cluster = Cluster()
    cluster.look()
    child = cluster.objects["Deployment", f"{NAME}-rollout"]
    for name in ("x-rollout-abc-1", "x-rollout-abc-2"):
        child["status"]["conditions"] = [
            {
                "type": "ReplicaFailure",
                "status": "True",
                "reason": "FailedCreate",
                "message": f'pods "{name}" is forbidden: {QUOTA}',
            }
        ]
        # Each attempt has another name: that is no news.
        assert told(cluster) == ("QuotaExceeded", QUOTA)
    assert cluster.told().count("QuotaExceeded") == 1


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (f'create Pod x-0 failed error: pods "x-0" is forbidden: {QUOTA}', "QuotaExceeded", QUOTA),
        (
            'Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest": host',
            "Forbidden",
            'violates PodSecurity "restricted:latest": host',
        ),
        (
            'Error creating: Pod "x" is invalid: spec.priorityClassName: Forbidden: no',
            "InvalidTemplate",
            'Error creating: Pod "x" is invalid: spec.priorityClassName: Forbidden: no',
        ),
        ("Error creating: no idea", "FailedCreate", "Error creating: no idea"),
    ],
)
@pytest.mark.parametrize("role", ["buffer", "learner"])
def test_pod_that_is_not_created(message: str, reason: str, words: str, role: str) -> None:
    cluster = Cluster()
    cluster.look()
    kind = {"buffer": "StatefulSet", "learner": "Job"}[role]
    child = cluster.objects[kind, f"{NAME}-{role}"]
    warn(cluster, "FailedCreate", {**child, "metadata": {"uid": "of another one"}}, "not mine")
    assert told(cluster, role) == (None, None)
    warn(cluster, "FailedCreate", child, message)
    assert told(cluster, role) == (reason, words)
    # Once there is a pod, an old warning says nothing.
    cluster.control()
    assert told(cluster, role) == (None, None)


def test_learner_that_does_not_end_is_named_with_its_node() -> None:
    cluster = Cluster().trained()
    (name,) = cluster.named("learner")
    cluster.edit(learner={"template": {"metadata": {"labels": {"team": "blue"}}}})
    cluster.look()
    decision = cluster.look()
    assert decision.requeue_after is not None
    cluster.tick(decision.requeue_after)
    cluster.tick(30)
    cluster.look()
    assert cluster.role("learner")["reason"] == "Terminating"
    assert name in cluster.role("learner")["message"]
    assert "node node may be lost" in cluster.role("learner")["message"]


def test_learner_that_waits_for_its_next_attempt_tells_of_the_last_one() -> None:
    cluster = Cluster().trained()
    cluster.end_pod(cluster.named("learner")[0], 137)
    cluster.look()
    assert cluster.role("learner")["reason"] == "Error"
    assert cluster.role("learner")["message"] == (
        "waiting to be restarted; last failure: ended with exit code 137"
    )
    assert cluster.status["learner"]["state"] == "Restarting"
    assert cluster.status["phase"] == "Pending"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            'Deployment in version "v1" cannot be handled as a Deployment: quantities must match',
            "InvalidTemplate",
        ),
        ('StatefulSet.apps "x" is invalid: spec: Forbidden: updates to it', "InvalidTemplate"),
        ('deployments.apps "x" is forbidden: User "me" cannot patch it', "Forbidden"),
        ('deployments.apps "x" is forbidden: exceeded quota: d', "QuotaExceeded"),
    ],
)
def test_refused_child_is_told_and_healed(message: str, reason: str) -> None:
    cluster = Cluster()
    cluster.refuse = lambda m: message if m["kind"] == "Deployment" else None
    cluster.look()
    cluster.look()
    assert cluster.role("rollout")["reason"] == reason
    for kind, status in (("Progressing", "False"), ("Degraded", "True")):
        found = cluster.condition(kind)
        assert (found["status"], found["reason"]) == (status, reason)
        assert found["message"] == f"Deployment {NAME}-rollout: {message}"
    assert cluster.status["phase"] == "Pending"
    assert cluster.told() == ["Created", reason]
    # Nothing new is said for as long as it stays so, and what can be made was made.
    decision = cluster.look()
    assert [manifest["kind"] for manifest in decision.apply] == ["Deployment"]
    assert not decision.notices
    assert not decision.write_status
    cluster.refuse = lambda _: None
    cluster.settle()
    assert cluster.condition("Degraded")["status"] == "False"
    assert cluster.status["phase"] == "Starting"
