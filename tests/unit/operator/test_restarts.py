"""What counts as a restart, what as a failure, and that nothing counts twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.operator.cluster import CHECKPOINT_EVERY, NAME, Cluster

LEARNER = ("Job", f"{NAME}-learner")
BLUE = {"template": {"metadata": {"labels": {"team": "blue"}}}}


def counts(cluster: Cluster) -> dict[str, int]:
    return {role["name"]: role["restarts"] for role in cluster.status["roleStatuses"]}


@pytest.mark.parametrize("role", ["rollout", "buffer", "learner"])
@pytest.mark.parametrize("how", ["delete", "evict"])
def test_lost_pod_is_a_restart_and_no_failure(role: str, how: str) -> None:
    cluster = Cluster().trained()
    name = cluster.named(role)[0]
    if how == "delete":
        cluster.delete_pod(name)
    else:
        cluster.evict_pod(name)
    cluster.settle()
    assert counts(cluster)[role] == 1
    assert cluster.status["restarts"] == 1
    assert cluster.status["learner"]["failures"] == 0
    assert cluster.told().count("Restarted") == 1
    if how == "evict":
        failure = cluster.status["lastFailure"]
        assert (failure["role"], failure["reason"]) == (role, "EvictionByEvictionAPI")
    else:
        assert "lastFailure" not in cluster.status


def test_restarted_container_is_a_restart_with_its_last_line() -> None:
    cluster = Cluster().trained()
    name = cluster.named("rollout")[1]
    cluster.crash(name, "Traceback\n  File\nValueError: bad step\n", code=3)
    cluster.settle()
    assert counts(cluster) == {"rollout": 1, "buffer": 0, "learner": 0}
    assert cluster.status["lastFailure"] == {
        "role": "rollout",
        "pod": name,
        "reason": "Error",
        "exitCode": 3,
        "message": "ValueError: bad step",
        "time": cluster.status["lastFailure"]["time"],
    }
    assert cluster.notices[-1].message == f"Restarted rollout: {name}: Error, ValueError: bad step."


@pytest.mark.parametrize("seconds", [0, 30])
def test_pods_lost_while_the_operator_was_away_count(seconds: int) -> None:
    cluster = Cluster(rollout={"replicas": 3}).trained()
    for name in cluster.named("rollout")[:2]:
        cluster.delete_pod(name)
    cluster.tick(seconds + 1)
    cluster.control()
    cluster.run()
    cluster.restart_operator()
    cluster.settle()
    assert counts(cluster)["rollout"] == 2


def test_scaling_suspending_and_editing_replace_nothing() -> None:
    cluster = Cluster(evaluation={}).trained()
    changes: tuple[dict[str, Any], ...] = (
        {"rollout": {"replicas": 5}},
        {"rollout": {"replicas": 1}},
        {"rollout": {"replicas": 4}},
        {"suspend": True},
        {"suspend": False},
        {"rollout": {"replicas": 4, **BLUE}},
        {"learner": BLUE},
        {"buffer": BLUE},
        {"stop": {"steps": 5000}},
        {"rollout": {"replicas": 4}},
        {"evaluation": None},
        {"evaluation": {}},
    )
    for change in changes:
        cluster.tick(10)
        cluster.edit(**change)
        cluster.settle()
        assert set(counts(cluster).values()) == {0}, change
    assert "Restarted" not in cluster.told()
    # And what is lost after all that counts.
    cluster.tick(10)
    cluster.delete_pod(cluster.named("rollout")[0])
    cluster.settle()
    assert counts(cluster)["rollout"] == 1


def test_pods_that_come_one_by_one_were_owed() -> None:
    """A quota lets them in late: none of them replaces another."""
    cluster = Cluster(rollout={"replicas": 3})
    cluster.look()
    child = cluster.objects["Deployment", f"{NAME}-rollout"]
    for allowed in (1, 2, 3):
        child["spec"]["replicas"] = allowed
        cluster.control()
        child["spec"]["replicas"] = 3
        cluster.run()
        cluster.look()
        cluster.tick(7)
    cluster.settle()
    assert counts(cluster)["rollout"] == 0


def test_many_failures_are_counted_once_each() -> None:
    cluster = Cluster(backoffLimit=5).trained()
    for failures in (1, 2, 3):
        cluster.end_pod(cluster.named("learner")[0], 1)
        cluster.tick(1)
        cluster.settle()
        assert cluster.status["learner"]["failures"] == failures
        assert counts(cluster)["learner"] == failures
        cluster.look()
        assert cluster.status["learner"]["failures"] == failures


def fail_learner(cluster: Cluster) -> None:
    cluster.end_pod(cluster.named("learner")[0], 1)
    cluster.tick(1)
    cluster.settle()


def progress(cluster: Cluster) -> None:
    """One more checkpoint."""
    cluster.train(CHECKPOINT_EVERY)
    cluster.look()
    cluster.settle()


def test_progress_forgives_failures() -> None:
    """Each checkpoint leaves the Job as many failures as the limit allows."""
    cluster = Cluster(backoffLimit=1).trained()
    for failed in range(4):
        assert cluster.status["learner"]["failures"] == 0
        assert cluster.objects[LEARNER]["spec"]["backoffLimit"] == 1 + failed
        fail_learner(cluster)
        assert cluster.status["learner"]["failures"] == 1
        cluster.restart_operator()
        progress(cluster)
    fail_learner(cluster)
    assert cluster.status["phase"] == "Training"
    fail_learner(cluster)
    assert cluster.condition("Failed")["reason"] == "BackoffLimitExceeded"
    # The learner's restarts are a total all the same.
    assert counts(cluster)["learner"] == 5


def test_steps_that_are_in_no_checkpoint_are_no_progress() -> None:
    cluster = Cluster(backoffLimit=3).trained()
    for failures in (1, 2, 3):
        fail_learner(cluster)
        cluster.train(CHECKPOINT_EVERY // 4)
        cluster.look()
        cluster.settle()
        assert cluster.status["learner"]["failures"] == failures
        assert cluster.objects[LEARNER]["spec"]["backoffLimit"] == 3


def test_what_was_saved_between_two_looks_forgives_too() -> None:
    """The operator learns of the checkpoint from the last words of the learner that failed."""
    cluster = Cluster(backoffLimit=3).trained()
    fail_learner(cluster)
    cluster.train(CHECKPOINT_EVERY)
    fail_learner(cluster)
    assert cluster.status["learner"]["failures"] == 1


def test_forgiven_failures_stay_forgiven_in_the_next_job() -> None:
    cluster = Cluster(backoffLimit=3).trained()
    fail_learner(cluster)
    fail_learner(cluster)
    progress(cluster)
    assert cluster.objects[LEARNER]["spec"]["backoffLimit"] == 5
    fail_learner(cluster)
    cluster.edit(learner=BLUE)
    cluster.settle()
    assert cluster.status["learner"]["failures"] == 1
    assert cluster.objects[LEARNER]["spec"]["backoffLimit"] == 2


def test_failures_outlive_their_job() -> None:
    """Without progress they count towards the limit after a suspension and after an edit."""
    cluster = Cluster(backoffLimit=3).trained()
    cluster.end_pod(cluster.named("learner")[0], 1)
    cluster.tick(1)
    cluster.settle()
    changes: tuple[dict[str, Any], ...] = ({"suspend": True}, {"suspend": False}, {"learner": BLUE})
    for change in changes:
        cluster.edit(**change)
        cluster.settle()
        assert cluster.status["learner"]["failures"] == 1
    assert cluster.objects[LEARNER]["spec"]["backoffLimit"] == 2
    cluster.end_pod(cluster.named("learner")[0], 1)
    cluster.tick(1)
    cluster.settle()
    assert cluster.status["learner"]["failures"] == 2
    # Failures of the Job that exists are not taken off its limit a second time.
    assert cluster.objects[LEARNER]["spec"]["backoffLimit"] == 2


@pytest.mark.parametrize("writes", range(4))
def test_failures_are_written_down_before_their_job_goes(writes: int) -> None:
    """Killed at any write, the operator forgets none."""
    cluster = Cluster(backoffLimit=3).trained()
    cluster.end_pod(cluster.named("learner")[0], 1)
    cluster.control()
    cluster.edit(suspend=True)
    cluster.look(writes)
    cluster.settle()
    assert cluster.status["learner"]["failures"] == 1


def test_limit_is_reached() -> None:
    cluster = Cluster(backoffLimit=1).trained()
    for _ in range(2):
        cluster.end_pod(cluster.named("learner")[0], 1)
        cluster.tick(1)
        cluster.settle()
    assert cluster.status["phase"] == "Failed"
    assert cluster.condition("Failed")["reason"] == "BackoffLimitExceeded"
    assert "ended with 1 (exit code 1)" in cluster.condition("Failed")["message"]
    assert cluster.status["learner"] == {
        "state": "Failed",
        "failures": 2,
        "pod": cluster.status["learner"]["pod"],
    }


def test_failure_is_the_newest_one() -> None:
    cluster = Cluster().trained()
    first, second = cluster.named("rollout")
    cluster.crash(first, "one")
    cluster.look()
    cluster.tick(5)
    cluster.crash(second, "two")
    cluster.settle()
    assert cluster.status["lastFailure"]["message"] == "two"
    cluster.delete_pod(second)
    cluster.settle()
    assert cluster.status["lastFailure"]["message"] == "two"


def test_pod_that_was_killed_for_not_ending_in_time_has_not_failed() -> None:
    cluster = Cluster().trained()
    name = cluster.named("rollout")[0]
    cluster.edit(rollout={"replicas": 1})
    for pod in cluster.named("rollout"):
        cluster.delete_pod(pod)
    cluster.tick(30)
    cluster.end_pod(name, 137)
    cluster.look()
    assert "lastFailure" not in cluster.status


def test_failure_seen_again_is_not_a_newer_one() -> None:
    """Two in the same second: whichever was told first stays."""
    cluster = Cluster().trained()
    first, second = cluster.named("rollout")
    cluster.crash(second, "two")
    cluster.look()
    cluster.crash(first, "one")
    cluster.settle()
    assert cluster.status["lastFailure"]["message"] == "two"


def new_pod(cluster: Cluster) -> None:
    """Let the Deployment make one pod of its template, and the oldest one of another end."""
    child = cluster.objects["Deployment", f"{NAME}-rollout"]
    before = {*cluster.pods}
    known = cluster.named("rollout")
    kept = {name: cluster.pods.pop(name) for name in known}
    child["spec"]["replicas"] = 1
    cluster.control()
    child["spec"]["replicas"] = 2
    (made,) = {*cluster.pods} - before
    cluster.pods.update(kept)
    cluster.start_pod(made)
    revision = cluster.pods[made]["metadata"]["labels"]["pod-template-hash"]
    for name in known:
        if cluster.pods[name]["metadata"]["labels"]["pod-template-hash"] != revision:
            cluster.delete_pod(name)
            break


def test_pods_of_a_new_template_that_come_one_by_one_replace_nothing() -> None:
    """Old ones are still ready when the first new one comes."""
    cluster = Cluster().trained()
    cluster.edit(rollout=BLUE)
    for _ in range(2):
        cluster.tick(10)
        cluster.look()
        new_pod(cluster)
    cluster.tick(10)
    cluster.settle()
    assert counts(cluster)["rollout"] == 0


def test_edit_that_was_taken_back_halfway_excuses_no_later_loss() -> None:
    cluster = Cluster().trained()
    for change in ({"rollout": BLUE}, {"rollout": None}):
        cluster.tick(10)
        cluster.edit(**change)
        cluster.look()
        new_pod(cluster)
        cluster.look()
    cluster.settle()
    assert counts(cluster)["rollout"] == 0
    cluster.tick(10)
    cluster.delete_pod(cluster.named("rollout")[0])
    cluster.settle()
    assert counts(cluster)["rollout"] == 1
