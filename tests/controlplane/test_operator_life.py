"""A running operator, as its ServiceAccount, on a real API server; the test plays everybody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rljob.kube import names
from rljob.kube.kinds import BY_NAME, EVENT, JOB, POD
from tests.apiserver import ApiServer
from tests.controlplane.operators import Operator, install, running, until
from tests.controlplane.rljobs import (
    ADDRESS,
    BEGAN,
    BUFFER,
    LEARNER,
    MERGE,
    ROLLOUT,
    Job,
    answering,
    hang,
    hashes,
    running_at,
)


@pytest.fixture(scope="module")
def operator(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One that acts on all namespaces, for all tests of this file."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    kubeconfig = install(apiserver)
    with running(kubeconfig, log, "--poll-seconds=0.2", "--status-seconds=0.2") as made:
        yield made.until_ready()
        assert made.stop() == 0
    errors = [line for line in made.lines() if line["level"] == "error"]
    assert not errors


@pytest.fixture
def job(operator: Operator, apiserver: ApiServer, namespace: str) -> Job:
    return Job(apiserver, namespace)


def replicas(job: Job) -> Any:
    found = job.children().get(ROLLOUT)
    return found and found["spec"]["replicas"]


def test_an_applied_job_gets_its_children_and_a_status(job: Job) -> None:
    uid = job.create()["metadata"]["uid"]
    until(job.complete, "all children")
    for child in job.children().values():
        (reference,) = child["metadata"]["ownerReferences"]
        assert reference["uid"] == uid
        assert reference["controller"] is True
    until(lambda: job.status().get("phase"), "a phase")
    found = job.get()
    assert found is not None
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    # Nothing of ours but the status is on the user's object.
    assert "finalizers" not in found["metadata"]
    assert "annotations" not in found["metadata"]
    managers = {m["manager"]: m.get("subresource") for m in found["metadata"]["managedFields"]}
    assert managers[names.FIELD_MANAGER] == "status"


def test_the_keys_are_those_of_four_roles_and_stay(job: Job) -> None:
    job.create()
    until(job.complete, "all children")
    secret = job.get(BY_NAME["Secret"], "x-keys")
    assert secret is not None
    roles = ("rollout", "buffer", "learner", "evaluator")
    keys = {f"{role}.{part}" for role in roles for part in ("public", "secret")}
    assert set(secret["data"]) == {*keys, names.STATE_TOKEN}
    assert len(set(secret["data"].values())) == 9
    assert secret["metadata"]["ownerReferences"][0]["name"] == "x"


def test_events_are_shown_by_describe(job: Job) -> None:
    job.create()
    until(job.events, "an Event about the job")
    text = job.server.kubectl("describe", "-n", job.namespace, "rlj", "x").stdout
    table = text[text.index("Events:") :]
    assert job.events()[0]["reason"] in table
    assert names.FIELD_MANAGER in table


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Deployment", "x-rollout"),
        ("StatefulSet", "x-buffer"),
        ("Job", "x-learner"),
        ("Service", "x-buffer"),
        ("ConfigMap", "x-job"),
        ("NetworkPolicy", "x-learner"),
        ("PodDisruptionBudget", "x-learner"),
        ("PersistentVolumeClaim", "x-checkpoints"),
    ],
)
def test_a_child_that_is_deleted_comes_back(job: Job, kind: str, name: str) -> None:
    job.create()
    until(job.complete, "all children")
    uid = job.children()[kind, name]["metadata"]["uid"]
    path = BY_NAME[kind].path(job.namespace, name)
    if kind == "PersistentVolumeClaim":
        # Kubernetes protects claims; no controller here takes the protection away.
        job.patch(BY_NAME[kind], name, {"metadata": {"finalizers": None}})
    job.server.call("DELETE", path, {"propagationPolicy": "Background"})

    def back() -> bool:
        found = job.children().get((kind, name))
        return found is not None and found["metadata"]["uid"] != uid

    until(back, f"another {kind} {name}")
    until(job.complete, "all children as they should be")


def test_an_edited_child_is_put_right_and_what_others_add_stays(job: Job) -> None:
    job.create()
    until(job.complete, "all children")
    job.patch(BY_NAME["Service"], "x-buffer", {"metadata": {"labels": {"team": "blue"}}})
    job.patch(BY_NAME["Deployment"], "x-rollout", {"spec": {"replicas": 7}})
    job.patch(BY_NAME["ConfigMap"], "x-job", {"data": {"job.yaml": "broken"}})
    until(lambda: replicas(job) == 2, "two rollouts again")
    until(
        lambda: job.children()["ConfigMap", "x-job"]["data"]["job.yaml"] != "broken",
        "the true job.yaml",
    )
    assert job.children()["Service", "x-buffer"]["metadata"]["labels"]["team"] == "blue"


def test_rollouts_follow_the_scale_subresource(job: Job) -> None:
    job.create()
    until(job.complete, "all children")
    learner = job.children()[LEARNER]["metadata"]
    for count in (5, 1):
        done = job.server.kubectl("scale", "-n", job.namespace, "rlj/x", f"--replicas={count}")
        assert done.returncode == 0, done.stderr
        until(lambda wanted=count: replicas(job) == wanted, f"{count} rollouts")
    # It restarts nothing.
    assert job.children()[LEARNER]["metadata"]["uid"] == learner["uid"]


def test_suspend_and_resume(job: Job) -> None:
    job.create()
    until(job.complete, "all children")
    kept = {key for key in job.children() if key not in (LEARNER, ROLLOUT, BUFFER)}
    job.edit(suspend=True)
    until(lambda: set(job.children()) == kept, "no workload is left")
    until(lambda: job.status().get("phase") == "Suspended", "the phase Suspended")
    job.edit(suspend=False)
    until(job.complete, "all children again")
    until(lambda: job.status().get("phase") != "Suspended", "another phase")


def test_what_an_edit_made_useless_goes(job: Job) -> None:
    job.create(evaluation={"interval": "1s"})
    until(job.complete, "all children")
    useless = {("Deployment", "x-evaluator"), ("NetworkPolicy", "x-evaluator")}
    assert useless <= set(job.children())
    job.edit(evaluation=None)
    until(lambda: not useless & set(job.children()), "they are gone")
    until(job.complete, "all other children as they should be")


def test_a_template_that_the_api_server_refuses_is_reported_and_not_looped_on(
    job: Job, operator: Operator
) -> None:
    job.create(rollout={"replicas": 2, "template": {"spec": {"restartPolicy": "Never"}}})
    until(lambda: job.status().get("conditions"), "conditions")

    def told() -> bool:
        return "restartPolicy" in json.dumps(job.status())

    until(told, "the status has the API server's words")
    refused = {"verb": "apply", "resource": "deployments", "code": "422"}
    before = operator.metric("api_requests_total", **refused)
    # Whatever happens to the job meanwhile, it is not sent again.
    for count in range(5):
        job.patch(JOB, "x", {"metadata": {"labels": {"count": str(count)}}})
    until(lambda: operator.metric("queue_depth") == 0, "an empty queue")
    assert operator.metric("api_requests_total", **refused) <= before + 1
    job.edit(rollout={"template": None})
    until(job.complete, "all children once the template is mended")
    until(lambda: "restartPolicy" not in json.dumps(job.status()), "a status without complaint")


def test_a_quota_is_told_of_and_waited_for(job: Job) -> None:
    path = f"/api/v1/namespaces/{job.namespace}/resourcequotas"
    count = "count/jobs.batch"
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {count: "0"}}}
    assert job.server.call("POST", path, quota).status == 201

    def limit(jobs: str) -> None:
        status = {"status": {"hard": {count: jobs}, "used": {count: "0"}}}
        assert job.server.call("PATCH", f"{path}/q/status", status, MERGE).status == 200

    limit("0")
    job.create()
    until(lambda: "exceeded quota" in json.dumps(job.status()), "the status tells of the quota")
    assert ROLLOUT in job.children()
    limit("1")
    until(job.complete, "all children once there is room")


END = {"outcome": "Complete", "reason": "StopSteps", "message": "done"}


def test_the_end_of_a_learner_ends_the_job(job: Job) -> None:
    job.create()
    until(job.complete, "all children")
    job.end_learner({**END, "report": {"progress": {"steps": 1000, "meanReturn": 200.5}}})
    until(lambda: job.status().get("phase") == "Complete", "the phase Complete")
    assert job.status()["progress"]["steps"] == 1000
    wait = ("wait", "-n", job.namespace, "--for=condition=Complete", "rlj/x", "--timeout=60s")
    assert job.server.kubectl(*wait).returncode == 0


def test_a_finished_job_goes_when_its_time_is_over(job: Job) -> None:
    job.create(ttlSecondsAfterFinished=1)
    until(job.complete, "all children")
    job.end_learner(END)
    until(lambda: job.get() is None, "the job is gone")


def test_a_job_that_is_deleted_is_left_alone(job: Job) -> None:
    """Without a garbage collector its children stay, and nobody makes them anew."""
    job.create()
    until(job.complete, "all children")
    job.delete()
    job.server.call("DELETE", BY_NAME["Service"].path(job.namespace, "x-buffer"))
    other = Job(job.server, job.namespace, "y")
    other.create()
    until(other.complete, "the children of a later job")
    assert ("Service", "x-buffer") not in job.children()


def test_keys_that_somebody_deleted_are_made_anew_when_a_pod_misses_them(job: Job) -> None:
    job.create()
    until(job.complete, "all children")
    secret = BY_NAME["Secret"]
    job.server.call("DELETE", secret.path(job.namespace, "x-keys"))
    now = "2026-01-01T00:00:00Z"
    event = {
        "metadata": {"name": "missed"},
        "type": "Warning",
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "keys" : secret "x-keys" not found',
        "involvedObject": {"kind": "Pod", "name": "x-learner-abcde", "namespace": job.namespace},
        "firstTimestamp": now,
        "lastTimestamp": now,
    }
    assert job.server.call("POST", EVENT.path(job.namespace), event).status == 201
    until(lambda: job.get(secret, "x-keys"), "the Secret again")


def test_a_running_learner_is_asked_how_it_goes(job: Job) -> None:
    job.create()
    until(job.complete, "all children")
    secret = job.get(BY_NAME["Secret"], names.keys_secret(job.name))
    assert secret is not None
    with answering() as learner:
        learner.token = base64.b64decode(secret["data"][names.STATE_TOKEN]).decode()
        learner.steps = 64
        job.learner_pod(running_at(ADDRESS))
        for steps in (64, 128):
            learner.steps = steps
            until(
                lambda wanted=steps: (job.status().get("progress") or {}).get("steps") == wanted,
                f"{steps} steps in the status",
            )
    job.server.call("DELETE", POD.path(job.namespace, "x-learner-abcde"))


def test_progress_forgives_failures_of_the_learner(job: Job) -> None:
    """Its Job gets as many failures again; the API server takes the higher limit."""
    job.create(backoffLimit=1)
    until(job.complete, "all children")

    def failures() -> Any:
        return (job.status().get("learner") or {}).get("failures")

    def limit() -> Any:
        return job.children()[LEARNER]["spec"]["backoffLimit"]

    with answering() as learner:
        learner.saved = 10
        job.learner_pod(running_at(ADDRESS))
        until(lambda: "lastCheckpoint" in job.status(), "a checkpoint in the status")
        failed = {"status": {"failed": 1, "startTime": BEGAN}}
        job.patch(BY_NAME["Job"], "x-learner", failed, "status")
        until(lambda: failures() == 1, "a failure in the status")
        assert limit() == 1
        learner.saved = 20
        until(lambda: limit() == 2, "a higher limit")
        until(lambda: failures() == 0, "a failure that is forgiven")
    job.server.call("DELETE", POD.path(job.namespace, "x-learner-abcde"))


def _told(job: Job, reason: str) -> list[dict[str, Any]]:
    return [event for event in job.events() if event["reason"] == reason]


def test_a_rollout_that_hangs_is_told_of_and_replaced(job: Job) -> None:
    job.create(stall={"timeout": "1s", "policy": "Restart"})
    until(job.complete, "all children")
    with answering():
        hang(job)
        until(lambda: job.get(POD, "x-rollout-a") is None, "the pod is gone")
    until(lambda: _told(job, "EnvironmentHung"), "an Event of it")
    (told,) = _told(job, "EnvironmentHung")
    assert told["message"].startswith("x-rollout-a does not answer")
    assert job.status()["lastFailure"]["pod"] == "x-rollout-a"
    for name in ("x-learner-abcde", "x-buffer-0"):
        job.server.call("DELETE", POD.path(job.namespace, name))


def _order(job: Job) -> tuple[int, int]:
    config = job.get(BY_NAME["ConfigMap"], names.keys_in_use("x"))
    assert config is not None
    order = json.loads(config["data"]["keys.json"])
    return order["oldest"], order["current"]


def _keys_current(job: Job) -> tuple[str, str]:
    conditions = job.status().get("conditions", ())
    found = next(one for one in conditions if one["type"] == "KeysCurrent")
    return found["status"], found["reason"]


def test_keys_change_while_pods_run(job: Job) -> None:
    job.create()
    until(job.complete, "all children")
    pods = {"x-learner-abcde": LEARNER, "x-buffer-0": BUFFER, "x-rollout-a": ROLLOUT}
    with answering() as roles:
        roles.keys = {"known": 1, "current": 1, "oldest": 1}
        for name, workload in pods.items():
            role = workload[1].removeprefix("x-")
            job.pod(workload, running_at(ADDRESS, role), name)
        before = hashes(list(job.children().values()))
        job.patch(JOB, "x", {"metadata": {"annotations": {names.KEYS_ANNOTATION: "2"}}})
        until(lambda: job.get(BY_NAME["Secret"], "x-keys-2"), "the second Secret")
        until(lambda: _keys_current(job) == ("False", "Distributing"), "the condition")
        assert _order(job) == (1, 1)
        roles.keys = {"known": 2, "current": 1, "oldest": 1}
        until(lambda: _order(job) == (1, 2), "pods are told to use the new keys")
        roles.keys = {"known": 2, "current": 2, "oldest": 1}
        until(lambda: _order(job) == (2, 2), "pods are told to refuse the old keys")
        roles.keys = {"known": 2, "current": 2, "oldest": 2}
        until(lambda: _keys_current(job) == ("True", "Current"), "the end")
        assert job.status()["keysGeneration"] == 2
    until(lambda: _told(job, "KeysRotated"), "an Event of the end")
    assert len(_told(job, "KeysRotating")) == 1
    after = hashes(list(job.children().values()))
    assert {key for key in before if before[key] != after[key]} == {
        ("ConfigMap", "x-keys-in-use")
    }, "pods stay as they are"
    first, second = (job.get(BY_NAME["Secret"], name) for name in ("x-keys", "x-keys-2"))
    assert first is not None
    assert second is not None
    assert {name for name in first["data"] if first["data"][name] == second["data"][name]} == {
        names.STATE_TOKEN
    }, "the token is the job's, the keys are new"
    for name in pods:
        job.server.call("DELETE", POD.path(job.namespace, name))


def test_logs_hold_no_keys(job: Job, operator: Operator) -> None:
    job.create()
    until(job.complete, "all children")
    secret = job.get(BY_NAME["Secret"], "x-keys")
    assert secret is not None
    text = operator.text()
    assert not any(value in text for value in secret["data"].values())


def test_metrics(job: Job, operator: Operator) -> None:
    job.create()
    until(job.complete, "all children")
    until(lambda: operator.metric("jobs", phase=job.status()["phase"]) >= 1, "jobs by phase")
    assert operator.leads()
    assert operator.metric("reconcile_seconds_count") > 0
    assert operator.metric("api_requests_total", verb="apply", resource="jobs", code="201") > 0
    assert operator.metric("watch_last_event_age_seconds", resource="rljobs") < 60
    assert operator.get("/healthz") == (200, "ok\n")
    assert operator.get("/nothing")[0] == 404


def test_the_log_names_the_job(job: Job, operator: Operator, tmp_path: Path) -> None:
    job.create()
    until(job.complete, "all children")
    about = [line for line in operator.lines() if line.get("namespace") == job.namespace]
    assert {line["job"] for line in about} == {"x"}
