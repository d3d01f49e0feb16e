"""RLJobs as an API server has them, for the tests of what the client makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rljob.client.job import ClusterJob, JobEvent
from tests.unit.specs import job

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def before(seconds: float) -> str:
    """A moment before NOW, as Kubernetes writes it."""
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": before(30),
        "observedGeneration": 1,
    }


TRAINING: dict[str, Any] = {
    "phase": "Training",
    "observedGeneration": 1,
    "startTime": before(120),
    "conditions": [condition("Ready", "True", "AllRolesReady")],
    "roleStatuses": [
        {
            "name": "rollout",
            "replicas": 2,
            "readyReplicas": 1,
            "restarts": 3,
            "reason": "Unschedulable",
            "message": "0/2 nodes are available:\n2 Insufficient cpu",
        },
        {"name": "buffer", "replicas": 1, "readyReplicas": 1},
        {"name": "learner", "replicas": 1, "readyReplicas": 1, "restarts": 1},
    ],
    "rollout": {"replicas": 2, "selector": "a=b", "ready": "1/2"},
    "learner": {"state": "Running", "failures": 1, "pod": "test-learner-b"},
    "progress": {
        "steps": 81_920,
        "episodes": 700,
        "updates": 3328,
        "meanReturn": 384.25,
        "bestReturn": 391.0,
        "stepsPerSecond": 61_200,
        "updatesPerSecond": 610.2,
        "seconds": 110.0,
    },
    "policy": {"version": 104, "lag": {"p50": 1, "p95": 2, "bound": 4}},
    "buffer": {"fill": 0.12, "rolloutsWaiting": 0.03, "learnerWaiting": 0.09},
    "lastCheckpoint": {
        "step": 80_000,
        "policyVersion": 100,
        "time": before(2),
        "path": "checkpoints/000000000100",
        "sha256": "ab12",
        "verified": True,
    },
    "restarts": 4,
    "lastFailure": {
        "role": "learner",
        "pod": "test-learner-a",
        "reason": "OOMKilled",
        "exitCode": 137,
        "message": "Killed\x1b[31m",
        "time": before(60),
    },
    "provenance": {"rljobVersion": "0.1.0", "seed": 7, "images": {"learner": "a/b@sha256:1"}},
}


def raw(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """The object; `spec` replaces fields of a small job."""
    content = job(**spec)
    metadata = {
        "name": "test",
        "namespace": "rl",
        "uid": "1-2",
        "generation": 1,
        "resourceVersion": "7",
        "creationTimestamp": before(150),
    }
    return {**content, "metadata": metadata} | ({"status": status} if status is not None else {})


def cluster_job(status: dict[str, Any] | None = None, **spec: Any) -> ClusterJob:
    return ClusterJob.of(raw(status, **spec))


def event(message: str, seconds: float = 10, **fields: Any) -> JobEvent:
    """One that happened so many seconds before NOW."""
    return JobEvent.of(
        {
            "metadata": {"uid": message, "creationTimestamp": before(999)},
            "lastTimestamp": before(seconds),
            "reason": "Noticed",
            "message": message,
            **fields,
        }
    )
