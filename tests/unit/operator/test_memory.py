"""Roles that run out of memory again and again, and what counts as their last words."""

from __future__ import annotations

from typing import Any

import pytest

from rljob_operator.decide.job_resources import ContainerEnd
from rljob_operator.decide.memory import MOST_SECONDS
from rljob_operator.decide.status import endings
from tests.unit.operator.cluster import Cluster

LOGGED = "12:00:00 x-rollout-1 INFO metrics at http://0.0.0.0:9090/metrics"
RAISE = "raise resources.limits.memory of the container rollout in spec.rollout.template"


def limited(role: str = "rollout", memory: str = "200Mi") -> dict[str, Any]:
    container = {"name": role, "resources": {"limits": {"memory": memory}}}
    return {"template": {"spec": {"containers": [container]}}}


def kill(cluster: Cluster, name: str, times: int = 1) -> None:
    """The kernel ends a container that is started again at once, every 15 s."""
    for _ in range(times):
        cluster.tick(15)
        cluster.crash(name, LOGGED, 137, "OOMKilled")
        cluster.look()


def test_a_ready_role_that_runs_out_of_memory_is_told_with_limit_times_and_remedy() -> None:
    cluster = Cluster(rollout={"replicas": 2, **limited()}).trained()
    name = cluster.named("rollout")[0]
    created = cluster.pods[name]["metadata"]["creationTimestamp"]
    kill(cluster, name)
    assert "reason" not in cluster.role("rollout")
    kill(cluster, name, 5)

    role = cluster.role("rollout")
    assert role["readyReplicas"] == 2
    assert role["reason"] == "OOMKilled"
    assert role["message"].startswith("out of memory: limit 200Mi, 6 restarts in ")
    found = cluster.condition("Degraded")
    assert (found["status"], found["reason"]) == ("True", "OOMKilled")
    assert found["message"].startswith("rollout: out of memory: limit 200Mi, 6 restarts in ")
    assert f"(since {created}); {RAISE}" in found["message"]
    # The Event is the condition's text of the second time, once.
    told = [notice for notice in cluster.notices if notice.reason == "OOMKilled"]
    assert len(told) == 1
    assert RAISE in told[0].message
    assert cluster.condition("Ready")["status"] == "True"
    assert not any("metrics at" in notice.message for notice in cluster.notices)


def test_it_is_forgotten_after_a_while_without_an_end() -> None:
    cluster = Cluster(rollout={"replicas": 1, **limited()}).trained()
    kill(cluster, cluster.named("rollout")[0], 2)
    cluster.tick(MOST_SECONDS - 1)
    assert cluster.look().requeue_after == 1
    assert cluster.role("rollout")["reason"] == "OOMKilled"
    cluster.tick(1)
    cluster.look()
    assert "reason" not in cluster.role("rollout")
    assert cluster.condition("Degraded")["status"] == "False"


def test_without_a_limit_the_node_has_too_little() -> None:
    cluster = Cluster(rollout={"replicas": 1}).trained()
    kill(cluster, cluster.named("rollout")[0], 2)
    assert "no limit is set" in cluster.role("rollout")["message"]


def test_a_limit_that_a_namespace_sets_is_known_from_the_node() -> None:
    cluster = Cluster(rollout={"replicas": 1}).trained()
    name = cluster.named("rollout")[0]
    status = cluster.pods[name]["status"]["containerStatuses"][0]
    status["resources"] = {"limits": {"memory": "300Mi"}}
    kill(cluster, name, 2)
    assert "limit 300Mi" in cluster.role("rollout")["message"]


def test_learners_that_run_out_of_memory_one_after_the_other() -> None:
    cluster = Cluster(learner=limited("learner", "1Gi")).trained()
    for _ in range(2):
        (name,) = cluster.named("learner")
        cluster.end_pod(name, 137)
        state = cluster.pods[name]["status"]["containerStatuses"][0]["state"]
        state["terminated"].update(reason="OOMKilled", message=LOGGED)
        cluster.tick(1)
        cluster.settle()
    assert cluster.status["lastFailure"]["message"] == "ran out of memory"
    assert cluster.role("learner")["message"].startswith("out of memory: limit 1Gi, 2 restarts in ")
    assert "spec.learner.template" in cluster.condition("Degraded")["message"]


@pytest.mark.parametrize(
    ("code", "reason", "message", "sentence"),
    [
        (137, "OOMKilled", LOGGED, "ran out of memory (exit code 137)"),
        (137, "Error", f"{LOGGED}\nepisode 7\n", "ended with exit code 137"),
        (139, "Error", f"{LOGGED}\nFatal Python error: Abort\n  File x", "Fatal Python error: Abort (exit code 139)"),
        (1, "Error", f"{LOGGED}\n", "ended with exit code 1"),
        (1, "Error", f"ValueError: no\n{LOGGED}\n", "ValueError: no (exit code 1)"),
    ],
)  # fmt: skip
def test_a_line_of_the_log_is_no_reason(
    code: int, reason: str, message: str, sentence: str
) -> None:
    end = ContainerEnd("rollout", False, code, reason, message, "2026-01-31T12:00:00Z")
    assert endings.sentence(end) == sentence
