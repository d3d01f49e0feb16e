"""What an RLJob asks for, or what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rljob.errors import InputError
from rljob.kube import manifests
from rljob.kube.kinds import Manifest
from rljob.kube.settings import OperatorSettings
from rljob.spec import RLJob, RLJobSpec, parse
from rljob.spec.status import RLJobStatus
from rljob_operator.decide.job_resources import JobResources, at, uid
from rljob_operator.decide.lifecycle import CleanPodPolicy, Stage
from rljob_operator.decide.pending import Waiting
from rljob_operator.decide.status.phase import STANDING


@dataclass(frozen=True)
class DesiredState:
    """What is asked for.

    Attributes:
        job: None when it cannot be read.
        children: what should be there, in the order in which it is made; None when that cannot be
            said, and then nothing that is there is touched.
        fault: what is wrong with the spec, if anything.
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
    """What a job asks for once it is over: two fields, whatever became of the others."""

    clean_pod_policy: CleanPodPolicy
    ttl: int | None


def after_end(world: JobResources) -> AfterEnd:
    """What may still be edited when nothing else may, and is read even from a spec that is wrong."""
    policy = at(world.job, "spec", "cleanPodPolicy")
    ttl = at(world.job, "spec", "ttlSecondsAfterFinished")
    return AfterEnd(
        clean_pod_policy=policy if policy in ("All", "None") else "Running",
        ttl=ttl if isinstance(ttl, int) and ttl >= 0 else None,
    )


def read(previous: RLJobStatus, world: JobResources) -> DesiredState:
    """The spec and what it comes to; one that cannot be read changes nothing."""
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
    asked: DesiredState, world: JobResources, settings: OperatorSettings, failures: int
) -> DesiredState:
    """The same with the children.

    Args:
        failures: of the learner, in Jobs before the one that exists.
    """
    if asked.job is None:
        return asked
    owner = manifests.Owner(world.name, str(world.job["metadata"]["namespace"]), uid(world.job))
    told = manifests.told_replicas(world.children.values())
    try:
        built = manifests.build(asked.job, owner, settings, failures, told)
    except InputError as error:
        return replace(asked, fault=Waiting("InvalidTemplate", str(error)))
    return replace(asked, children=_wanted(built, asked.stage))


def _wanted(built: manifests.Children, stage: Stage) -> tuple[Manifest, ...]:
    if stage != "Active":
        return built.shared
    return (*built.shared, *built.workloads.values())
