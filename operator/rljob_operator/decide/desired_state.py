"""The desired state of an RLJob, or the fault in its spec."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rljob.errors import InputError
from rljob.kube import manifests
from rljob.kube.kinds import Manifest
from rljob.kube.settings import OperatorSettings
from rljob.spec import RLJob, RLJobSpec, parse
from rljob.spec.status import RLJobStatus
from rljob.wire.rotation import KeyOrder
from rljob_operator.decide.job_resources import JobResources, at, uid
from rljob_operator.decide.lifecycle import CleanPodPolicy, Stage
from rljob_operator.decide.status.phase import STANDING
from rljob_operator.decide.waiting import Waiting


@dataclass(frozen=True)
class DesiredState:
    """The desired state.

    Attributes:
        job: None if it is invalid.
        children: desired children, in the order of creation; None if they cannot be determined. Then
            existing children are left unchanged.
        fault: the fault in the spec, if any.
    """

    stage: Stage
    job: RLJob | None = None
    children: tuple[Manifest, ...] | None = None
    fault: Waiting | None = None

    @property
    def spec(self) -> RLJobSpec | None:
        return self.job.spec if self.job else None


@dataclass(frozen=True)
class AfterEnd:
    """The two fields that still apply to a job that has ended."""

    clean_pod_policy: CleanPodPolicy
    ttl: int | None


def after_end(world: JobResources) -> AfterEnd:
    """The fields that apply after the end; they are read even from an invalid spec."""
    policy = at(world.job, "spec", "cleanPodPolicy")
    ttl = at(world.job, "spec", "ttlSecondsAfterFinished")
    return AfterEnd(
        clean_pod_policy=policy if policy in ("All", "None") else "Running",
        ttl=ttl if isinstance(ttl, int) and ttl >= 0 else None,
    )


def read(previous: RLJobStatus, world: JobResources) -> DesiredState:
    """The desired state without children; an invalid spec keeps the current stage."""
    try:
        job = parse(world.job)
    except InputError as error:
        standing = previous.phase in STANDING
        return DesiredState(
            stage="Suspended" if standing else "Active",
            fault=Waiting("InvalidSpec", str(error)),
        )
    return DesiredState(stage="Suspended" if job.spec.suspend else "Active", job=job)


def with_children(
    asked: DesiredState,
    world: JobResources,
    settings: OperatorSettings,
    failures: int,
    keys: KeyOrder,
) -> DesiredState:
    """The desired state with the children.

    Args:
        failures: of the learner, counted before the existing Job; see `RestartCounts.earlier_failures`.
        keys: which generations of keys the pods accept and use.
    """
    if asked.job is None:
        return asked
    owner = manifests.Owner(world.name, str(world.job["metadata"]["namespace"]), uid(world.job))
    told = manifests.told_replicas(world.children.values())
    try:
        built = manifests.build(asked.job, owner, settings, failures, told, keys)
    except InputError as error:
        return replace(asked, fault=Waiting("InvalidTemplate", str(error)))
    return replace(asked, children=_wanted(built, asked.stage))


def _wanted(built: manifests.Children, stage: Stage) -> tuple[Manifest, ...]:
    if stage != "Active":
        return built.shared
    return (*built.shared, *built.workloads.values())
