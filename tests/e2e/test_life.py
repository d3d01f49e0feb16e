"""Suspend, resume, scale, deadlines, the end and what is left after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.jobs import endless
from tests.e2e.kube import Namespace, command, kubectl, owned, until
from tests.oracle import judge

KINDS = (
    "pods", "deployments", "statefulsets", "jobs", "services", "configmaps", "secrets", "pvc",
    "networkpolicies", "pdb",
)  # fmt: skip


def test_suspend_and_resume(namespace: Namespace, tmp_path: Path) -> None:
    """All pods go after a checkpoint; what comes back goes on at that step with those weights."""
    namespace.apply(endless())
    job = namespace.job("x")
    job.until_trains(300)
    assert namespace.rljob("suspend", "x").returncode == 0
    job.wait("Suspended")
    assert job.pods() == []
    status = job.status()
    saved = status["lastCheckpoint"]
    assert saved["step"] == status["progress"]["steps"]
    version = saved["policyVersion"]

    fetched = namespace.rljob("get-policy", "x", "--out", str(tmp_path / "policy"), timeout=180)
    assert fetched.returncode == 0, fetched.stderr

    assert namespace.rljob("resume", "x").returncode == 0
    status = job.until(lambda s: s["phase"] == "Training", "training again")
    assert status["progress"]["steps"] >= saved["step"]
    assert status["policy"]["version"] >= version
    log = namespace.run("logs", job.pod("learner")["metadata"]["name"])
    assert f"resuming from /var/lib/rljob/{saved['path']}" in log, log
    assert {"Suspended", "Resumed"} <= job.reasons()


def test_created_suspended_starts_nothing(namespace: Namespace) -> None:
    namespace.apply(endless(suspend=True))
    job = namespace.job("x")
    job.wait("Suspended")
    assert job.pods() == []
    namespace.patch("rljob", "x", {"spec": {"suspend": False}})
    job.until_trains()


def test_active_deadline(namespace: Namespace) -> None:
    namespace.apply(endless(activeDeadlineSeconds=15))
    job = namespace.job("x")
    job.wait("Failed")
    assert job.condition("Failed")["reason"] == "DeadlineExceeded"
    until(lambda: not job.pods(alive=True), "no pod runs on")


def test_ttl_and_deletion_leave_nothing(namespace: Namespace) -> None:
    """The job deletes itself, and with it all that it had made."""
    namespace.apply(endless(stop={"steps": 200}, ttlSecondsAfterFinished=3))
    until(lambda: owned(namespace.job("x"), ["pods"]), "pods")
    until(lambda: namespace.get("rljob", "x") is None, "the job deletes itself")
    until(lambda: not owned(namespace.job("x"), KINDS), "nothing is left")


def test_deletion_while_training(namespace: Namespace) -> None:
    """Deleted in the middle: nothing is left, and a job of the same name starts afresh."""
    retained = {"storage": {"volumeClaimTemplate": {"size": "100Mi", "whenDeleted": "Retain"}}}
    namespace.apply(endless(checkpoint={"interval": "5s", **retained}))
    job = namespace.job("x")
    job.until_trains()
    namespace.run("delete", "rlj", "x")
    until(
        lambda: [name for name in owned(job, KINDS) if not name.startswith("Persistent")] == [],
        "nothing but the volume that was to be kept",
    )
    assert len(owned(job, ["pvc"])) == 1


def test_clean_pod_policy_all(namespace: Namespace) -> None:
    namespace.apply(endless(stop={"steps": 200}, cleanPodPolicy="All"))
    job = namespace.job("x")
    job.wait("Complete")
    until(lambda: not job.pods(), "no pod is left")


def test_scale_up_and_down(namespace: Namespace) -> None:
    """`kubectl scale` while training: rollouts come and go, the learner stays."""
    namespace.apply(endless(rollout={"replicas": 1, "envsPerReplica": 4, "maxReplicas": 8}))
    job = namespace.job("x")
    job.until_trains()
    learner = job.pod("learner")["metadata"]["uid"]
    for replicas in (4, 1):
        namespace.run("scale", "rlj/x", f"--replicas={replicas}")
        wanted = f"{replicas}/{replicas}"
        job.until(lambda s, w=wanted: s["rollout"]["ready"] == w, f"{wanted} ready")  # type: ignore[misc]
        until(lambda n=replicas: len(job.pods("rollout")) == n, f"{replicas} pods")
        job.until_trains(job.steps())
    status = job.status()
    assert job.pod("learner")["metadata"]["uid"] == learner
    assert status["learner"]["failures"] == 0
    scale = json.loads(
        namespace.run(
            "get", "--raw", f"/apis/rljob.dev/v1alpha1/namespaces/{namespace.name}/rljobs/x/scale"
        )
    )
    assert scale["status"]["replicas"] == 1
    assert "rljob.dev/role=rollout" in scale["status"]["selector"]


def test_scaling_loses_and_doubles_nothing(namespace: Namespace, tmp_path: Path) -> None:
    """Every segment that a rollout was told is safe is stored once and trained on once."""
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "trace"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "100Mi"}},
            },
        }
    )
    roles: dict[str, Any] = {
        role: {"template": traced(role)} for role in ("rollout", "buffer", "learner")
    }
    roles["rollout"] |= {"replicas": 1, "envsPerReplica": 4}
    namespace.apply(endless(**roles))
    job = namespace.job("x")
    job.until_trains()
    for replicas in (4, 1):
        namespace.run("scale", "rlj/x", f"--replicas={replicas}")
        until(
            lambda n=replicas: len(job.pods("rollout")) == job.ready("rollout") == n, f"{replicas}"
        )
        job.until_trains(job.steps())
    namespace.patch("rljob", "x", {"spec": {"suspend": True}})
    job.wait("Suspended")

    claim = namespace.get("pvc", "trace")
    assert claim is not None
    volume = json.loads(kubectl("get", "pv", claim["spec"]["volumeName"], "-o", "json"))
    folder = (volume["spec"].get("hostPath") or volume["spec"]["local"])["path"]
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    node = terms[0]["matchExpressions"][0]["values"][0]
    done = command("docker", "cp", f"{node}:{folder}", str(tmp_path / "traces"))
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "traces").glob("x-rollout-*.trace"))) == 4
    judged = judge(tmp_path / "traces", least=50)
    assert judged.verdict == "valid", str(judged)


def traced(role: str) -> dict[str, Any]:
    """A template whose container records every segment on a volume that all roles share."""
    claim = {"name": "trace", "persistentVolumeClaim": {"claimName": "trace"}}
    container = {
        "name": role,
        "env": [{"name": "RLJOB_TRACE", "value": "/trace"}],
        "volumeMounts": [{"name": "trace", "mountPath": "/trace"}],
    }
    return {"spec": {"containers": [container], "volumes": [claim]}}
