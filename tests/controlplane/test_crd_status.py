"""The status of an RLJob, the scale subresource, and what kubectl shows of them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rljob.spec.status import (
    ApplicationsStatus,
    ApplicationStatus,
    BufferStatus,
    CheckpointStatus,
    Condition,
    EvaluationStatus,
    Failure,
    HookStatus,
    LagStatus,
    LearnerStatus,
    Ledger,
    PolicyStatus,
    ProgressStatus,
    Provenance,
    RLJobStatus,
    RoleLedger,
    RoleStatus,
    RolloutStatus,
)
from tests.apiserver import ApiServer
from tests.controlplane.jobs import MERGE, create, path_of, update_status
from tests.unit.specs import job

FULL_STATUS = RLJobStatus(
    phase="Training",
    observed_generation=2,
    conditions=[
        Condition(
            type="Ready",
            status="True",
            reason="AllReady",
            message="All roles are ready.",
            last_transition_time="2024-01-01T00:00:00Z",
            observed_generation=2,
        )
    ],
    role_statuses=[
        RoleStatus(name="rollout", replicas=2, ready_replicas=2, restarts=1),
        RoleStatus(name="buffer", replicas=1, reason="Unschedulable", message="0/3 nodes"),
    ],
    keys_generation=2,
    rollout=RolloutStatus(replicas=2, selector="rljob.dev/role=rollout", ready="2/2"),
    applications=ApplicationsStatus(
        connected=3,
        busiest=[ApplicationStatus(name="shop", connected=3, steps_per_second=5, lag=1, version=2)],
    ),
    learner=LearnerStatus(state="Running", failures=1, pod="test-learner-x"),
    progress=ProgressStatus(
        steps=98_304,
        episodes=2**40,
        updates=3,
        mean_return=452.1,
        best_return=475,
        steps_per_second=48_210,
        updates_per_second=0.5,
        seconds=1.5,
    ),
    policy=PolicyStatus(version=104, lag=LagStatus(p50=1, p95=2, bound=4)),
    buffer=BufferStatus(fill=0.12, dropped=1, duplicates=2, rollouts_waiting=0, learner_waiting=1),
    last_checkpoint=CheckpointStatus(
        step=98_000,
        policy_version=100,
        time="2024-01-01T00:00:00Z",
        path="checkpoints/100",
        sha256="0" * 64,
        verified=True,
    ),
    evaluation=EvaluationStatus(policy_version=104, mean=-1.5, std=0, episodes=10),
    hooks=HookStatus(failures=2, message="a:B.on_end: ValueError", time="2024-01-01T00:00:00Z"),
    provenance=Provenance(
        rljob_version="0.1.0",
        seed=2**63 - 1,
        spec_hash="abc",
        images={"learner": "example.com/learner@sha256:0"},
        versions={"torch": "2.0"},
    ),
    restarts=3,
    last_failure=Failure(
        role="learner", pod="x", reason="OOMKilled", exit_code=137, message="m", time="t"
    ),
    start_time="2024-01-01T00:00:00Z",
    active_seconds=2.5,
    resume_time="2024-01-01T00:00:00Z",
    completion_time="2024-01-01T00:00:00Z",
    ledger=Ledger(
        roles=[RoleLedger(name="rollout", revision="1", newest="t", ties=1, owed=2, containers=3)],
        job="uid",
        job_failures=1,
        reporter="test-learner-x",
    ),
)


def dumped(status: RLJobStatus) -> dict[str, Any]:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def test_the_whole_status_is_kept(apiserver: ApiServer, namespace: str) -> None:
    create(apiserver, job(), namespace)
    answer = update_status(apiserver, namespace, dumped(FULL_STATUS))
    assert answer.status == 200, answer.body
    stored = apiserver.call("GET", path_of(namespace, "test")).body["status"]
    assert stored == dumped(FULL_STATUS)
    assert RLJobStatus.model_validate(stored) == FULL_STATUS


def test_that_status_has_every_field() -> None:
    assert [name for name, value in FULL_STATUS if not value] == []


def test_a_status_is_never_refused(apiserver: ApiServer, namespace: str) -> None:
    """Not one of a later version either, with words that this one does not know."""
    create(apiserver, job(), namespace)
    later = {
        "phase": "Pondering",
        "conditions": [{"type": "New", "status": "Maybe", "reason": "not one word"}],
        "roleStatuses": [{"name": "gateway", "replicas": -1}],
        "lastCheckpoint": {"step": 1},
        "learner": {"state": "x" * 10_000},
    }
    path = path_of(namespace, "test", "status").replace("Strict", "Warn")
    answer = apiserver.call("PATCH", path, {"status": {**later, "new": 1}}, MERGE)
    assert answer.status == 200, answer.body
    assert answer.body["status"] == later


def test_a_status_is_no_business_of_who_writes_the_spec(
    apiserver: ApiServer, namespace: str
) -> None:
    made = create(apiserver, job(), namespace)
    answer = apiserver.call(
        "PUT", path_of(namespace, "test"), {**made, "status": {"phase": "Complete"}}
    )
    assert answer.status == 200, answer.body
    assert "status" not in answer.body


def test_kubectl_scales_the_rollouts(apiserver: ApiServer, namespace: str) -> None:
    create(apiserver, job(rollout={"maxReplicas": 4}), namespace)
    status = {"rollout": {"replicas": 1, "selector": "rljob.dev/role=rollout"}}
    assert update_status(apiserver, namespace, status).status == 200
    done = apiserver.kubectl("-n", namespace, "scale", "rlj/test", "--replicas=4")
    assert done.returncode == 0, done.stderr
    stored = apiserver.call("GET", path_of(namespace, "test")).body
    assert stored["spec"]["rollout"]["replicas"] == 4
    scale = apiserver.call("GET", path_of(namespace, "test", "scale")).body
    assert scale["spec"] == {"replicas": 4}
    assert scale["status"] == {"replicas": 1, "selector": "rljob.dev/role=rollout"}
    for count, words in ((5, "at least replicas"), (0, "greater than or equal to 1")):
        done = apiserver.kubectl("-n", namespace, "scale", "rlj/test", f"--replicas={count}")
        assert done.returncode == 1
        assert words in done.stderr


def test_kubectl_get_shows_how_training_goes(apiserver: ApiServer, namespace: str) -> None:
    create(apiserver, job(), namespace)
    assert update_status(apiserver, namespace, dumped(FULL_STATUS)).status == 200
    for what in ("rlj", "rljob", "rljobs.rljob.dev", "all"):
        shown = apiserver.kubectl("-n", namespace, "get", what).stdout.splitlines()
        assert shown[0].split() == [
            *("NAME", "PHASE", "ROLLOUTS", "APPS", "LEARNER", "STEP", "RETURN"),
            *("STEPS/S", "LAG", "RESTARTS", "AGE"),
        ]
        assert shown[1].split()[1:-1] == [
            *("Training", "2/2", "3", "Running", "98304", "452.1", "48210", "2", "3")
        ]
    wide = apiserver.kubectl("-n", namespace, "get", "rlj", "-o", "wide").stdout.splitlines()
    assert wide[0].split()[-4:] == ["BEST", "BUFFER", "CHECKPOINT", "REASON"]
    assert wide[1].split()[-4:] == ["475", "0.12", "98000", "AllReady"]


EXPLAINED = {
    "rljob": ["A reinforcement-learning training job", "spec", "status"],
    "rljob.spec.rollout": [
        "Workers may be added, removed or lost",
        "replicas",
        "Default: 2.",
        "template",
    ],
    "rlj.spec.environment": ["Gymnasium id", "Cannot be changed once the job exists"],
    "rljobs.spec.algorithm.config": ["`rljob algorithms NAME`, list the known ones"],
    "rljob.spec.learner.template": ["PodTemplateSpec", "`learner`"],
    "rljob.spec.checkpoint.interval": ["Default: 60s."],
    "rljob.spec.cleanPodPolicy": ["Running", "All", "None"],
    "rljob.status.conditions": ["lastTransitionTime", "observedGeneration"],
    "rljob.status.lastCheckpoint": ["sha256", "verified"],
}


@pytest.mark.parametrize("path", EXPLAINED)
def test_kubectl_explains(apiserver: ApiServer, path: str) -> None:
    # The API server publishes the schema a moment after it serves the resource.
    deadline = time.monotonic() + 30
    done = apiserver.kubectl("explain", path)
    while done.returncode and time.monotonic() < deadline:
        time.sleep(0.2)
        done = apiserver.kubectl("explain", path)
    text = " ".join(done.stdout.split())
    for words in EXPLAINED[path]:
        assert words in text
