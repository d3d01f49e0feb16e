"""The objects that belong to one RLJob."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.spec.roles import ROLES, RoleName
from rljob_operator.decide.observed import Observed

WORKLOADS = ("Deployment", "StatefulSet", "Job")
"""Kinds of children that create pods."""
_REVISIONS = (
    "pod-template-hash",
    "controller-revision-hash",
    "batch.kubernetes.io/controller-uid",
)
"""Labels by which Kubernetes distinguishes pods of different templates or Jobs."""


def at(value: Any, *path: str) -> Any:
    """The value at a path in nested dictionaries, or None."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def key(manifest: Manifest) -> tuple[str, str]:
    """Kind and name."""
    return manifest["kind"], manifest["metadata"]["name"]


def uid(manifest: Manifest) -> str:
    return str(at(manifest, "metadata", "uid") or "")


def controller(manifest: Manifest) -> str | None:
    """UID of the controlling owner."""
    for reference in at(manifest, "metadata", "ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return None


def condition(manifest: Manifest, kind: str) -> Manifest | None:
    """The condition of this type, if it is True."""
    for found in at(manifest, "status", "conditions") or ():
        if found.get("type") == kind and found.get("status") == "True":
            return dict(found)
    return None


@dataclass(frozen=True)
class ContainerEnd:
    """One terminated run of a container.

    Attributes:
        init: whether it is an init container.
        finished: end time, RFC 3339.
    """

    container: str
    init: bool
    exit_code: int
    reason: str
    message: str
    finished: str


@dataclass(frozen=True)
class PodState:
    """A pod of a role.

    Attributes:
        manifest: its last known state.
        exists: False for a deleted pod.
    """

    manifest: Manifest
    exists: bool = True

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def uid(self) -> str:
        return uid(self.manifest)

    @property
    def role(self) -> str | None:
        found: str | None = at(self.manifest, "metadata", "labels", names.ROLE_LABEL)
        return found

    @property
    def created(self) -> str:
        return str(at(self.manifest, "metadata", "creationTimestamp") or "")

    @property
    def owner(self) -> str | None:
        return controller(self.manifest)

    @property
    def revision(self) -> str:
        labels = at(self.manifest, "metadata", "labels") or {}
        return next((str(labels[name]) for name in _REVISIONS if name in labels), "")

    @property
    def phase(self) -> str:
        return str(at(self.manifest, "status", "phase") or "Pending")

    @property
    def ended(self) -> bool:
        """Whether no container of it will run again."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def gone_by(self) -> str | None:
        """Deletion deadline, if the pod is being deleted; RFC 3339."""
        found: str | None = at(self.manifest, "metadata", "deletionTimestamp")
        return found

    @property
    def alive(self) -> bool:
        """Whether it exists, has not ended and is not being deleted."""
        return self.exists and not self.ended and self.gone_by is None

    @property
    def ready(self) -> bool:
        return self.alive and condition(self.manifest, "Ready") is not None

    @property
    def running(self) -> bool:
        """Whether the role's container runs in a pod that is alive."""
        return self.alive and at(self.main, "state", "running") is not None

    @property
    def address(self) -> str | None:
        found: str | None = at(self.manifest, "status", "podIP")
        return found

    @property
    def node(self) -> str | None:
        found: str | None = at(self.manifest, "spec", "nodeName")
        return found

    @cached_property
    def main(self) -> dict[str, Any]:
        """Status of the role's container; empty before it exists."""
        return next((c for c in self.containers if c.get("name") == self.role), {})

    @property
    def containers(self) -> list[dict[str, Any]]:
        return list(at(self.manifest, "status", "containerStatuses") or ())

    @property
    def init_containers(self) -> list[dict[str, Any]]:
        return list(at(self.manifest, "status", "initContainerStatuses") or ())

    @cached_property
    def ends(self) -> tuple[ContainerEnd, ...]:
        """Known ends of the role's container and of the init containers."""
        found = [*_ends(self.main, init=False)]
        for status in self.init_containers:
            found += _ends(status, init=True)
        return tuple(sorted(found, key=lambda end: end.finished))

    @property
    def end(self) -> ContainerEnd | None:
        """How the role's container ended, if it has ended and was not restarted."""
        terminated = at(self.main, "state", "terminated")
        return ended_life(self.main, terminated, init=False) if terminated else None


@dataclass(frozen=True)
class JobResources:
    """Existing objects of one RLJob.

    Attributes:
        children: its own children that are not being deleted, by kind and name.
        taken: kind and name of objects that are being deleted or have another owner; nothing can be
            applied under that name until they are gone.
        pods: its pods, including deleted ones, oldest first.
        strangers: pods with its labels that are older: they belong to an earlier RLJob of the same name.
    """

    job: Manifest
    children: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    taken: frozenset[tuple[str, str]] = frozenset()
    pods: tuple[PodState, ...] = ()
    strangers: tuple[PodState, ...] = ()

    @classmethod
    def of(cls, observed: Observed) -> JobResources:
        job = observed.job
        children, taken = {}, set()
        for child in observed.children:
            foreign = controller(child) not in (None, uid(job))
            if foreign or at(child, "metadata", "deletionTimestamp") is not None:
                taken.add(key(child))
            else:
                children[key(child)] = child
        every = [PodState(pod) for pod in observed.pods]
        every += [PodState(pod, exists=False) for pod in observed.gone]
        every = [pod for pod in every if pod.role in ROLES]
        every.sort(key=lambda pod: (pod.created, pod.name))
        since = str(at(job, "metadata", "creationTimestamp") or "")
        return cls(
            job=job,
            children=children,
            taken=frozenset(taken),
            pods=tuple(pod for pod in every if pod.created >= since),
            strangers=tuple(pod for pod in every if pod.created < since),
        )

    @property
    def name(self) -> str:
        return str(self.job["metadata"]["name"])

    @property
    def generation(self) -> int:
        return int(at(self.job, "metadata", "generation") or 0)

    @cached_property
    def learner_job(self) -> Manifest | None:
        return self.children.get(("Job", names.workload(self.name, "learner")))

    def workload(self, role: RoleName) -> Manifest | None:
        """The child that creates the pods of a role."""
        name = names.workload(self.name, role)
        return next((one for one in self.workloads() if one["metadata"]["name"] == name), None)

    def container(self, role: RoleName) -> Manifest:
        """The role's container in the template of its pods; empty if there is none."""
        containers = at(self.workload(role), "spec", "template", "spec", "containers") or ()
        return next((dict(one) for one in containers if one.get("name") == role), {})

    def claims(self, role: RoleName) -> list[str]:
        """Names of the volume claims that the pods of a role need."""
        volumes = at(self.workload(role), "spec", "template", "spec", "volumes") or ()
        found = (at(volume, "persistentVolumeClaim", "claimName") for volume in volumes)
        return [str(name) for name in found if name]

    def of_role(self, role: RoleName) -> list[PodState]:
        return [pod for pod in self.pods if pod.role == role]

    def alive(self, role: RoleName) -> list[PodState]:
        """Pods of a role that exist, have not ended and are not being deleted."""
        return [pod for pod in self.of_role(role) if pod.alive]

    def ready(self, role: RoleName) -> int:
        return sum(pod.ready for pod in self.of_role(role))

    def running(self, role: RoleName) -> list[PodState]:
        return [pod for pod in self.of_role(role) if pod.running]

    @cached_property
    def learner(self) -> PodState | None:
        """The pod of the running learner."""
        running = self.running("learner")
        return running[-1] if running else None

    @cached_property
    def learners_left(self) -> list[PodState]:
        """Learner pods that may still write, also of an earlier RLJob: no learner may start meanwhile."""
        every = [*self.strangers, *self.pods]
        return [pod for pod in every if pod.role == "learner" and pod.exists and not pod.ended]

    def pods_of(self, workload: Manifest) -> list[PodState]:
        """Pods that belong to this object."""
        return [pod for pod in self.pods if pod.owner == uid(workload)]

    def workloads(self) -> Iterator[Manifest]:
        """Own children that create pods."""
        for (kind, _), child in self.children.items():
            if kind in WORKLOADS:
                yield child


def _ends(status: dict[str, Any], init: bool) -> Iterator[ContainerEnd]:
    for state in ("lastState", "state"):
        terminated = at(status, state, "terminated")
        if terminated:
            yield ended_life(status, terminated, init)


def ended_life(status: dict[str, Any], terminated: dict[str, Any], init: bool) -> ContainerEnd:
    """A container's `terminated` state."""
    return ContainerEnd(
        container=str(status.get("name", "")),
        init=init,
        exit_code=int(terminated.get("exitCode", 0)),
        reason=str(terminated.get("reason") or ""),
        message=str(terminated.get("message") or ""),
        finished=str(terminated.get("finishedAt") or ""),
    )
