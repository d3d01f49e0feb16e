"""A cluster small enough to read: an API server that keeps objects, controllers that make pods of them,
nodes that run pods, and the memory of one operator.

It does what Kubernetes does as far as `reconcile` can see it, one step at a time and only when told.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rljob.diagnosis.probes import RoleProbe
from rljob.errors import INTERRUPTED, InputError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.settings import OperatorSettings
from rljob.spec.status import (
    BufferStatus,
    CheckpointStatus,
    EndReport,
    EvaluationStatus,
    HookStatus,
    LearnerReport,
    PolicyStatus,
    ProgressStatus,
)
from rljob.telemetry.role_state import RoleState
from rljob.wire.keys import ORDER
from rljob.wire.rotation import KeyOrder, KeyReport
from rljob_operator.decide.decision import Question
from rljob_operator.decide.observed import Inspection, Observed, Polled
from rljob_operator.decide.reconcile import Decision, Notice, Reference, reconcile

NAME, NAMESPACE = "x", "rl"
START = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
GRACE_SECONDS = 30
CHECKPOINT_EVERY = 100
SETTINGS = OperatorSettings()


class Killed(Exception):
    """The operator died between two writes."""


@dataclass
class Memory:
    """What one operator process knows by itself."""

    settled: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    gone: list[Manifest] = field(default_factory=list)
    polled: Polled | None = None
    inspection: Inspection | None = None
    keys_made: frozenset[int] = frozenset()
    status_written: datetime | None = None


def spec(**changes: Any) -> dict[str, Any]:
    """A small spec with some fields replaced."""
    return {
        "environment": {"id": "CartPole-v1"},
        "algorithm": {"name": "PPO"},
        "stop": {"steps": 1000},
        **changes,
    }


class Cluster:
    """One RLJob named `x` and all that comes of it."""

    def __init__(self, **changes: Any) -> None:
        self.now = START
        self.strangers = False
        """Whether a pod refuses the operator's token."""
        self.job: Manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "uid": "job-1",
                "generation": 1,
                "creationTimestamp": self.stamp(),
            },
            "spec": spec(**changes),
        }
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.pods: dict[str, Manifest] = {}
        self.warnings: list[Manifest] = []
        self.operator = Memory()
        self.notices: list[Notice] = []
        self.deleted: list[Reference] = []
        self.job_deleted = False
        self.refuse: Callable[[Manifest], str | None] = lambda _: None
        self.after_look: Callable[[Decision], None] = lambda _: None
        self.steps: dict[str, int] = {}
        self.states: dict[str, RoleState | None] = {}
        self.saved: int | None = None
        self.evaluating = False
        self.played: float | None = None
        """The mean return of the final policy."""
        self.buffer = BufferStatus()
        self.hooks: HookStatus | None = None
        self.status_writes = 0
        self.secrets: set[int] = set()
        self._number = 0

    # Time and names

    def stamp(self, seconds: float = 0.0) -> str:
        return (self.now + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def _next(self) -> int:
        self._number += 1
        return self._number

    # What a user does

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.job.get("status") or {}
        return found

    def edit(self, **changes: Any) -> None:
        """Set fields of the spec, None takes one out."""
        merged = {**self.job["spec"], **changes}
        self.job["spec"] = {name: value for name, value in merged.items() if value is not None}
        self.job["metadata"]["generation"] += 1

    def condition(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = next(c for c in self.status["conditions"] if c["type"] == kind)
        return found

    def role(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(r for r in self.status["roleStatuses"] if r["name"] == name)
        return found

    def told(self) -> list[str]:
        """Reasons of all notices so far."""
        return [notice.reason for notice in self.notices]

    # The operator

    def observe(self) -> Observed:
        memory = self.operator
        return copy.deepcopy(
            Observed(
                job=self.job,
                children=tuple(self.objects.values()),
                pods=tuple(self.pods.values()),
                gone=tuple(memory.gone),
                warnings=tuple(self.warnings),
                refused=memory.refused,
                settled=memory.settled,
                polled=memory.polled,
                inspection=memory.inspection,
                keys_made=memory.keys_made,
                status_written=memory.status_written,
            )
        )

    def decide(self) -> Decision:
        return reconcile(self.observe(), SETTINGS, self.now)

    def look(self, writes: int | None = None) -> Decision:
        """Let the operator look once and carry it out; it is killed after so many writes, if given."""
        decision = self.decide()
        try:
            for number, write in enumerate(self._writes(decision)):
                if number == writes:
                    raise Killed
                write()
        except Killed:
            self.restart_operator()
        else:
            self.notices += decision.notices
            self.poll(decision)
            self.ask(decision)
        self.after_look(decision)
        return decision

    def poll(self, decision: Decision) -> None:
        """Ask the learner that is to be asked."""
        if decision.poll is not None and decision.poll.pod in self.steps:
            report = self.report(decision.poll.pod)
            self.operator.polled = Polled(report, self.now, decision.poll.pod)

    def ask(self, decision: Decision) -> None:
        """Ask the pods that are to be asked; those of which nothing else is known are well."""
        if decision.ask:
            asked = (
                RoleProbe(one.role, one.pod, self.states.get(one.pod, self._well(one)))
                for one in decision.ask
            )
            self.operator.inspection = Inspection(tuple(asked), self.now, self.strangers)

    def told_keys(self) -> KeyOrder:
        """What pods are told of the keys."""
        return KeyOrder.from_json(self.objects["ConfigMap", names.keys_in_use(NAME)]["data"][ORDER])

    def _well(self, one: Question) -> RoleState:
        order = self.told_keys()
        report = KeyReport(max(self.secrets), order.current, order.oldest)
        return RoleState(role=one.role, name=one.pod, keys=report)

    def rotate_keys(self, value: str) -> None:
        """Ask for a generation of keys."""
        self.job["metadata"]["annotations"] = {names.KEYS_ANNOTATION: value}

    def restart_operator(self) -> None:
        """Another process: it knows nothing but what the API server has."""
        self.operator = Memory()

    def _writes(self, decision: Decision) -> Iterator[Callable[[], None]]:
        if decision.delete_job:
            yield self._delete_job
            return
        for generation in decision.mint_keys:
            yield lambda generation=generation: self._mint(generation)  # type: ignore[misc]
        for reference in decision.delete:
            yield lambda reference=reference: self.delete(reference)  # type: ignore[misc]
        for manifest in decision.apply:
            yield lambda manifest=manifest: self.apply(manifest)  # type: ignore[misc]
        if decision.write_status:
            yield lambda: self._write_status(decision)

    def _delete_job(self) -> None:
        self.job_deleted = True

    def _mint(self, generation: int) -> None:
        self.operator.keys_made |= {generation}
        self.secrets.add(generation)

    def _write_status(self, decision: Decision) -> None:
        dumped = decision.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        self.job["status"] = json.loads(json.dumps(dumped, allow_nan=False))
        self.operator.status_written = self.now
        self.status_writes += 1

    # The API server

    def apply(self, manifest: Manifest) -> None:
        """Server-side apply: what we set is ours, what others added stays."""
        key = manifest["kind"], manifest["metadata"]["name"]
        problem = self.refuse(manifest)
        if problem is not None:
            self.operator.refused[key] = problem
            return
        self.operator.refused.pop(key, None)
        there = self.objects.get(key)
        kept = _defaulted(copy.deepcopy(manifest))
        metadata = kept["metadata"]
        if there is None:
            metadata.update(uid=f"{key[0]}-{self._next()}", creationTimestamp=self.stamp())
            metadata["generation"] = 1
            kept["status"] = {}
        else:
            old = there["metadata"]
            metadata.update(uid=old["uid"], creationTimestamp=old["creationTimestamp"])
            metadata["labels"] = {**old.get("labels", {}), **metadata["labels"]}
            changed = there.get("spec") != kept.get("spec")
            metadata["generation"] = old["generation"] + changed
            kept["status"] = there["status"]
        self.objects[key] = kept
        digest = metadata["annotations"][names.HASH_ANNOTATION]
        self.operator.settled[key] = digest, metadata["generation"]

    def delete(self, reference: Reference) -> None:
        """Delete an object and, in the background, its pods."""
        key = reference.kind, reference.name
        if reference.kind == "Pod":
            self.deleted.append(reference)
            self.delete_pod(reference.name)
            return
        there = self.objects.get(key)
        if there is None or there["metadata"]["uid"] != reference.uid:
            return
        if reference.replacement is not None:
            problem = self.refuse(reference.replacement)
            if problem is not None:
                self.operator.refused[key] = problem
                return
            self.operator.refused.pop(key, None)
        self.deleted.append(reference)
        self.remove(*key)

    def remove(self, kind: str, name: str) -> None:
        """As `kubectl delete` of a child."""
        there = self.objects.pop((kind, name))
        for pod in list(self.pods.values()):
            if pod["metadata"]["ownerReferences"][0]["uid"] == there["metadata"]["uid"]:
                self.delete_pod(pod["metadata"]["name"])

    # Controllers

    def control(self) -> None:
        """Let every controller look once."""
        for (kind, _), child in list(self.objects.items()):
            if kind == "Deployment":
                self._scale(child, child["spec"]["replicas"])
            elif kind == "StatefulSet":
                self._scale(child, 1, f"{child['metadata']['name']}-0")
            elif kind == "Job":
                self._run_job(child)
            elif kind == "PersistentVolumeClaim":
                child["status"] = {"phase": "Bound"}

    def _scale(self, child: Manifest, replicas: int, name: str | None = None) -> None:
        revision = _revision(child)
        for pod in self.pods_of(child):
            if pod["metadata"]["labels"][_label(child)] != revision and not _deleting(pod):
                self.delete_pod(pod["metadata"]["name"])
        alive = [pod for pod in self.pods_of(child) if not _deleting(pod) and not _ended(pod)]
        for pod in alive[replicas:]:
            self.delete_pod(pod["metadata"]["name"])
        for _ in range(replicas - len(alive)):
            if name is None:
                self._create_pod(child, f"{child['metadata']['name']}-{self._next()}", revision)
            elif name not in self.pods:
                self._create_pod(child, name, revision)

    def _run_job(self, child: Manifest) -> None:
        status = child["status"]
        if status.get("conditions"):
            return
        for pod in self.pods_of(child):
            if not _ended(pod) or pod.get("counted"):
                continue
            pod["counted"] = True
            code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
            if code == 0:
                status["conditions"] = [{"type": "Complete", "status": "True"}]
                return
            if code == InputError.exit_code:
                status["failed"] = status.get("failed", 0) + 1
                status["conditions"] = [_failed("PodFailurePolicy")]
                return
            if code != INTERRUPTED and not _disrupted(pod):
                status["failed"] = status.get("failed", 0) + 1
        if status.get("failed", 0) > child["spec"]["backoffLimit"]:
            status["conditions"] = [_failed("BackoffLimitExceeded")]
        elif all(_ended(pod) for pod in self.pods_of(child)):
            uid = child["metadata"]["uid"]
            self._create_pod(child, f"{child['metadata']['name']}-{self._next()}", uid)

    def _create_pod(self, child: Manifest, name: str, revision: str) -> None:
        labels = {**child["spec"]["template"]["metadata"]["labels"], _label(child): revision}
        owner = {"kind": child["kind"], "uid": child["metadata"]["uid"], "controller": True}
        role = labels[names.ROLE_LABEL]
        self.pods[name] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "uid": f"pod-{self._next()}",
                "labels": labels,
                "creationTimestamp": self.stamp(),
                "ownerReferences": [owner],
            },
            "spec": {"nodeName": None},
            "status": {
                "phase": "Pending",
                "containerStatuses": [
                    {
                        "name": role,
                        "image": "rljob/any:1",
                        "imageID": "",
                        "restartCount": 0,
                        "ready": False,
                        "state": {"waiting": {"reason": "ContainerCreating"}},
                        "lastState": {},
                    }
                ],
            },
        }

    def pods_of(self, child: Manifest) -> list[Manifest]:
        uid = child["metadata"]["uid"]
        return [p for p in self.pods.values() if p["metadata"]["ownerReferences"][0]["uid"] == uid]

    # Nodes

    def run(self) -> None:
        """Let every node look once: those that are being deleted end and go, and others start."""
        for name, pod in list(self.pods.items()):
            if _deleting(pod):
                if not _ended(pod):
                    self.end_pod(name, INTERRUPTED if is_role(pod, "learner") else 0)
                self._vanish(name)
        self.start_pods()

    def start_pods(self) -> None:
        """Let every node start what it has; what is to end takes its time."""
        for name, pod in self.pods.items():
            if not _deleting(pod) and pod["status"]["phase"] == "Pending":
                self.start_pod(name)

    def start_pod(self, name: str) -> None:
        pod = self.pods[name]
        pod["spec"]["nodeName"] = "node"
        pod["status"].update(
            phase="Running",
            podIP="10.0.0.7",
            conditions=[
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True"},
            ],
        )
        container = _container(pod)
        container.update(
            ready=True, state={"running": {"startedAt": self.stamp()}}, imageID="reg/any@sha256:abc"
        )
        if is_role(pod, "learner"):
            self.steps[name] = self.saved or 0

    def train(self, steps: int) -> None:
        """Let the learner that runs take so many steps."""
        for name, pod in self.pods.items():
            if is_role(pod, "learner") and "running" in _container(pod)["state"]:
                self.steps[name] += steps
                self.saved = self.steps[name] // CHECKPOINT_EVERY * CHECKPOINT_EVERY or None

    def delete_pod(self, name: str) -> None:
        """As `kubectl delete pod`."""
        metadata = self.pods[name]["metadata"]
        metadata.setdefault("deletionTimestamp", self.stamp(GRACE_SECONDS))
        metadata.setdefault("deletionGracePeriodSeconds", GRACE_SECONDS)

    def evict_pod(self, name: str) -> None:
        """As a drain of its node does it."""
        disrupted = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastTransitionTime": self.stamp(),
        }
        self.pods[name]["status"].setdefault("conditions", []).append(disrupted)
        self.delete_pod(name)

    def end_pod(self, name: str, code: int, message: str | None = None) -> None:
        """Its role ends, for good."""
        pod = self.pods[name]
        if is_role(pod, "learner") and message is None:
            message = self.last_words(name, code)
        pod["status"]["phase"] = "Failed" if code else "Succeeded"
        pod["status"]["conditions"] = [
            c for c in pod["status"].get("conditions", ()) if c["type"] == "DisruptionTarget"
        ]
        terminated = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": message or "",
            "finishedAt": self.stamp(),
        }
        _container(pod).update(ready=False, state={"terminated": terminated})

    def crash(self, name: str, message: str = "", code: int = 1, reason: str = "Error") -> None:
        """Its container ends and is started again at once."""
        container = _container(self.pods[name])
        terminated = {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "finishedAt": self.stamp(),
        }
        container["lastState"] = {"terminated": terminated}
        container["restartCount"] += 1

    def last_words(self, name: str, code: int) -> str:
        """What rljob's learner leaves at its end, if it is not killed."""
        if code == 137 or name not in self.steps:
            return ""
        if code == INTERRUPTED:
            self.saved = self.steps[name]
        outcome = {0: "Complete", INTERRUPTED: "Interrupted"}.get(code, "Failed")
        reason = {0: "StepsReached", INTERRUPTED: "Interrupted"}.get(code, "RunError")
        end = EndReport.model_validate(
            {"outcome": outcome, "reason": reason, "message": f"ended with {code}"}
        ).model_copy(update={"report": self.report(name)})
        return end.model_dump_json(by_alias=True, exclude_none=True)

    def report(self, name: str) -> LearnerReport:
        saved = self.saved
        steps = self.steps[name]
        played = (
            None
            if self.played is None
            else EvaluationStatus(policy_version=steps // 10, mean=self.played, std=0.0, episodes=5)
        )
        checkpoint = saved and CheckpointStatus(
            step=saved, policy_version=saved, time=START.isoformat(), path="c", sha256="0" * 64
        )
        return LearnerReport(
            progress=ProgressStatus(steps=steps, updates=steps // 10),
            policy=PolicyStatus(version=steps // 10),
            buffer=self.buffer,
            last_checkpoint=checkpoint or None,
            evaluating=self.evaluating or None,
            evaluation=played,
            hooks=self.hooks,
            seed=7,
            versions={"rljob": "0.1.0"},
        )

    def _vanish(self, name: str) -> None:
        self.operator.gone.append(self.pods.pop(name))

    # All together

    def settle(self, rounds: int = 15) -> Decision:
        """Let everyone look until nothing is left to do.

        Raises:
            AssertionError: when that takes more than `rounds`.
        """
        for _ in range(rounds):
            before = self._shape()
            decision = self.look()
            self.control()
            self.run()
            dumped = decision.status.model_dump(mode="json", by_alias=True, exclude_none=True)
            if not quiet(decision) or before != self._shape():
                self.tick(1)
            elif dumped == self.status:
                return decision
            else:
                assert decision.requeue_after is not None
                self.tick(decision.requeue_after)
        raise AssertionError(f"still at work after {rounds} rounds: {decision}")

    def _shape(self) -> object:
        """All that may change but the job."""
        polled = self.operator.polled
        return copy.deepcopy((self.objects, self.pods, polled.report if polled else None))

    def trained(self, steps: int = 250) -> Cluster:
        """Bring it to where it trains."""
        self.settle()
        self.train(steps)
        self.look()
        self.settle()
        return self

    def named(self, role: str) -> list[str]:
        """Names of the pods of a role that are to stay, the oldest first."""
        return [
            name
            for name, pod in self.pods.items()
            if is_role(pod, role) and not _deleting(pod) and not _ended(pod)
        ]


def is_role(pod: Manifest, role: str) -> bool:
    return bool(pod["metadata"]["labels"].get(names.ROLE_LABEL) == role)


def quiet(decision: Decision) -> bool:
    """Whether a decision asks for nothing."""
    return not (
        decision.apply
        or decision.delete
        or decision.notices
        or decision.write_status
        or decision.mint_keys
        or decision.delete_job
    )


def _container(pod: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = pod["status"]["containerStatuses"][0]
    return found


def _deleting(pod: Manifest) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _ended(pod: Manifest) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _disrupted(pod: Manifest) -> bool:
    return any(c["type"] == "DisruptionTarget" for c in pod["status"].get("conditions", ()))


def _failed(reason: str) -> dict[str, Any]:
    return {"type": "Failed", "status": "True", "reason": reason, "message": "Job failed"}


def _label(child: Manifest) -> str:
    return {
        "Deployment": "pod-template-hash",
        "StatefulSet": "controller-revision-hash",
        "Job": "batch.kubernetes.io/controller-uid",
    }[child["kind"]]


def _revision(child: Manifest) -> str:
    template = json.dumps(child["spec"]["template"], sort_keys=True)
    return hashlib.sha256(template.encode()).hexdigest()[:10]


def _defaulted(manifest: Manifest) -> Manifest:
    """As the API server keeps it: defaults filled in, amounts written its way, empty fields left out."""
    pod = manifest.get("spec", {}).get("template", {}).get("spec")
    if pod is not None:
        pod["dnsPolicy"] = "ClusterFirst"
        for container in pod["containers"]:
            container["terminationMessagePath"] = "/dev/termination-log"
            requests = container.get("resources", {}).get("requests", {})
            for name, amount in requests.items():
                requests[name] = {"1000m": "1", "0.5": "500m"}.get(amount, amount)
            container["env"] = [*container.get("env", ()), {"name": "INJECTED", "value": "1"}]
    if manifest["kind"] == "PersistentVolumeClaim":
        manifest["spec"]["volumeMode"] = "Filesystem"
    return manifest
