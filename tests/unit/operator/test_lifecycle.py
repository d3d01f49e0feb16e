"""Suspend and resume, deadlines, the end, and what is left after it."""

from __future__ import annotations

from typing import Any

import pytest

from rljob.kube import names
from rljob.spec.status import EndReport
from tests.unit.operator.cluster import NAME, SETTINGS, Cluster, quiet

LEARNER = ("Job", f"{NAME}-learner")


def kinds(cluster: Cluster) -> set[str]:
    return {kind for kind, _ in cluster.objects} & {"Deployment", "StatefulSet", "Job"}


# Suspend and resume


def test_suspended_until_no_pod_is_left() -> None:
    cluster = Cluster().trained(250)
    cluster.edit(suspend=True)
    cluster.look()
    assert kinds(cluster) == set()
    assert cluster.status["phase"] == "Suspending"
    assert cluster.condition("Suspended")["status"] == "False"
    cluster.train(7)
    assert quiet(cluster.decide())
    cluster.run()
    cluster.look()
    assert not cluster.pods
    assert cluster.status["phase"] == "Suspended"
    assert cluster.status["learner"]["state"] == "Stopped"
    found = cluster.condition("Suspended")
    assert (found["status"], found["reason"]) == ("True", "Suspended")
    # The learner's last words count, not what it answered when it was asked last.
    assert cluster.status["progress"]["steps"] == 257
    assert cluster.status["lastCheckpoint"]["step"] == 257
    assert found["message"] == "Stopped at step 257. The checkpoint is from step 257."
    assert cluster.told()[-2:] == ["Suspending", "Suspended"]
    assert quiet(cluster.decide())
    cluster.restart_operator()
    assert quiet(cluster.decide())


def test_pod_of_somebody_else_does_not_hold_up_a_suspension() -> None:
    cluster = Cluster().trained()
    cluster.edit(suspend=True)
    cluster.settle()
    labels = {names.JOB_NAME_LABEL: NAME}
    cluster.pods["reader"] = {
        "kind": "Pod",
        "metadata": {"name": "reader", "labels": labels, "creationTimestamp": cluster.stamp()},
        "status": {"phase": "Running"},
    }
    assert quiet(cluster.decide())


def test_resumed_at_the_same_step() -> None:
    cluster = Cluster().trained(257)
    cluster.edit(suspend=True)
    cluster.settle()
    cluster.tick(1000)
    cluster.edit(suspend=False)
    decision = cluster.look()
    assert decision.status.phase == "Pending"
    assert "Resumed" in cluster.told()
    cluster.settle()
    assert cluster.status["progress"]["steps"] == 257
    assert cluster.status["phase"] == "Training"
    assert "RolledBack" not in cluster.told()
    assert cluster.condition("Suspended")["status"] == "False"


def test_resumed_while_the_old_pods_still_end() -> None:
    cluster = Cluster().trained()
    (old,) = cluster.named("learner")
    cluster.edit(suspend=True)
    cluster.look()
    cluster.edit(suspend=False)
    cluster.look()
    assert LEARNER not in cluster.objects
    assert {"Deployment", "StatefulSet"} <= kinds(cluster)
    cluster.settle()
    assert old not in cluster.pods
    assert len(cluster.named("learner")) == 1


def test_created_suspended_starts_nothing() -> None:
    cluster = Cluster(suspend=True)
    cluster.settle()
    assert not cluster.pods
    assert cluster.status["phase"] == "Suspended"
    assert "startTime" not in cluster.status
    assert cluster.told() == ["Suspended"]
    cluster.edit(suspend=False)
    cluster.settle()
    assert cluster.status["phase"] == "Starting"
    assert cluster.told() == ["Suspended", "Created"]


def test_suspended_by_a_spec_whose_template_is_wrong() -> None:
    cluster = Cluster().trained()
    cluster.edit(suspend=True, rollout={"template": {"spec": {"containers": "none"}}})
    cluster.settle()
    assert not cluster.pods
    assert cluster.status["phase"] == "Suspended"
    assert cluster.condition("Degraded")["reason"] == "InvalidTemplate"


# A wrong spec


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"algorithm": {}}, "InvalidSpec", "algorithm: needs one of name and entryPoint"),
        ({"rollout": {"replicas": "two"}}, "InvalidSpec", "rollout.replicas"),
        (
            {"learner": {"template": {"spec": {"containers": "none"}}}},
            "InvalidTemplate",
            "learner.template",
        ),
    ],
)
def test_wrong_spec_is_told_and_leaves_running_pods_alone(
    change: dict[str, Any], reason: str, words: str
) -> None:
    cluster = Cluster().trained()
    pods = {*cluster.pods}
    before = dict(cluster.job["spec"])
    cluster.edit(**change)
    cluster.settle()
    for kind, status in (("Progressing", "False"), ("Degraded", "True")):
        found = cluster.condition(kind)
        assert (found["status"], found["reason"]) == (status, reason)
        assert words in found["message"]
        assert found["observedGeneration"] == 2
    assert cluster.condition("Failed")["status"] == "False"
    assert {*cluster.pods} == pods
    assert cluster.status["phase"] == "Training"
    assert cluster.told().count(reason) == 1
    cluster.job["spec"] = before
    cluster.edit()
    cluster.settle()
    assert cluster.condition("Progressing")["status"] == "True"
    assert cluster.condition("Degraded")["status"] == "False"
    assert {*cluster.pods} == pods
    assert cluster.told()[-1] == "Recovered"


def test_wrong_from_the_start() -> None:
    cluster = Cluster(algorithm={})
    cluster.settle()
    assert not cluster.objects
    assert cluster.status["phase"] == "Pending"
    assert "startTime" not in cluster.status
    cluster.edit(algorithm={"name": "PPO"})
    cluster.settle()
    assert cluster.status["phase"] == "Starting"


def test_job_ends_also_while_its_spec_is_wrong() -> None:
    cluster = Cluster().trained()
    cluster.edit(algorithm={})
    cluster.look()
    cluster.end_pod(cluster.named("learner")[0], 0)
    cluster.settle()
    assert cluster.status["phase"] == "Complete"


# The end


@pytest.mark.parametrize("job_knows", [False, True])
def test_complete_with_the_learners_reason(job_knows: bool) -> None:
    cluster = Cluster().trained(250)
    cluster.train(750)
    (name,) = cluster.named("learner")
    cluster.end_pod(name, 0)
    if job_knows:
        cluster.control()
    decision = cluster.look()
    found = cluster.condition("Complete")
    assert (found["status"], found["reason"]) == ("True", "StepsReached")
    assert cluster.status["phase"] == "Complete"
    assert cluster.status["progress"]["steps"] == 1000
    assert cluster.status["learner"]["state"] == "Succeeded"
    assert cluster.status["completionTime"] == cluster.stamp()
    # What it follows from is only taken away once it is written.
    assert not decision.delete
    assert decision.requeue_after == 0
    cluster.settle()
    assert kinds(cluster) == {"Job"}
    assert list(cluster.pods) == [name]
    assert cluster.told()[-1] == "Complete"


@pytest.mark.parametrize("job_knows", [False, True])
def test_a_job_below_its_baseline_has_failed_though_its_learner_ended_well(job_knows: bool) -> None:
    cluster = Cluster(evaluation={"baseline": 195}).trained(250)
    (name,) = cluster.named("learner")
    cluster.played = 12.5
    end = EndReport(outcome="Failed", reason="BelowBaseline", message="195 was not reached")
    told = end.model_copy(update={"report": cluster.report(name)})
    cluster.end_pod(name, 0, told.model_dump_json(by_alias=True, exclude_none=True))
    if job_knows:
        cluster.control()
    cluster.look()
    found = cluster.condition("Failed")
    assert (found["status"], found["reason"]) == ("True", "BelowBaseline")
    assert found["message"] == "195 was not reached"
    assert cluster.status["phase"] == "Failed"
    assert cluster.status["evaluation"] == {
        "policyVersion": 25,
        "mean": 12.5,
        "std": 0.0,
        "episodes": 5,
    }
    # It is final, and the learner's log stays.
    cluster.settle()
    assert kinds(cluster) == {"Job"}
    assert list(cluster.pods) == [name]
    assert cluster.status["phase"] == "Failed"


def test_words_are_waited_for_when_only_the_job_is_known_to_be_over() -> None:
    """Jobs and pods are watched apart: one may be known before the other."""
    cluster = Cluster().trained()
    cluster.objects[LEARNER]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    assert quiet(cluster.decide())
    (name,) = cluster.named("learner")
    cluster.end_pod(name, 0)
    cluster.look()
    assert cluster.condition("Complete")["reason"] == "StepsReached"


def test_job_that_is_over_without_any_word() -> None:
    cluster = Cluster().trained()
    cluster.objects[LEARNER]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    del cluster.pods[cluster.named("learner")[0]]
    cluster.look()
    assert cluster.condition("Complete")["reason"] == "Complete"


def test_learner_that_left_only_its_log() -> None:
    cluster = Cluster(backoffLimit=0).trained()
    cluster.end_pod(cluster.named("learner")[0], 1, "Traceback:\n  …\nOSError: disk full\n\n")
    cluster.settle()
    found = cluster.condition("Failed")
    assert found["reason"] == "BackoffLimitExceeded"
    assert "OSError: disk full (exit code 1)" in found["message"]
    assert cluster.status["lastFailure"]["message"] == "OSError: disk full"
    assert cluster.status["lastFailure"]["reason"] == "Error"
    assert cluster.notices[-1].type == "Warning"
    assert cluster.notices[-1].reason == "Failed"


def test_input_that_can_never_run_fails_at_once() -> None:
    cluster = Cluster().trained(0)
    message = (
        '{"outcome": "Failed", "reason": "InputError", "message": "algorithm: no module nowhere"}'
    )
    cluster.end_pod(cluster.named("learner")[0], 2, message)
    cluster.settle()
    found = cluster.condition("Failed")
    assert found["reason"] == "InvalidSpec"
    assert found["message"] == "algorithm: no module nowhere (exit code 2)"
    assert cluster.status["learner"]["failures"] == 1


WRONG = '{"outcome": "Failed", "reason": "InputError", "message": "algorithm: no module nowhere"}'


def test_input_that_a_rollout_cannot_use_fails_at_once() -> None:
    cluster = Cluster().trained(0)
    cluster.crash(cluster.named("rollout")[0], WRONG, code=2)
    cluster.settle()
    found = cluster.condition("Failed")
    assert found["reason"] == "InvalidSpec"
    assert found["message"] == "rollout: algorithm: no module nowhere (exit code 2)"
    assert not cluster.named("rollout")


@pytest.mark.parametrize(
    ("steps", "code", "message"), [(250, 2, WRONG), (0, 2, "usage"), (0, 1, WRONG)]
)
def test_other_ends_of_a_rollout_do_not(steps: int, code: int, message: str) -> None:
    cluster = Cluster().trained(steps)
    cluster.crash(cluster.named("rollout")[0], message, code=code)
    cluster.settle()
    assert cluster.condition("Failed")["status"] == "False"


def test_out_of_memory_is_said_whatever_the_role_says() -> None:
    cluster = Cluster(backoffLimit=0).trained()
    (name,) = cluster.named("learner")
    cluster.end_pod(name, 137)
    container = cluster.pods[name]["status"]["containerStatuses"][0]
    container["state"]["terminated"]["reason"] = "OOMKilled"
    cluster.settle()
    assert cluster.status["lastFailure"]["reason"] == "OOMKilled"


@pytest.mark.parametrize("code", [0, 2])
def test_final_is_final(code: int) -> None:
    cluster = Cluster().trained()
    cluster.end_pod(cluster.named("learner")[0], code)
    cluster.settle()
    before = dict(cluster.status)
    changes: tuple[dict[str, Any], ...] = (
        {"suspend": True},
        {"suspend": False, "stop": {"steps": 9000}},
        {"algorithm": {}},
        {"rollout": {"replicas": 5}},
    )
    for change in changes:
        cluster.edit(**change)
        cluster.settle()
        assert kinds(cluster) == {"Job"}
        assert cluster.status["phase"] == before["phase"]
        assert cluster.status["progress"] == before["progress"]
        assert cluster.status["completionTime"] == before["completionTime"]
        assert cluster.status["observedGeneration"] == cluster.job["metadata"]["generation"]
    assert cluster.told().count("Complete") + cluster.told().count("Failed") == 1


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (None, {"Job"}),
        ("Running", {"Job"}),
        ("All", set()),
        ("None", {"Job", "Deployment", "StatefulSet"}),
    ],
)
def test_clean_pod_policy(policy: str | None, left: set[str]) -> None:
    cluster = Cluster(**({"cleanPodPolicy": policy} if policy else {})).trained()
    cluster.end_pod(cluster.named("learner")[0], 0)
    cluster.settle()
    assert kinds(cluster) == left
    assert cluster.status["phase"] == "Complete"
    # It may be edited afterwards.
    cluster.edit(cleanPodPolicy="All")
    cluster.settle()
    assert kinds(cluster) == set()
    assert not cluster.pods
    assert cluster.status["phase"] == "Complete"


@pytest.mark.parametrize("writes", range(5))
def test_end_is_not_forgotten_by_an_operator_that_dies(writes: int) -> None:
    cluster = Cluster(cleanPodPolicy="All").trained()
    cluster.end_pod(cluster.named("learner")[0], 0)
    cluster.look(writes)
    cluster.look(writes)
    cluster.settle()
    assert cluster.status["phase"] == "Complete"
    assert not kinds(cluster)


def test_sidecar_that_runs_on_does_not_keep_a_job_alive() -> None:
    cluster = Cluster().trained()
    (name,) = cluster.named("learner")
    cluster.end_pod(name, 0)
    cluster.pods[name]["status"]["phase"] = "Running"
    cluster.pods[name]["status"]["containerStatuses"].append(
        {"name": "proxy", "state": {"running": {}}, "restartCount": 0}
    )
    cluster.settle()
    assert cluster.status["phase"] == "Complete"
    assert not kinds(cluster)


# Deadlines


def test_active_deadline_to_the_second() -> None:
    cluster = Cluster(activeDeadlineSeconds=60)
    cluster.settle()
    cluster.train(10)
    cluster.settle()
    decision = cluster.decide()
    assert decision.requeue_after is not None
    cluster.tick(decision.requeue_after - 0.5)
    assert cluster.decide().status.phase == "Training"
    cluster.tick(0.5)
    cluster.look()
    assert cluster.status["activeSeconds"] == 60
    assert cluster.condition("Failed")["reason"] == "DeadlineExceeded"
    # The learner, which trains on, is stopped too.
    cluster.settle()
    assert not kinds(cluster)
    assert not cluster.pods


@pytest.mark.parametrize("policy", ["None", "Running", "All"])
def test_no_policy_keeps_a_learner_that_has_no_time_left(policy: str) -> None:
    cluster = Cluster(activeDeadlineSeconds=60, cleanPodPolicy=policy).trained()
    cluster.tick(100)
    cluster.settle()
    assert cluster.condition("Failed")["reason"] == "DeadlineExceeded"
    assert LEARNER not in cluster.objects
    assert ("Deployment" in kinds(cluster)) == (policy == "None")


def test_suspended_time_does_not_count() -> None:
    cluster = Cluster(activeDeadlineSeconds=60).trained()
    cluster.tick(20)
    used = (cluster.now - cluster.now.replace(minute=0, second=0)).total_seconds()
    cluster.edit(suspend=True)
    cluster.settle()
    assert cluster.status["activeSeconds"] == used
    assert "resumeTime" not in cluster.status
    cluster.tick(10_000)
    assert quiet(cluster.decide())
    assert cluster.decide().requeue_after is None
    cluster.edit(suspend=False)
    assert cluster.look().requeue_after == pytest.approx(60 - used)
    cluster.settle()
    assert cluster.status["phase"] == "Training"
    cluster.tick(60 - used)
    cluster.look()
    assert cluster.status["phase"] == "Failed"


def test_pending_deadline_says_what_it_waited_for() -> None:
    cluster = Cluster(pendingDeadlineSeconds=30)
    cluster.look()
    cluster.control()
    found = cluster.pods[cluster.named("rollout")[0]]
    found["status"]["containerStatuses"][0]["state"] = {
        "waiting": {"reason": "InvalidImageName", "message": "what is this"}
    }
    assert cluster.look().requeue_after == SETTINGS.pending_grace_seconds
    cluster.tick(30)
    cluster.look()
    found = cluster.condition("Failed")
    assert found["reason"] == "PendingDeadlineExceeded"
    assert "within 30 s: rollout: InvalidImageName: what is this" in found["message"]


def test_next_look_is_at_the_nearest_deadline() -> None:
    cluster = Cluster(pendingDeadlineSeconds=10, activeDeadlineSeconds=20)
    assert cluster.look().requeue_after == 10
    cluster.edit(pendingDeadlineSeconds=90)
    assert cluster.look().requeue_after == 20


def test_pending_deadline_is_over_once_it_trained() -> None:
    """Also for a learner that has to begin again from nothing."""
    cluster = Cluster(pendingDeadlineSeconds=30).trained(50)
    cluster.tick(100)
    cluster.end_pod(cluster.named("learner")[0], 137)
    cluster.tick(1)
    cluster.settle()
    assert cluster.status["progress"]["steps"] == 0
    assert cluster.status["phase"] == "Starting"
    assert "RolledBack" in cluster.told()


# The time after the end


def test_time_to_live() -> None:
    cluster = Cluster(ttlSecondsAfterFinished=100).trained()
    cluster.end_pod(cluster.named("learner")[0], 0)
    cluster.settle()
    decision = cluster.decide()
    assert decision.requeue_after is not None
    assert not decision.delete_job
    cluster.tick(decision.requeue_after - 1)
    assert not cluster.decide().delete_job
    cluster.tick(1)
    assert cluster.decide().delete_job
    cluster.edit(ttlSecondsAfterFinished=1000)
    assert not cluster.decide().delete_job
    cluster.edit(ttlSecondsAfterFinished=0)
    assert cluster.decide().delete_job


def test_without_a_time_to_live_it_stays() -> None:
    cluster = Cluster().trained()
    cluster.end_pod(cluster.named("learner")[0], 0)
    cluster.settle()
    cluster.tick(10**9)
    assert quiet(cluster.decide())
    assert cluster.decide().requeue_after is None


def test_a_job_of_another_controller_is_left_alone() -> None:
    assert quiet(Cluster(managedBy="kueue.x-k8s.io/multikueue").look())
    assert Cluster(managedBy="rljob.dev/operator").look().apply
