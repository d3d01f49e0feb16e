"""Anything may happen to a job, in any order: what must hold holds all the time."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from rljob.spec.status import RLJobStatus
from rljob_operator.decide.decision import Decision
from rljob_operator.decide.key_rotation import ASK_SECONDS, CURRENT, INVALID
from rljob_operator.decide.observed import Polled
from tests.unit.operator.cluster import NAME, Cluster, is_role, quiet

WORKLOADS = ("Deployment", "StatefulSet", "Job")
TEMPLATES = strategies.sampled_from(
    [None, {"metadata": {"labels": {"team": "blue"}}}, {"metadata": {"labels": {"team": "red"}}}]
)


class Machine(RuleBasedStateMachine):
    """A cluster, and what was seen of the job in it so far."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(backoffLimit=2)
        self.cluster.after_look = self._check
        self.before = RLJobStatus()
        self.suspensions = 0
        self.losses = 0
        self.old_answers: list[Polled] = []

    @initialize(trains=strategies.booleans())
    def begin(self, trains: bool) -> None:
        if trains:
            self.cluster.trained()

    # What users do

    @rule(replicas=strategies.integers(1, 5))
    def scale(self, replicas: int) -> None:
        self.cluster.edit(rollout={"replicas": replicas})

    @rule(suspend=strategies.booleans())
    def suspend(self, suspend: bool) -> None:
        self.suspensions += suspend
        self.cluster.edit(suspend=suspend)

    @rule(role=strategies.sampled_from(["buffer", "learner"]), template=TEMPLATES)
    def edit_template(self, role: str, template: Any) -> None:
        self.cluster.edit(**{role: {"template": template} if template else None})

    @rule(template=TEMPLATES, suspend=strategies.booleans())
    def replace_the_learner_in_a_hurry(self, template: Any, suspend: bool) -> None:
        """Everybody but the node on which the old one ends is quick."""
        if suspend:
            self.suspend(True)
            self.cluster.look()
        self.cluster.edit(suspend=False, learner={"template": template} if template else None)
        for _ in range(3):
            self.cluster.look()
        self.cluster.control()
        self.cluster.start_pods()

    @rule(steps=strategies.sampled_from([1000, 2000]))
    def edit_what_the_learner_is_told(self, steps: int) -> None:
        self.cluster.edit(stop={"steps": steps})

    @rule(on=strategies.booleans())
    def edit_evaluation(self, on: bool) -> None:
        self.cluster.edit(evaluation={"interval": "30s"} if on else None)

    @rule(broken=strategies.sampled_from(["spec", "template", None]))
    def break_or_heal(self, broken: str | None) -> None:
        self.cluster.edit(
            algorithm={"name": "PPO"} if broken != "spec" else {},
            environment={"id": "CartPole-v1"},
            buffer={"template": {"spec": {"containers": "none"}}} if broken == "template" else None,
        )

    @rule(more=strategies.integers(-1, 3))
    def rotate_the_keys(self, more: int) -> None:
        known = self.cluster.status.get("keysGeneration") or 1
        self.cluster.rotate_keys(str(known + more))

    # What others do to the children

    def _deletable(self) -> list[tuple[str, str]]:
        # A claim that is deleted takes the checkpoints with it, which nobody can repair.
        return sorted(key for key in self.cluster.objects if key[0] != "PersistentVolumeClaim")

    @precondition(lambda self: self._deletable())
    @rule(data=strategies.data())
    def delete_a_child(self, data: strategies.DataObject) -> None:
        key = data.draw(strategies.sampled_from(self._deletable()))
        self.losses += len(self.cluster.pods_of(self.cluster.objects[key]))
        self.cluster.remove(*key)

    @precondition(lambda self: ("Deployment", f"{NAME}-rollout") in self.cluster.objects)
    @rule(replicas=strategies.integers(0, 6))
    def scale_the_deployment(self, replicas: int) -> None:
        child = self.cluster.objects["Deployment", f"{NAME}-rollout"]
        if child["spec"]["replicas"] != replicas:
            self.losses += abs(child["spec"]["replicas"] - replicas)
            child["spec"]["replicas"] = replicas
            child["metadata"]["generation"] += 1

    @precondition(lambda self: ("Service", f"{NAME}-buffer") in self.cluster.objects)
    @rule()
    def label_a_child(self) -> None:
        self.cluster.objects["Service", f"{NAME}-buffer"]["metadata"]["labels"]["mine"] = "yes"

    # What happens to pods

    @precondition(lambda self: self.cluster.pods)
    @rule(data=strategies.data(), how=strategies.sampled_from(["delete", "evict", "crash"]))
    def lose_a_pod(self, data: strategies.DataObject, how: str) -> None:
        cluster = self.cluster
        name = data.draw(strategies.sampled_from(sorted(cluster.pods)))
        pod = cluster.pods[name]
        self.losses += 1
        if how == "delete":
            cluster.delete_pod(name)
        elif how == "evict":
            cluster.evict_pod(name)
        elif pod["status"]["phase"] == "Running" and not is_role(pod, "learner"):
            cluster.crash(name, "oh")

    @precondition(lambda self: self.cluster.named("learner"))
    @rule(code=strategies.sampled_from([0, 1, 1, 2, 75, 137]))
    def end_the_learner(self, code: int) -> None:
        for name in self.cluster.named("learner"):
            if name in self.cluster.steps:
                self.losses += 1
                self.cluster.end_pod(name, code)

    @rule(steps=strategies.integers(1, 150))
    def train(self, steps: int) -> None:
        self.cluster.train(steps)

    # What controllers, nodes and operators do

    @rule()
    def control(self) -> None:
        self.cluster.control()

    @rule()
    def start_pods(self) -> None:
        self.cluster.start_pods()

    @rule()
    def run_nodes(self) -> None:
        self.cluster.run()

    @rule(seconds=strategies.integers(0, 20))
    def tick(self, seconds: int) -> None:
        self.cluster.tick(seconds)

    @rule(killed_after=strategies.one_of(strategies.none(), strategies.integers(0, 6)))
    def look(self, killed_after: int | None) -> None:
        if killed_after is not None:
            # What it did and did not write down may be counted once too often.
            self.losses += 5
        self.cluster.look(killed_after)

    @rule(steps=strategies.integers(1, 50), age=strategies.integers(1, 3))
    def look_after_an_old_answer_came_late(self, steps: int, age: int) -> None:
        if self.cluster.operator.polled is not None:
            self.old_answers.append(self.cluster.operator.polled)
        self.cluster.train(steps)
        self.cluster.look()
        self.cluster.look()
        self.cluster.tick(5)
        if self.old_answers:
            self.cluster.operator.polled = self.old_answers[-age:][0]
        self.cluster.look()

    @rule()
    def restart_the_operator(self) -> None:
        self.cluster.restart_operator()

    @rule()
    def settle(self) -> None:
        decision = self.cluster.settle()
        assert quiet(self.cluster.decide()), "a quiet job costs nothing"
        # Another process has nothing to say or to write, but that it may find out about the keys.
        self.cluster.restart_operator()
        again = self.cluster.decide()
        assert not again.delete
        assert not again.notices
        assert again.status == decision.status
        if self.cluster.status["phase"] in ("Complete", "Failed", "Suspended"):
            assert quiet(again)
        self._as_asked(again.status)

    def _as_asked(self, status: RLJobStatus) -> None:
        """What is left when all have come to rest."""
        cluster = self.cluster
        kinds = {kind for kind, _ in cluster.objects}
        if status.phase in ("Complete", "Failed"):
            assert not kinds & {"Deployment", "StatefulSet"}
        elif status.phase == "Suspended":
            assert not kinds & set(WORKLOADS)
            assert not cluster.pods
        elif not self._broken(status):
            assert status.phase in ("Starting", "Training"), status
            assert len(cluster.named("rollout")) == cluster.job["spec"].get("rollout", {}).get(
                "replicas", 2
            )
            for role in ("buffer", "learner"):
                assert len(cluster.named(role)) == 1
            assert bool(cluster.named("evaluator")) == ("evaluation" in cluster.job["spec"])
            self._keys_as_asked()

    def _keys_as_asked(self) -> None:
        """All pods take what they are told, so that a rotation ends."""
        for _ in range(6):
            self.cluster.tick(ASK_SECONDS)
            self.cluster.look()
            self.cluster.look()
        assert self.cluster.condition("KeysCurrent")["reason"] in (CURRENT, INVALID)

    def _broken(self, status: RLJobStatus) -> bool:
        return any(
            found.type == "Degraded" and found.reason in ("InvalidSpec", "InvalidTemplate")
            for found in status.conditions
        )

    def _check(self, decision: Decision) -> None:
        """What holds for every decision, and for every status that was written."""
        final = any(
            found.type in ("Complete", "Failed") and found.status == "True"
            for found in self.before.conditions
        )
        if final:
            assert not decision.apply
            assert not decision.notices
            assert not decision.mint_keys
            assert decision.status.phase == self.before.phase
            assert decision.status.progress == self.before.progress
        for reference in decision.delete:
            self._check_deletion(reference.kind, reference.name, bool(reference.replacement), final)
        written = RLJobStatus.model_validate(self.cluster.status)
        self._check_progress(self.before, written, decision)
        self.before = written

    def _check_deletion(self, kind: str, name: str, replaced: bool, final: bool) -> None:
        spec = self.cluster.job["spec"]
        stopped = final or spec.get("suspend") or self.before.phase in ("Suspending", "Suspended")
        unwanted = name.endswith("-evaluator") and "evaluation" not in spec
        assert (stopped and kind in WORKLOADS) or unwanted or (kind == "Job" and replaced), name

    def _check_progress(self, before: RLJobStatus, after: RLJobStatus, decision: Decision) -> None:
        counted = {role.name: role.restarts for role in after.role_statuses}
        for role in before.role_statuses:
            assert counted[role.name] >= role.restarts
        assert after.restarts == sum(counted.values())
        assert after.restarts <= self.losses
        failures = [status.learner.failures if status.learner else 0 for status in (before, after)]
        if failures[1] < failures[0]:
            assert before.ledger
            assert after.last_checkpoint
            assert after.last_checkpoint.policy_version > before.ledger.failed_at
        steps = [status.progress.steps if status.progress else 0 for status in (before, after)]
        if steps[1] < steps[0]:
            assert "RolledBack" in [notice.reason for notice in decision.notices]
            assert before.ledger
            assert after.ledger
            assert before.ledger.reporter < after.ledger.reporter, "only another learner may"

    @invariant()
    def never_two_learners(self) -> None:
        at_work = [
            name
            for name, pod in self.cluster.pods.items()
            if is_role(pod, "learner") and "running" in _state(pod)
        ]
        assert len(at_work) <= 1, at_work

    @invariant()
    def told_once(self) -> None:
        told = self.cluster.told()
        for reason in ("Created", "Started", "Complete", "Failed"):
            assert told.count(reason) <= 1
        assert told.count("Complete") + told.count("Failed") <= 1
        assert told.count("Suspended") <= self.suspensions


def _state(pod: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = pod["status"]["containerStatuses"][0]["state"]
    return state


TestMachine = Machine.TestCase
# Without shrinking: it takes longer than a test may, and the steps are few and readable as they are.
TestMachine.settings = settings(
    max_examples=20, stateful_step_count=30, phases=[Phase.generate], report_multiple_bugs=False
)
