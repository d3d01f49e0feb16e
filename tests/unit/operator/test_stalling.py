"""A job that has all its pods and gets nowhere."""

from __future__ import annotations

from rljob.telemetry.role_state import RoleState
from tests.unit.operator.cluster import Cluster, quiet

TIMEOUT = 60.0
STACK = ["rollout/loop.py:9 run", "my/env.py:7 step"]


def training(policy: str = "Ignore", replicas: int = 1) -> Cluster:
    return Cluster(
        stall={"timeout": "1m", "policy": policy}, rollout={"replicas": replicas}
    ).trained()


def hang(cluster: Cluster, role: str) -> list[str]:
    """All pods of a role stop; time passes until that must be noticed."""
    names = cluster.named(role)
    for name in names:
        cluster.states[name] = RoleState(
            role="learner" if role == "learner" else "rollout",
            name=name,
            silent_seconds=TIMEOUT,
            stack=STACK,
        )
    cluster.tick(TIMEOUT + 1)
    cluster.look()
    cluster.look()
    return names


def test_a_hung_environment_is_told_with_its_stack() -> None:
    cluster = training()

    (name,) = hang(cluster, "rollout")

    progressing = cluster.condition("Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "EnvironmentHung")
    assert progressing["message"].startswith(f"{name} has done nothing for 60 s, in my/env.py:7")
    assert cluster.told()[-1] == "EnvironmentHung"
    # Innermost first: what does not fit into an Event is cut off at its end.
    assert "\nat my/env.py:7 step\nat rollout" in cluster.notices[-1].message
    failure = cluster.status["lastFailure"]
    assert (failure["role"], failure["pod"]) == ("rollout", name)
    assert "my/env.py:7 step" in failure["message"]
    assert cluster.status["phase"] == "Training"
    assert cluster.deleted == []


def test_it_is_told_once_and_costs_nothing_more() -> None:
    cluster = training()
    hang(cluster, "rollout")
    told, writes = len(cluster.notices), cluster.status_writes

    for _ in range(5):
        cluster.tick(20)
        assert quiet(cluster.look())

    assert (len(cluster.notices), cluster.status_writes) == (told, writes)


def test_progress_ends_it() -> None:
    cluster = training()
    hang(cluster, "rollout")

    cluster.train(300)
    cluster.look()
    cluster.tick(10)
    cluster.look()

    assert cluster.condition("Progressing")["status"] == "True"


def test_an_operator_that_starts_anew_waits_no_longer() -> None:
    cluster = training()
    cluster.tick(TIMEOUT - 5)
    cluster.look()
    cluster.restart_operator()
    cluster.look()
    assert cluster.condition("Progressing")["status"] == "True"

    cluster.tick(6)
    cluster.look()
    cluster.look()

    assert cluster.condition("Progressing")["status"] == "False"


def test_a_final_evaluation_is_no_stall() -> None:
    cluster = training("Fail")
    cluster.evaluating = True
    for _ in range(4):
        cluster.tick(TIMEOUT - 1)
        cluster.look()
    assert cluster.condition("Progressing")["status"] == "True"
    assert cluster.status["phase"] == "Training"
    cluster.evaluating = False
    cluster.look()
    hang(cluster, "rollout")
    cluster.settle()
    assert cluster.condition("Failed")["reason"] == "EnvironmentHung"


def test_the_next_look_is_when_it_may_have_stalled() -> None:
    cluster = training()
    cluster.look()
    cluster.tick(20)

    again = cluster.look().requeue_after

    assert again is not None
    assert TIMEOUT - 25 <= again <= TIMEOUT - 20


def test_who_hangs_is_replaced_where_that_is_asked_for() -> None:
    cluster = training("Restart", replicas=2)

    names = hang(cluster, "rollout")

    assert sorted(reference.name for reference in cluster.deleted) == sorted(names)
    assert {reference.kind for reference in cluster.deleted} == {"Pod"}


def test_others_are_left_alone() -> None:
    cluster = training("Restart")

    (name,) = hang(cluster, "learner")

    assert cluster.condition("Progressing")["reason"] == "LearnerStalled"
    assert [reference.name for reference in cluster.deleted] == [name]


def test_a_stall_fails_the_job_where_that_is_asked_for() -> None:
    cluster = training("Fail")

    hang(cluster, "rollout")
    cluster.settle()

    failed = cluster.condition("Failed")
    assert (failed["status"], failed["reason"]) == ("True", "EnvironmentHung")
    assert cluster.named("rollout") == []


def test_pods_that_refuse_the_operators_token_are_left_alone() -> None:
    """It knows nothing of them, neither progress nor state: that is no reason to restart them."""
    cluster = training(policy="Restart")
    cluster.strangers = True
    before = cluster.named("rollout")
    cluster.tick(3 * TIMEOUT)
    cluster.look()
    cluster.look()

    assert cluster.operator.inspection is not None
    assert cluster.named("rollout") == before
    assert cluster.condition("Progressing")["status"] == "True"


def test_what_is_not_there_does_not_stall() -> None:
    cluster = training()
    cluster.refuse = lambda manifest: "no" if manifest["kind"] == "Deployment" else None
    cluster.remove("Deployment", "x-rollout")
    cluster.tick(3 * TIMEOUT)
    cluster.look()
    cluster.look()

    assert cluster.operator.inspection is None


def test_a_suspended_job_does_not_stall() -> None:
    cluster = training()
    cluster.edit(suspend=True)
    cluster.settle()
    cluster.tick(3 * TIMEOUT)
    cluster.look()

    assert cluster.condition("Progressing")["reason"] == "Suspended"
    assert cluster.operator.inspection is None


def silent_from_the_start(policy: str = "Ignore") -> tuple[Cluster, list[str]]:
    """A job whose learner runs and whose rollouts hang in their first reset."""
    cluster = Cluster(
        stall={"timeout": "1m", "startTimeout": "5m", "policy": policy}, rollout={"replicas": 2}
    )
    cluster.settle()
    rollouts = cluster.named("rollout")
    for name in rollouts:
        cluster.states[name] = RoleState(
            role="rollout", name=name, silent_seconds=TIMEOUT, stack=STACK
        )
    return cluster, rollouts


def wait(cluster: Cluster, seconds: float) -> None:
    for _ in range(round(seconds / 20)):
        cluster.tick(20)
        cluster.look()
        cluster.look()


def test_a_job_whose_environments_never_answered_fails() -> None:
    cluster, _ = silent_from_the_start()
    wait(cluster, 240)
    assert cluster.condition("Progressing")["reason"] == "EnvironmentHung"
    assert cluster.condition("Failed")["status"] == "False"

    wait(cluster, 80)
    cluster.settle()

    failed = cluster.condition("Failed")
    assert (failed["status"], failed["reason"]) == ("True", "EnvironmentHung")
    assert failed["message"].startswith("No environment has answered 300 s after the start")
    assert "my/env.py:7" in failed["message"]
    assert cluster.told().count("EnvironmentHung") == 1
    assert cluster.named("rollout") == []


def test_it_does_not_fail_while_one_environment_answers() -> None:
    cluster, rollouts = silent_from_the_start()
    del cluster.states[rollouts[0]]
    wait(cluster, 400)
    assert cluster.condition("Failed")["status"] == "False"

    cluster.states[rollouts[0]] = cluster.states[rollouts[1]]
    wait(cluster, 80)
    cluster.settle()

    assert cluster.condition("Failed")["status"] == "True"


def test_rollouts_that_came_late_have_the_whole_time() -> None:
    cluster, rollouts = silent_from_the_start()
    wait(cluster, 200)
    for name in rollouts:
        cluster.delete_pod(name)
    cluster.settle()
    for name in cluster.named("rollout"):
        cluster.states[name] = cluster.states[rollouts[0]]

    wait(cluster, 280)

    assert cluster.condition("Failed")["status"] == "False"


def test_a_job_that_trained_does_not_fail_of_a_start() -> None:
    cluster = training()
    hang(cluster, "rollout")
    wait(cluster, 1200)
    assert cluster.condition("Failed")["status"] == "False"
