"""The sections of an RLJob: environment, algorithm, network, stop, and one for each role.

Their descriptions and bounds are also those of the CRD, which is generated from these models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from rljob.spec.duration import Duration
from rljob.spec.invalid import refuse
from rljob.spec.schema import (
    FreeForm,
    ImportPath,
    Integer,
    Number,
    Quantity,
    Replicas,
    Section,
    Steps,
)


class Metadata(Section):
    """What names the job. Other Kubernetes metadata is accepted and not used."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(
        max_length=40,
        pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        examples=["cartpole-ppo"],
        description="1 to 40 lowercase letters, digits and '-', starting with a letter and not "
        "ending with '-'. Pods and the run's folder are named after it.",
    )
    namespace: str | None = Field(
        default=None, description="Kubernetes namespace; not used locally."
    )
    labels: dict[str, str] | None = Field(default=None, description="Kubernetes labels.")
    annotations: dict[str, str] | None = Field(default=None, description="Kubernetes annotations.")
    uid: str | None = Field(
        default=None, description="Set by Kubernetes; tells apart jobs of one name."
    )


class EnvironmentSpec(Section):
    """What is to be learned: a Gymnasium id, or a factory of your own."""

    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        examples=["CartPole-v1"],
        description="Gymnasium id, e.g. `CartPole-v1`. Exactly one of id and entryPoint.",
    )
    entry_point: ImportPath | None = Field(
        default=None,
        examples=["my_pkg.envs:make"],
        description="Import path `package.module:attribute` of a function or class that returns a "
        "Gymnasium environment. Called with kwargs.",
    )
    kwargs: FreeForm = Field(
        default_factory=dict, description="Keyword arguments with which the environment is made."
    )

    @model_validator(mode="after")
    def _one(self) -> EnvironmentSpec:
        _exactly_one("id", self.id, self.entry_point)
        return self


class AlgorithmSpec(Section):
    """How it is learned: a built-in algorithm, or a class of your own."""

    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        examples=["PPO"],
        description="Built-in algorithm, e.g. `PPO` or `DQN`. Exactly one of name and entryPoint.",
    )
    entry_point: ImportPath | None = Field(
        default=None,
        examples=["my_pkg.algos:MyAlgo"],
        description="Import path `package.module:attribute` of an algorithm class.",
    )
    config: FreeForm = Field(
        default_factory=dict,
        description="The algorithm's settings, e.g. `learningRate`. An unknown one is refused with "
        "the list of those it has.",
    )

    @model_validator(mode="after")
    def _one(self) -> AlgorithmSpec:
        _exactly_one("name", self.name, self.entry_point)
        return self


class NetworkSpec(Section):
    """The policy's network: a built-in one, or a class of your own."""

    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        examples=["mlp"],
        description="Built-in network; `mlp` when neither name nor entryPoint is given.",
    )
    entry_point: ImportPath | None = Field(
        default=None,
        examples=["my_pkg.nets:MyNet"],
        description="Import path `package.module:attribute` of a torch module class. Rollouts then "
        "act through torch.",
    )
    config: FreeForm = Field(
        default_factory=dict, description="The network's settings, e.g. `hidden: [64, 64]`."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, values: Any) -> Any:
        keys = ("name", "entryPoint", "entry_point")
        if isinstance(values, Mapping) and all(values.get(key) is None for key in keys):
            return {**values, "name": "mlp"}
        return values

    @model_validator(mode="after")
    def _one(self) -> NetworkSpec:
        _exactly_one("name", self.name, self.entry_point)
        return self


class StopSpec(Section):
    """When training ends: at whichever of these comes first; at least one is needed."""

    steps: Steps | None = Field(
        default=None, description="Environment steps, summed over all environments."
    )
    mean_return: Number | None = Field(
        default=None, description="Mean undiscounted return of the last 100 training episodes."
    )
    duration: Duration | None = Field(
        default=None, description="Time spent training, e.g. `10m`; suspended time does not count."
    )

    @model_validator(mode="after")
    def _some(self) -> StopSpec:
        if self.steps is None and self.mean_return is None and self.duration is None:
            raise refuse({"": "needs at least one of steps, meanReturn, duration"})
        return self


class RolloutSpec(Section):
    """The workers that step environments with the newest policy. They may die at any time."""

    replicas: Replicas = Field(
        default=2, description="Rollout workers: processes locally, pods on a cluster."
    )
    envs_per_replica: Integer = Field(
        default=16, ge=1, le=65_536, description="Environments that each worker steps as one batch."
    )
    min_replicas: Replicas | None = Field(
        default=None,
        description="Ready workers below which the job counts as degraded, and the least that "
        "autoscaling keeps; at most replicas.",
    )
    max_replicas: Replicas | None = Field(
        default=None, description="The most that autoscaling makes; at least replicas."
    )
    template: FreeForm | None = Field(
        default=None, description="PodTemplateSpec for the rollout pods; not used locally."
    )

    @model_validator(mode="after")
    def _ordered(self) -> RolloutSpec:
        problems = {}
        if self.min_replicas is not None and self.min_replicas > self.replicas:
            problems["minReplicas"] = (
                f"{self.min_replicas} is not allowed; at most replicas, which is {self.replicas}"
            )
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            problems["maxReplicas"] = (
                f"{self.max_replicas} is not allowed; at least replicas, which is {self.replicas}"
            )
        if problems:
            raise refuse(problems)
        return self


class BufferSpec(Section):
    """Stores experience between rollouts and learner, and keeps their speeds in balance."""

    replicas: Integer = Field(
        default=1, ge=1, le=1, description="Buffer shards; only 1 is supported."
    )
    capacity: Integer = Field(
        default=100_000, ge=1, le=10**10, description="Environment steps stored at most."
    )
    max_policy_lag: Integer = Field(
        default=4,
        ge=0,
        le=1_000_000,
        description="On-policy algorithms: policy versions that experience may be older than the "
        "newest. Rollouts that run ahead wait.",
    )
    samples_per_insert: Number | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="Replay algorithms: transitions sampled for each one stored; the algorithm's "
        "own value when absent.",
    )
    storage: StorageSpec | None = Field(
        default=None,
        description="Where experience is kept on a cluster, so that it outlives the pod; when "
        "absent, it outlives the process only.",
    )
    template: FreeForm | None = Field(
        default=None, description="PodTemplateSpec for the buffer pod; not used locally."
    )


class LearnerSpec(Section):
    """Turns batches of experience into new policy versions."""

    replicas: Integer = Field(
        default=1, ge=1, le=1, description="Learner processes; only 1 is supported."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$",
        description="`auto`, `cpu`, `cuda`, `cuda:N` or `mps`. With `auto`, a GPU when there is one.",
    )
    template: FreeForm | None = Field(
        default=None, description="PodTemplateSpec for the learner pod; not used locally."
    )


class EvaluationSpec(Section):
    """A process that plays greedy episodes of the newest policy beside the training."""

    interval: Duration = Field(default=Duration("30s"), description="Time between two evaluations.")
    episodes: Integer = Field(
        default=10, ge=1, le=100_000, description="Episodes in each evaluation."
    )
    video: bool = Field(default=False, description="Record the first episode of each evaluation.")
    template: FreeForm | None = Field(
        default=None, description="PodTemplateSpec for the evaluator pod; not used locally."
    )


class PersistentVolumeClaim(Section):
    """A Kubernetes volume claim in the job's namespace."""

    claim_name: str = Field(
        min_length=1, max_length=253, description="Name of an existing PersistentVolumeClaim."
    )


class VolumeClaimTemplate(Section):
    """A volume claim that is made for the job."""

    size: Quantity = Field(default="1Gi", description="Storage asked for, e.g. `10Gi`.")
    storage_class_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="StorageClass; the cluster's default one when absent.",
    )
    when_deleted: Literal["Delete", "Retain"] = Field(
        default="Delete", description="What becomes of the claim when the job is deleted."
    )


class StorageSpec(Section):
    """Where something is kept: one of path, persistentVolumeClaim and volumeClaimTemplate."""

    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Folder, absolute or below the run's own. On a cluster, a folder of the "
        "container: mount a volume there in the template, or it is lost with the pod.",
    )
    persistent_volume_claim: PersistentVolumeClaim | None = Field(
        default=None, description="An existing volume claim; only on a cluster."
    )
    volume_claim_template: VolumeClaimTemplate | None = Field(
        default=None, description="A volume claim made for the job; only on a cluster."
    )

    @model_validator(mode="after")
    def _one(self) -> StorageSpec:
        given = {
            "path": self.path,
            "persistentVolumeClaim": self.persistent_volume_claim,
            "volumeClaimTemplate": self.volume_claim_template,
        }
        names = [name for name, value in given.items() if value is not None]
        if not names:
            raise refuse({"": f"needs one of {', '.join(given)}"})
        if len(names) > 1:
            raise refuse({names[1]: f"only one of {', '.join(given)} may be given"})
        return self


class CheckpointSpec(Section):
    """What is saved, so that training goes on after any loss."""

    interval: Duration = Field(default=Duration("60s"), description="Time between two checkpoints.")
    keep: Integer = Field(
        default=3, ge=1, le=10_000, description="Newest checkpoints kept; older ones go."
    )
    on_suspend: bool = Field(default=True, description="Save one more before a job is suspended.")
    replay: bool = Field(
        default=False,
        description="Save the buffer's content too; large, and only of use with replay.",
    )
    storage: StorageSpec | None = Field(
        default=None,
        description="Where checkpoints are kept. When absent: the run's own folder, or on a cluster "
        "a volume claim of the default class that is deleted with the job.",
    )


def _exactly_one(name: str, first: object, second: object, other: str = "entryPoint") -> None:
    if first is None and second is None:
        raise refuse({"": f"needs one of {name} and {other}"})
    if first is not None and second is not None:
        raise refuse({other: f"only one of {name} and {other} may be given"})
