"""The status: what it says, since when, what is told of it, and when it is written."""

from __future__ import annotations

from typing import Any

import pytest

from rljob.spec.status import RLJobStatus
from rljob_operator.decide.job_resources import ContainerEnd
from rljob_operator.decide.observed import Polled
from rljob_operator.decide.status import endings, record
from tests.unit.operator.cluster import NAME, SETTINGS, START, Cluster, quiet

EVERY = SETTINGS.status_seconds


def words(cluster: Cluster) -> dict[str, str]:
    """Type to status and reason of the conditions that are worth a look."""
    return {c["type"]: f"{c['status']} {c['reason']}" for c in cluster.status["conditions"]}


# Phase and conditions


def test_from_nothing_to_training() -> None:
    cluster = Cluster()
    cluster.look()
    assert cluster.status["phase"] == "Pending"
    assert words(cluster) == {
        "Ready": "False LearnerNotReady",
        "Progressing": "True Pending",
        "Suspended": "False NotSuspended",
        "Checkpointed": "False NoCheckpoint",
        "KeysCurrent": "True Current",
        "Degraded": "False AsExpected",
        "Complete": "False NotFinished",
        "Failed": "False NotFinished",
    }
    cluster.control()
    cluster.start_pod(cluster.named("learner")[0])
    cluster.look()
    assert cluster.status["phase"] == "Pending"
    assert cluster.status["learner"]["state"] == "Running"
    cluster.run()
    cluster.look()
    assert cluster.status["phase"] == "Starting"
    assert words(cluster)["Ready"] == "True AllRolesReady"
    cluster.train(250)
    cluster.look()
    cluster.look()
    assert cluster.status["phase"] == "Training"
    assert words(cluster)["Progressing"] == "True Training"
    assert words(cluster)["Checkpointed"] == "True CheckpointWritten"
    assert cluster.told() == ["Created", "Started"]


def test_conditions_keep_the_time_of_their_last_change() -> None:
    cluster = Cluster().trained()
    since = {c["type"]: c["lastTransitionTime"] for c in cluster.status["conditions"]}
    cluster.tick(100)
    cluster.edit(backoffLimit=9)
    cluster.settle()
    assert {c["type"]: c["lastTransitionTime"] for c in cluster.status["conditions"]} == since
    assert {c["observedGeneration"] for c in cluster.status["conditions"]} == {2}
    assert cluster.status["observedGeneration"] == 2
    cluster.tick(100)
    cluster.edit(suspend=True)
    cluster.look()
    later = {c["type"]: c["lastTransitionTime"] for c in cluster.status["conditions"]}
    assert {kind for kind in since if since[kind] != later[kind]} == {"Ready", "Progressing"}
    assert later["Ready"] == cluster.stamp()


def test_degraded_once_it_was_ready() -> None:
    cluster = Cluster(rollout={"replicas": 3, "minReplicas": 2})
    cluster.look()
    assert words(cluster)["Degraded"] == "False AsExpected"
    cluster.trained()
    for left, degraded in ((2, "False AsExpected"), (1, "True RolloutsBelowMinimum")):
        cluster.delete_pod(cluster.named("rollout")[0])
        cluster.tick(EVERY)
        cluster.look()
        assert cluster.status["rollout"]["ready"] == f"{left}/3"
        assert words(cluster)["Degraded"] == degraded
    assert words(cluster)["Ready"] == "False RolloutsBelowMinimum"
    assert cluster.status["phase"] == "Training"
    assert words(cluster)["Progressing"] == "True Training"
    # It stays so until all is well again, also for another operator.
    cluster.restart_operator()
    cluster.tick(1)
    cluster.look()
    assert words(cluster)["Degraded"] == "True RolloutsBelowMinimum"
    cluster.settle()
    assert words(cluster)["Degraded"] == "False AsExpected"
    assert cluster.told().count("RolloutsBelowMinimum") == 1
    assert cluster.told()[-1] == "Recovered"


def unready(cluster: Cluster, role: str) -> None:
    """Its pods go on running and do not answer their probes."""
    for name in cluster.named(role):
        cluster.pods[name]["status"]["conditions"] = [
            {"type": "Ready", "status": "False", "lastTransitionTime": cluster.stamp()}
        ]


def test_a_learner_that_waits_for_the_buffer_is_not_to_blame() -> None:
    cluster = Cluster().trained()
    for role in ("learner", "rollout", "buffer"):
        unready(cluster, role)
    cluster.look()
    cluster.tick(SETTINGS.pending_grace_seconds)
    cluster.look()
    assert words(cluster)["Degraded"] == "True BufferNotReady"


def test_a_learner_that_ends_well_was_never_missed() -> None:
    cluster = Cluster().trained()
    unready(cluster, "learner")
    cluster.look()
    assert words(cluster)["Ready"] == "True AllRolesReady"
    cluster.tick(1)
    cluster.end_pod(cluster.named("learner")[0], 0)
    cluster.settle()
    assert cluster.status["phase"] == "Complete"
    assert "LearnerNotReady" not in cluster.told()


def test_what_stays_unready_degrades_the_job_after_a_moment() -> None:
    cluster = Cluster().trained()
    unready(cluster, "learner")
    again = cluster.look().requeue_after
    assert again is not None
    assert again <= SETTINGS.pending_grace_seconds
    cluster.tick(SETTINGS.pending_grace_seconds)
    cluster.look()
    assert words(cluster)["Degraded"] == "True LearnerNotReady"
    assert words(cluster)["Ready"] == "False LearnerNotReady"


def test_suspended_job_is_not_degraded() -> None:
    cluster = Cluster().trained()
    cluster.edit(suspend=True)
    cluster.settle()
    cluster.edit(suspend=False)
    cluster.look()
    assert words(cluster)["Degraded"] == "False AsExpected"


def test_learner_that_comes_back_has_to_say_that_it_trains() -> None:
    cluster = Cluster().trained(250)
    cluster.end_pod(cluster.named("learner")[0], 137)
    cluster.tick(1)
    cluster.look()
    assert cluster.status["learner"]["state"] == "Restarting"
    assert cluster.status["phase"] == "Pending"
    cluster.control()
    cluster.run()
    cluster.look()
    assert cluster.status["phase"] == "Starting"
    cluster.look()
    assert cluster.status["phase"] == "Training"
    assert cluster.told().count("Started") == 1


def test_scale_subresource() -> None:
    cluster = Cluster().trained()
    assert cluster.status["rollout"] == {
        "replicas": 2,
        "selector": f"rljob.dev/job-name={NAME},rljob.dev/role=rollout",
        "ready": "2/2",
    }
    cluster.edit(rollout={"replicas": 1})
    cluster.settle()
    assert cluster.status["rollout"]["replicas"] == 1
    assert cluster.status["rollout"]["ready"] == "1/1"
    assert [n.message for n in cluster.notices if n.reason == "Scaled"] == [
        "Scaled rollouts from 2 to 1."
    ]


# What the learner reports


def test_steps_never_go_back_for_an_old_answer() -> None:
    cluster = Cluster().trained(250)
    (name,) = cluster.named("learner")
    old = Polled(cluster.report(name), cluster.now, name)
    cluster.train(100)
    cluster.settle()
    assert cluster.status["progress"]["steps"] == 350
    cluster.operator.polled = old
    cluster.tick(EVERY)
    cluster.look()
    assert cluster.status["progress"]["steps"] == 350
    assert "RolledBack" not in cluster.told()


def test_answer_of_a_pod_that_nobody_knows_is_none() -> None:
    cluster = Cluster().trained(250)
    (name,) = cluster.named("learner")
    cluster.operator.polled = Polled(cluster.report(name), cluster.now, "x-learner-of-before")
    before = dict(cluster.status)
    cluster.train(100)
    cluster.tick(EVERY)
    assert cluster.decide().status == RLJobStatus.model_validate(before)


def test_learner_that_begins_further_back_says_so() -> None:
    cluster = Cluster().trained(250)
    cluster.end_pod(cluster.named("learner")[0], 137)
    cluster.tick(1)
    cluster.settle()
    assert cluster.status["progress"]["steps"] == 200
    (told,) = [notice for notice in cluster.notices if notice.reason == "RolledBack"]
    assert told.message == "The learner resumes from step 200, 50 steps back."


def test_another_operator_does_not_go_back_to_an_older_learners_last_words() -> None:
    """The pod that failed is still there, and the one that runs was not asked yet."""
    cluster = Cluster().trained(250)
    cluster.end_pod(cluster.named("learner")[0], 1)
    cluster.tick(1)
    cluster.settle()
    cluster.train(500)
    cluster.settle()
    steps = cluster.status["progress"]["steps"]
    cluster.restart_operator()
    cluster.tick(EVERY)
    assert cluster.decide().status.progress is not None
    assert cluster.look().status.phase == "Training"
    assert cluster.status["progress"]["steps"] == steps
    assert cluster.told().count("RolledBack") == 1


def test_only_a_learner_that_runs_is_asked() -> None:
    cluster = Cluster()
    cluster.look()
    cluster.control()
    assert cluster.decide().poll is None
    cluster.run()
    (name,) = cluster.named("learner")
    poll = cluster.decide().poll
    assert poll is not None
    assert (poll.pod, poll.url) == (name, "http://10.0.0.7:9091/status")
    cluster.pods[name]["status"]["podIP"] = "fd00::7"
    poll = cluster.decide().poll
    assert poll is not None
    assert poll.url == "http://[fd00::7]:9091/status"
    cluster.end_pod(name, 0)
    assert cluster.decide().poll is None


def test_provenance() -> None:
    cluster = Cluster(seed=3).trained()
    found = cluster.status["provenance"]
    assert found["rljobVersion"] == "0.1.0"
    assert found["seed"] == 7
    assert found["specHash"]
    assert found["images"] == dict.fromkeys(("rollout", "buffer", "learner"), "reg/any@sha256:abc")
    cluster.edit(suspend=True)
    cluster.settle()
    assert cluster.status["provenance"] == found


def test_image_that_was_loaded_has_its_name_and_digest() -> None:
    cluster = Cluster().trained()
    for name in cluster.named("rollout"):
        cluster.pods[name]["status"]["containerStatuses"][0]["imageID"] = "sha256:def"
    cluster.tick(EVERY)
    cluster.look()
    assert cluster.status["provenance"]["images"]["rollout"] == "rljob/any:1@sha256:def"


# Writing


def test_numbers_are_written_now_and_then() -> None:
    cluster = Cluster().trained()
    writes = cluster.status_writes
    cluster.tick(EVERY)
    for second in range(20):
        cluster.train(1)
        cluster.look()
        cluster.tick(1)
        assert cluster.status_writes - writes <= second // EVERY + 1
    assert cluster.status_writes - writes >= 4


def test_numbers_that_wait_are_written_in_the_end() -> None:
    cluster = Cluster().trained()
    cluster.tick(EVERY)
    cluster.train(1)
    cluster.look()
    cluster.look()
    cluster.tick(2)
    cluster.train(1)
    cluster.look()
    decision = cluster.look()
    assert not decision.write_status
    assert decision.requeue_after == EVERY - 2
    cluster.tick(decision.requeue_after)
    assert cluster.look().write_status


def test_what_matters_is_written_at_once() -> None:
    cluster = Cluster().trained()
    cluster.look()
    cluster.delete_pod(cluster.named("buffer")[0])
    assert cluster.look().write_status


def test_event_that_was_not_posted_with_its_status_is_posted_again() -> None:
    """And one whose status was written is not."""
    cluster = Cluster().trained()
    cluster.edit(suspend=True)
    assert [n.reason for n in cluster.look(0).notices] == ["Suspending"]
    assert [n.reason for n in cluster.decide().notices] == ["Suspending"]
    cluster.look()
    cluster.restart_operator()
    assert not cluster.decide().notices


# Reading


@pytest.mark.parametrize("raw", [None, {}, {"unknown": 1, "phase": None}])
def test_status_of_a_new_job(raw: dict[str, Any] | None) -> None:
    assert record.read(raw) == RLJobStatus()


def test_part_of_another_version_does_not_undo_the_end_of_a_job() -> None:
    cluster = Cluster().trained()
    cluster.end_pod(cluster.named("learner")[0], 0)
    cluster.settle()
    cluster.job["status"]["rollout"] = "2 of 2"
    cluster.restart_operator()
    decision = cluster.decide()
    assert decision.status.phase == "Complete"
    assert not decision.apply
    cluster.settle()
    assert quiet(cluster.decide())


def test_pods_of_an_earlier_job_of_that_name_say_nothing() -> None:
    earlier = Cluster().trained()
    earlier.end_pod(earlier.named("learner")[0], 1)
    cluster = Cluster()
    cluster.tick(100)
    cluster.job["metadata"].update(uid="job-2", creationTimestamp=cluster.stamp())
    cluster.pods = earlier.pods
    cluster.operator.gone = list(earlier.pods.values())
    cluster.look()
    assert "lastFailure" not in cluster.status
    assert "progress" not in cluster.status
    assert "provenance" not in cluster.status
    assert cluster.status["restarts"] == 0


# Last words


def end(message: str, code: int = 1, reason: str = "Error") -> ContainerEnd:
    return ContainerEnd("learner", False, code, reason, message, START.isoformat())


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        ("", "Error", ""),
        ("\n  \n", "Error", ""),
        ("one\ntwo\n\n", "Error", "two"),
        ('{"outcome": "Failed", "reason": "OSError", "message": "a\\nb"}', "OSError", "a\nb"),
        # Cut off, or by somebody else: no report.
        (
            '{"outcome": "Failed", "reason": "OSErr',
            "Error",
            '{"outcome": "Failed", "reason": "OSErr',
        ),
        ('{"outcome": "Great", "reason": "X"}', "Error", '{"outcome": "Great", "reason": "X"}'),
        ('{"outcome": "Failed", "reason": "two words", "message": "m"}', "Error", "m"),
        ("x" * 5000, "Error", "x" * 1000),
    ],
)
def test_last_words(message: str, reason: str, words: str) -> None:
    assert endings.reason(end(message), "Error") == reason
    assert endings.words(end(message)) == words


def test_number_that_is_none_is_no_report() -> None:
    """The API server would refuse it at each write."""
    message = (
        '{"outcome": "Complete", "reason": "StepsReached", '
        '"report": {"progress": {"meanReturn": NaN}}}'
    )
    assert endings.report(end(message, code=0)) is None
