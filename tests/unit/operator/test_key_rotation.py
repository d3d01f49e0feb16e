"""How the keys of a job change while it trains: Secrets, what pods are told, the condition and its Events."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from rljob.telemetry.role_state import RoleState
from rljob.wire.rotation import KeyOrder, KeyReport
from rljob_operator.decide.key_rotation import ASK_SECONDS
from tests.unit.operator.cluster import Cluster, is_role, quiet


@dataclass
class Rotating:
    """A job that trains, and what its pods have taken of what they are told."""

    cluster: Cluster = field(default_factory=lambda: Cluster(evaluation={}).trained())

    def __post_init__(self) -> None:
        self.take()
        self.cluster.look()

    def take(self, *late: str) -> None:
        """Pods see the Secrets that exist and what they are told, except for those of some roles."""
        known = max(self.cluster.secrets)
        order = self.cluster.told_keys()
        for name, pod in self.cluster.pods.items():
            if not any(is_role(pod, role) for role in late):
                report = KeyReport(known, order.current, order.oldest)
                self.cluster.states[name] = RoleState(role="rollout", name=name, keys=report)

    def step(self) -> KeyOrder:
        """Time for the operator to ask all pods and to act on what they say."""
        self.cluster.tick(ASK_SECONDS)
        self.cluster.look()
        self.cluster.look()
        return self.cluster.told_keys()

    def condition(self) -> tuple[str, str]:
        found = self.cluster.condition("KeysCurrent")
        return found["status"], found["reason"]


def test_each_step_waits_for_the_last_pod() -> None:
    job = Rotating()
    cluster = job.cluster
    pods = set(cluster.pods)
    assert job.condition() == ("True", "Current")
    assert cluster.status["keysGeneration"] == 1

    job.cluster.rotate_keys("2")
    decision = cluster.look()
    assert decision.mint_keys == (2,)
    assert job.step() == KeyOrder(1, 1)
    assert job.condition() == ("False", "Distributing")

    job.take("evaluator")
    assert job.step() == KeyOrder(1, 1)
    (late,) = cluster.named("evaluator")
    assert cluster.condition("KeysCurrent")["message"] == (
        f"Keys 1 to 2 are accepted. Keys 2 are not known yet by {late}."
    )
    job.take()
    assert job.step() == KeyOrder(1, 2)
    assert job.condition() == ("False", "Changing")
    assert cluster.status["keysGeneration"] == 2

    job.take("buffer")
    assert job.step() == KeyOrder(1, 2)
    job.take()
    assert job.step() == KeyOrder(2, 2)
    assert job.condition() == ("False", "Retiring")

    job.take("rollout")
    job.step()
    assert job.condition() == ("False", "Retiring")
    job.take()
    job.step()
    assert job.condition() == ("True", "Current")
    assert cluster.condition("KeysCurrent")["message"] == "Only keys 2 are accepted."
    assert cluster.told()[-2:] == ["KeysRotating", "KeysRotated"]
    assert set(cluster.pods) == pods, "no pod was replaced"
    assert cluster.deleted == []
    cluster.tick(100)
    assert quiet(cluster.decide())
    assert not cluster.decide().ask


def test_a_pod_that_does_not_answer_is_waited_for() -> None:
    job = Rotating()
    job.cluster.rotate_keys("2")
    job.cluster.look()
    job.take()
    (silent,) = job.cluster.named("learner")
    job.cluster.states[silent] = None
    for _ in range(3):
        assert job.step() == KeyOrder(1, 1)
    assert silent in job.cluster.condition("KeysCurrent")["message"]


@pytest.mark.parametrize("looks", range(12))
def test_another_operator_goes_on_from_any_step(looks: int) -> None:
    job = Rotating()
    job.cluster.rotate_keys("2")
    for number in range(40):
        if number == looks:
            job.cluster.restart_operator()
        job.cluster.tick(1)
        job.cluster.look()
        job.take()
    assert job.cluster.told_keys() == KeyOrder(2, 2)
    assert job.condition() == ("True", "Current")
    assert job.cluster.told().count("KeysRotated") == 1


def test_pods_are_asked_now_and_then_only() -> None:
    job = Rotating()
    job.cluster.rotate_keys("2")
    job.cluster.look()
    asked = 0
    for _ in range(int(10 * ASK_SECONDS)):
        job.cluster.tick(1)
        asked += bool(job.cluster.look().ask)
    assert 9 <= asked <= 11


def test_a_secret_that_cannot_be_made_changes_nothing() -> None:
    """The Secret is refused: no pod is told to use what does not exist."""
    job = Rotating()
    job.cluster.rotate_keys("2")
    for _ in range(10):
        job.cluster.tick(ASK_SECONDS)
        decision = job.cluster.decide()
        assert decision.mint_keys == (2,)
        assert not decision.apply


def test_a_suspended_job_changes_its_keys_when_it_goes_on() -> None:
    job = Rotating()
    job.cluster.edit(suspend=True)
    job.cluster.settle()
    job.cluster.rotate_keys("2")
    decision = job.cluster.settle()
    assert not decision.mint_keys
    assert job.cluster.told_keys() == KeyOrder(1, 1)
    job.cluster.edit(suspend=None)
    for _ in range(20):
        job.cluster.tick(ASK_SECONDS)
        job.cluster.settle()
        job.take()
    assert job.cluster.told_keys() == KeyOrder(2, 2)


def test_a_job_begins_with_the_keys_that_it_asks_for() -> None:
    cluster = Cluster()
    cluster.rotate_keys("3")
    decision = cluster.look()
    assert decision.mint_keys == (1, 3)
    assert cluster.told_keys() == KeyOrder(3, 3)
    assert cluster.condition("KeysCurrent")["status"] == "True"


@pytest.mark.parametrize("value", ["", "0", "-1", "two", "2.0", "9", "²", "9" * 5000])
def test_a_generation_that_cannot_be_is_said_and_changes_nothing(value: str) -> None:
    job = Rotating()
    job.cluster.rotate_keys(value)
    for _ in range(3):
        job.step()
    assert job.cluster.told_keys() == KeyOrder(1, 1)
    assert job.condition() == ("False", "InvalidGeneration")
    message = job.cluster.condition("KeysCurrent")["message"]
    assert "generation 1 of the keys is in use, and allowed are 1 to 8" in message
    assert len(message) < 300
    assert job.cluster.told().count("InvalidGeneration") == 1
    job.cluster.rotate_keys("2")
    for _ in range(8):
        job.step()
        job.take()
    assert job.condition() == ("True", "Current")


def test_keys_do_not_go_back() -> None:
    job = Rotating()
    for value in ("2", "3"):
        job.cluster.rotate_keys(value)
        for _ in range(8):
            job.step()
            job.take()
    assert job.cluster.told_keys() == KeyOrder(3, 3)
    job.cluster.rotate_keys("2")
    job.step()
    assert job.condition() == ("False", "InvalidGeneration")
    assert job.cluster.told_keys() == KeyOrder(3, 3)
    job.cluster.job["metadata"]["annotations"] = {}
    job.step()
    assert job.condition() == ("True", "Current")
