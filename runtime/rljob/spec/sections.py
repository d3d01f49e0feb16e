"""The sections of an RLJob: environment, algorithm, network, stop, and one for each role.

The CRD is generated from these models, including descriptions and bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from rljob.spec.applications import ApplicationsSpec, SpacesSpec
from rljob.spec.cel import IMMUTABLE, Rule, rule, rules
from rljob.spec.duration import Duration
from rljob.spec.invalid import refuse
from rljob.spec.schema import (
    AS_INTEGER,
    OPERATOR_ONLY,
    FreeForm,
    ImportPath,
    InfoKey,
    Integer,
    Number,
    ObjectName,
    Quantity,
    Replicas,
    Section,
    Steps,
)


def _one_of(name: str) -> tuple[Rule, Rule]:
    """The rules of `_exactly_one` for the API server."""
    first, second = f"has(self.{name})", "has(self.entryPoint)"
    return (
        rule(f"{first} || {second}", _needs_one(name), reason="FieldValueRequired"),
        rule(f"!({first} && {second})", _only_one(name), at="entryPoint"),
    )


def _exactly_one(name: str, first: object, second: object) -> None:
    if first is None and second is None:
        raise refuse({"": _needs_one(name)})
    if first is not None and second is not None:
        raise refuse({"entryPoint": _only_one(name)})


def _needs_one(name: str) -> str:
    return f"needs one of {name} and entryPoint"


def _only_one(name: str) -> str:
    return f"only one of {name} and entryPoint may be given"


def _pod_template(role: str) -> Any:
    return Field(
        default=None,
        description=f"PodTemplateSpec of the {role}'s pods, as in a Deployment: labels, resources, node "
        f"selectors, tolerations, volumes, sidecars. A container named `{role}` is merged into the "
        "one that runs the role. Not used locally.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True, **OPERATOR_ONLY},
    )


class Metadata(Section):
    """Name of the job. Other Kubernetes metadata is accepted and ignored."""

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
        default=None, description="Set by Kubernetes; distinguishes jobs with the same name."
    )


Divisions = Annotated[
    list[Annotated[int, Field(ge=2, le=65_536), AS_INTEGER]], Field(min_length=1, max_length=1024)
]
CellBounds = Annotated[list[Number], Field(min_length=1, max_length=1024)]


class ObservationConversionSpec(Section):
    """Observations as one Discrete number, for tables."""

    to: Literal["discrete"] = Field(
        description="`discrete`: a Box by its divisions, a MultiDiscrete by its combinations."
    )
    divisions: Divisions | None = Field(
        default=None,
        examples=[[10], [4, 4, 12, 12]],
        description="For a Box: cells of equal size into which each of its numbers is divided; one entry for all, "
        "or one for each.",
    )
    low: CellBounds | None = Field(
        default=None,
        description="Where the first cell begins, for a Box without bounds; lower numbers belong to it. One entry "
        "for all, or one for each.",
    )
    high: CellBounds | None = Field(
        default=None,
        description="Where the last cell ends, for a Box without bounds; higher numbers belong to it. One entry "
        "for all, or one for each.",
    )


class ActionConversionSpec(Section):
    """Actions of another kind than the environment's."""

    to: Literal["discrete", "continuous"] = Field(
        description="`discrete`: one choice from a grid over a Box, or of the combinations of a MultiDiscrete. "
        "`continuous`: each choice by a number from -1 to 1."
    )
    divisions: Divisions | None = Field(
        default=None,
        examples=[[5]],
        description="For a Box as discrete actions: values of each of its numbers, both bounds included; one entry "
        "for all, or one for each.",
    )


class ConversionSpec(Section):
    """Spaces of the environment in the form that the algorithm takes."""

    observation: ObservationConversionSpec | None = Field(
        default=None, description="Observations as one Discrete number, for tables."
    )
    action: ActionConversionSpec | None = Field(
        default=None, description="Discrete actions for a continuous environment, or the reverse."
    )


_NEEDS_ENVIRONMENT = "needs one of id, entryPoint and spaces"
_NO_ENVIRONMENT = "is not allowed without id or entryPoint"


class EnvironmentSpec(Section):
    """The environment: a Gymnasium id, a custom factory, or the spaces of applications."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.id) || has(self.entryPoint) || has(self.spaces)",
                _NEEDS_ENVIRONMENT,
                reason="FieldValueRequired",
            ),
            _one_of("id")[1],
            rule(
                "has(self.id) || has(self.entryPoint) || !has(self.maxEpisodeSteps)",
                _NO_ENVIRONMENT,
                at="maxEpisodeSteps",
            ),
            # A rule cannot see fields of any type: kwargs.
        )
    )

    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        pattern=r"^\S+$",
        examples=["CartPole-v1"],
        description="Gymnasium id without spaces, e.g. `CartPole-v1`. One of id and entryPoint, or spaces.",
    )
    entry_point: ImportPath | None = Field(
        default=None,
        examples=["my_pkg.envs:make"],
        description="Import path `package.module:attribute` of a function or class that returns a "
        "Gymnasium environment, or one of several agents in the form of PettingZoo's ParallelEnv. Called with kwargs.",
    )
    kwargs: FreeForm = Field(
        default_factory=dict, description="Keyword arguments of the environment."
    )
    max_episode_steps: Steps | None = Field(
        default=None,
        description="Steps after which an episode is truncated, instead of the limit that the environment is registered "
        "with, as in `gymnasium.make`. A factory of vector environments gets it as its argument `max_episode_steps`.",
    )
    masks: bool | None = Field(
        default=None,
        description="`false`: action masks of the environment are ignored, for an algorithm that cannot use them. Otherwise "
        "they are used wherever the environment gives them.",
    )
    convert: ConversionSpec | None = Field(
        default=None,
        description="Continuous spaces as discrete, and the reverse, for an algorithm that needs it.",
    )
    spaces: SpacesSpec | None = Field(
        default=None,
        description="Spaces of the applications, for rollout.applications. With id or entryPoint as well, rollouts and applications "
        "both send experience, and their spaces have to be the same; without, no rollout is started.",
    )
    info: list[InfoKey] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        examples=[["score", "lives"]],
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description="Numbers that the environment tells in `info` in the last step of an episode, by their keys; "
        "`episodes.csv` has them for each episode.",
    )
    discount: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Discount per step of the discounted returns in `episodes.csv`; it changes nothing of the training. By "
        "default the algorithm's `gamma`, and 1 for an algorithm without.",
    )

    @model_validator(mode="after")
    def _one(self) -> EnvironmentSpec:
        for index, key in enumerate(self.info or ()):
            if key in (self.info or ())[:index]:
                raise refuse({f"info.{index}": f'"{key}" is named twice'})
        if self.id is not None and self.entry_point is not None:
            raise refuse({"entryPoint": _only_one("id")})
        if self.played:
            return self
        if self.spaces is None:
            raise refuse({"": _NEEDS_ENVIRONMENT})
        given = {"maxEpisodeSteps": self.max_episode_steps, "kwargs": self.kwargs}
        wrong = {name: _NO_ENVIRONMENT for name, value in given.items() if value}
        if wrong:
            raise refuse(wrong)
        return self

    @property
    def played(self) -> bool:
        """Whether there is an environment that rljob itself can make and step; else there are only applications."""
        return self.id is not None or self.entry_point is not None

    @property
    def label(self) -> str:
        """For people: the id, the import path, or that there are only applications."""
        return self.id or self.entry_point or "applications"


class AlgorithmSpec(Section):
    """The learning algorithm: a built-in one or a custom class."""

    model_config = ConfigDict(json_schema_extra=rules(*_one_of("name")))

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
        description="The algorithm's settings, e.g. `learningRate`. An unknown setting is rejected; "
        "the error, and `rljob algorithms NAME`, list the known ones.",
    )

    @model_validator(mode="after")
    def _one(self) -> AlgorithmSpec:
        _exactly_one("name", self.name, self.entry_point)
        return self


class NetworkSpec(Section):
    """The policy's network: a built-in one or a custom class."""

    model_config = ConfigDict(json_schema_extra=rules(_one_of("name")[1]))

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
        "run the policy with torch.",
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


class NamedNetworkSpec(Section):
    """One of the algorithm's networks, as far as it differs from `network`."""

    model_config = ConfigDict(json_schema_extra=rules(_one_of("name")[1]))

    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        examples=["mlp"],
        description="Built-in network; that of `network` when neither name nor entryPoint is given.",
    )
    entry_point: ImportPath | None = Field(
        default=None,
        examples=["my_pkg.nets:MyNet"],
        description="Import path `package.module:attribute` of a torch module class.",
    )
    config: FreeForm = Field(
        default_factory=dict,
        description="Settings that differ from those of `network`, if it is the same network; else all "
        "settings, e.g. `hidden: [256, 256]`.",
    )
    learning_rate: Any = Field(
        default=None,
        description="Learning rate of this network, a number or a schedule, instead of the algorithm's.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )

    @model_validator(mode="after")
    def _at_most_one(self) -> NamedNetworkSpec:
        if self.name is not None and self.entry_point is not None:
            raise refuse({"entryPoint": _only_one("name")})
        return self

    def of(self, network: NetworkSpec) -> NetworkSpec:
        """The whole network, with what it takes from `network`."""
        own, common = (self.name, self.entry_point), (network.name, network.entry_point)
        if own in (common, (None, None)):
            return network.model_copy(update={"config": {**network.config, **self.config}})
        return NetworkSpec(name=self.name, entry_point=self.entry_point, config=self.config)


StopMeasure = Literal["steps", "updates", "episodes", "duration"]
STOPS = ("steps", "updates", "episodes", "meanReturn", "duration")
NEEDS_STOP = f"needs at least one of {', '.join(STOPS)}"


class StopSpec(Section):
    """Stop conditions; at least one is required, unless there are applications. Training ends when the first one is met."""

    steps: Steps | None = Field(
        default=None,
        description="Environment steps, summed over all environments and their agents.",
    )
    updates: Steps | None = Field(
        default=None,
        description="Updates of the learner: each is one batch, with all epochs that the algorithm makes of it.",
    )
    episodes: Steps | None = Field(
        default=None, description="Training episodes that ended, of all environments together."
    )
    mean_return: Number | None = Field(
        default=None, description="Mean undiscounted return of the last 100 training episodes."
    )
    duration: Duration | None = Field(
        default=None, description="Time spent training, e.g. `10m`; suspended time does not count."
    )

    @property
    def empty(self) -> bool:
        """Whether training ends only when somebody ends it."""
        return self.measure is None and self.mean_return is None

    @property
    def measure(self) -> StopMeasure | None:
        """The condition by whose share schedules run: what repeats comes before the clock; None for a mean return alone."""
        names: tuple[StopMeasure, ...] = ("steps", "updates", "episodes", "duration")
        return next((name for name in names if getattr(self, name) is not None), None)


Precision = Literal["float32", "bfloat16"]
_ENVIRONMENTS = 16
_ONE_ENVIRONMENT = (
    "is not allowed with applications; only 1, because an application plays one episode at a time"
)


class RolloutSpec(Section):
    """The workers that step environments with the newest policy. They may die at any time."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.minReplicas) || self.minReplicas <= self.replicas",
                "is not allowed; at most replicas",
                at="minReplicas",
            ),
            rule(
                "!has(self.maxReplicas) || self.maxReplicas >= self.replicas",
                "is not allowed; at least replicas",
                at="maxReplicas",
            ),
            rule(
                "!has(self.applications) || !has(self.envsPerReplica) || self.envsPerReplica == 1",
                _ONE_ENVIRONMENT,
                at="envsPerReplica",
            ),
        )
    )

    replicas: Replicas = Field(
        default=2,
        description="Rollout workers: processes locally, pods on a cluster. None is started where environment.spaces stands alone.",
    )
    envs_per_replica: Integer = Field(
        default=_ENVIRONMENTS,
        ge=1,
        le=65_536,
        description="Environments that each worker steps as one batch; 16 when absent, and 1 with applications.",
        # Not one number for all jobs: the API server must not write one into them.
        json_schema_extra={**IMMUTABLE, "default": None},
    )
    precision: Precision = Field(
        default="float32",
        description="Number format of policy inference. `bfloat16` requires torch in the worker; it is "
        "faster for image observations on CPUs with AVX-512 BF16 or AMX.",
    )
    min_replicas: Replicas | None = Field(
        default=None,
        description="Minimum number of ready workers; with fewer, the job is degraded. At most replicas: "
        "a change of replicas to fewer is refused. rljob itself never changes replicas.",
        json_schema_extra=OPERATOR_ONLY,
    )
    max_replicas: Replicas | None = Field(
        default=None,
        description="At least replicas: a change of replicas to more is refused, also one by "
        "`kubectl scale` or an autoscaler. rljob itself never changes replicas.",
        json_schema_extra=OPERATOR_ONLY,
    )
    applications: ApplicationsSpec | None = Field(
        default=None,
        description="Also, or only, learn from applications: programs that act by themselves with `rljob.Agent`. `{}` uses the "
        "defaults. Requires environment.spaces.",
        json_schema_extra=IMMUTABLE,
    )
    template: FreeForm | None = _pod_template("rollout")

    @model_validator(mode="before")
    @classmethod
    def _one_each(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("applications") is None:
            return values
        absent = all(values.get(key) is None for key in ("envsPerReplica", "envs_per_replica"))
        return {**values, "envsPerReplica": 1} if absent else values

    @model_validator(mode="after")
    def _ordered(self) -> RolloutSpec:
        problems = {}
        if self.applications is not None and self.envs_per_replica != 1:
            problems["envsPerReplica"] = f"{self.envs_per_replica} {_ONE_ENVIRONMENT}"
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
        default=1,
        ge=1,
        le=1,
        description="Buffer shards; only 1 is supported.",
        json_schema_extra=OPERATOR_ONLY,
    )
    capacity: Integer = Field(
        default=100_000,
        ge=1,
        le=10**10,
        description="Maximum number of environment steps stored.",
        json_schema_extra=IMMUTABLE,
    )
    max_policy_lag: Integer = Field(
        default=4,
        ge=0,
        le=1_000_000,
        description="On-policy algorithms: maximum number of policy versions by which experience may be "
        "older than the newest policy. Rollouts that are ahead wait.",
        json_schema_extra=IMMUTABLE,
    )
    samples_per_insert: Number | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="Replay algorithms: transitions sampled for each one stored; the algorithm's "
        "default when absent.",
        json_schema_extra=IMMUTABLE,
    )
    storage: StorageSpec | None = Field(
        default=None,
        description="Storage for experience on a cluster. When absent, experience survives a container "
        "restart but not the loss of the pod.",
        json_schema_extra={**IMMUTABLE, **OPERATOR_ONLY},
    )
    template: FreeForm | None = _pod_template("buffer")


class LearnerSpec(Section):
    """Trains the policy on batches of experience and publishes new versions."""

    replicas: Integer = Field(
        default=1,
        ge=1,
        le=1,
        description="Learner processes; only 1 is supported.",
        json_schema_extra=OPERATOR_ONLY,
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$",
        description="`auto`, `cpu`, `cuda`, `cuda:N` or `mps`. `auto` uses a GPU if one is available.",
    )
    precision: Precision = Field(
        default="float32",
        description="Number format of training. With `bfloat16`, weights and losses stay float32; it is faster "
        "for image observations, on a GPU or on CPUs with AVX-512 BF16 or AMX.",
    )
    template: FreeForm | None = _pod_template("learner")


class EvaluationSpec(Section):
    """A process that runs greedy episodes with the newest policy during training."""

    interval: Duration = Field(default=Duration("30s"), description="Time between two evaluations.")
    every_steps: Steps | None = Field(
        default=None,
        description="Also when training has passed another multiple of so many environment steps; the newest policy is played.",
    )
    every_updates: Steps | None = Field(
        default=None,
        description="Also when training has passed another multiple of so many updates.",
    )
    episodes: Integer = Field(
        default=10, ge=1, le=100_000, description="Episodes in each evaluation."
    )
    baseline: Number | None = Field(
        default=None,
        description="Mean return that the evaluation of the final policy has to reach. With a lower one the job fails.",
    )
    video: bool = Field(
        default=False,
        description="Record one extra episode after each evaluation, in the folder `videos` of the "
        "evaluator; the newest 20 are kept. Requires `rljob[video]` in the evaluator.",
    )
    template: FreeForm | None = _pod_template("evaluator")


class PersistentVolumeClaim(Section):
    """A Kubernetes volume claim in the job's namespace."""

    claim_name: ObjectName = Field(description="Name of an existing PersistentVolumeClaim.")


class VolumeClaimTemplate(Section):
    """A volume claim that is created for the job."""

    size: Quantity = Field(default="1Gi", description="Requested storage, e.g. `10Gi`.")
    storage_class_name: ObjectName | None = Field(
        default=None,
        description="StorageClass; the cluster's default when absent.",
    )
    when_deleted: Literal["Delete", "Retain"] = Field(
        default="Delete", description="What happens to the claim when the job is deleted."
    )


_STORAGES = ("path", "persistentVolumeClaim", "volumeClaimTemplate")
_NEEDS_STORAGE = f"needs one of {', '.join(_STORAGES)}"
_ONLY_ONE_STORAGE = f"only one of {', '.join(_STORAGES)} may be given"


class StorageSpec(Section):
    """Storage location: one of path, persistentVolumeClaim and volumeClaimTemplate."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                " || ".join(f"has(self.{name})" for name in _STORAGES),
                _NEEDS_STORAGE,
                reason="FieldValueRequired",
            ),
            rule(
                "!(has(self.path) && has(self.persistentVolumeClaim))",
                _ONLY_ONE_STORAGE,
                at="persistentVolumeClaim",
            ),
            rule(
                "!has(self.volumeClaimTemplate) || has(self.path) == has(self.persistentVolumeClaim)",
                _ONLY_ONE_STORAGE,
                at="volumeClaimTemplate",
            ),
        )
    )

    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        pattern=r"^[^\x00]+$",
        description="Folder, absolute or relative to the run's folder. On a cluster, a folder of the "
        "container: mount a volume there in the template, otherwise the data is lost with the pod.",
    )
    persistent_volume_claim: PersistentVolumeClaim | None = Field(
        default=None,
        description="An existing volume claim; only on a cluster.",
        json_schema_extra=OPERATOR_ONLY,
    )
    volume_claim_template: VolumeClaimTemplate | None = Field(
        default=None,
        description="A volume claim created for the job; only on a cluster.",
        json_schema_extra=OPERATOR_ONLY,
    )

    @model_validator(mode="after")
    def _one(self) -> StorageSpec:
        values = (self.path, self.persistent_volume_claim, self.volume_claim_template)
        given = [name for name, value in zip(_STORAGES, values, strict=True) if value is not None]
        if not given:
            raise refuse({"": _NEEDS_STORAGE})
        if len(given) > 1:
            raise refuse({given[1]: _ONLY_ONE_STORAGE})
        return self


class CheckpointSpec(Section):
    """Checkpoints, from which training resumes after a failure."""

    interval: Duration = Field(default=Duration("60s"), description="Time between two checkpoints.")
    every_steps: Steps | None = Field(
        default=None,
        description="Also when training has passed another multiple of so many environment steps. Not with strict: true.",
    )
    every_updates: Steps | None = Field(
        default=None,
        description="Also when training has passed another multiple of so many updates. Not with strict: true.",
    )
    keep: Integer = Field(
        default=3,
        ge=1,
        le=10_000,
        description="Number of newest checkpoints kept; older ones are deleted.",
    )
    on_suspend: bool = Field(
        default=True, description="Save a checkpoint before the job is suspended."
    )
    replay: bool = Field(
        default=False,
        description="Also save the buffer's content. Large; only useful with replay algorithms.",
    )
    storage: StorageSpec | None = Field(
        default=None,
        description="Where checkpoints are kept. When absent: the run's own folder, or on a cluster "
        "a volume claim of the default class that is deleted with the job.",
        json_schema_extra=IMMUTABLE,
    )
