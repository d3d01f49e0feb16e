"""The RLJob, and how to read one from a file or a dictionary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from pydantic.alias_generators import to_camel

from rljob.errors import InputError
from rljob.spec import cel, invalid, yamltext
from rljob.spec import file as specfile
from rljob.spec.cel import IMMUTABLE
from rljob.spec.code import TAKEN, CodeArchiveSpec
from rljob.spec.file import JobSource
from rljob.spec.hooks import HooksSpec
from rljob.spec.schema import (
    OPERATOR_ONLY,
    Deadline,
    Delay,
    ManagedBy,
    Requirement,
    Section,
    Seed,
    SourceText,
)
from rljob.spec.sections import (
    NEEDS_STOP,
    STOPS,
    AlgorithmSpec,
    BufferSpec,
    CheckpointSpec,
    EnvironmentSpec,
    EvaluationSpec,
    LearnerSpec,
    Metadata,
    NamedNetworkSpec,
    NetworkSpec,
    RolloutSpec,
    StopSpec,
)
from rljob.spec.sinks import SinksSpec
from rljob.spec.stall import StallSpec
from rljob.spec.start import InitFromSpec

_NOT_STRICT = "is not allowed with strict: true, which saves where a resumed run repeats itself"
_NOT_REPEATABLE = "is not allowed with strict: true; what applications do cannot be repeated"
_NEEDS_APPLICATIONS = "is required with environment.spaces, e.g. `applications: {}`"
_NEEDS_SPACES = (
    "is required with rollout.applications, which have to know what they observe and how they act"
)
_NOTHING_TO_PLAY = (
    "is not allowed without environment.id or environment.entryPoint; there is nothing to play"
)
_MODULE_FILE = r"^[A-Za-z_][A-Za-z0-9_]*\.py$"


class RLJobSpec(Section):
    """Specification of a training job."""

    model_config = ConfigDict(
        json_schema_extra=cel.rules(
            cel.rule(
                "!self.strict || self.rollout.replicas == 1",
                "is not allowed with strict: true; only 1",
                at="rollout.replicas",
            ),
            cel.rule(
                "!self.strict || has(self.seed)",
                "is required with strict: true",
                at="seed",
                reason="FieldValueRequired",
            ),
            *(
                cel.rule(
                    f"!self.strict || !has(self.checkpoint.{name})",
                    _NOT_STRICT,
                    at=f"checkpoint.{name}",
                )
                for name in ("everySteps", "everyUpdates")
            ),
            cel.rule(
                "has(self.rollout.applications) || "
                + " || ".join(f"has(self.stop.{name})" for name in STOPS),
                NEEDS_STOP,
                at="stop",
                reason="FieldValueRequired",
            ),
            cel.rule(
                "!has(self.environment.spaces) || has(self.rollout.applications)",
                _NEEDS_APPLICATIONS,
                at="rollout.applications",
                reason="FieldValueRequired",
            ),
            cel.rule(
                "!has(self.rollout.applications) || has(self.environment.spaces)",
                _NEEDS_SPACES,
                at="environment.spaces",
                reason="FieldValueRequired",
            ),
            cel.rule(
                "!has(self.rollout.applications) || !self.strict",
                _NOT_REPEATABLE,
                at="rollout.applications",
            ),
            cel.rule(
                "!has(self.evaluation) || has(self.environment.id) || has(self.environment.entryPoint)",
                _NOTHING_TO_PLAY,
                at="evaluation",
            ),
            cel.rule(
                f"!has(self.code) || self.code.all(name, name.matches({cel.text(_MODULE_FILE)}))",
                "is not allowed; a file name like my_env.py",
                at="code",
            ),
        )
    )

    environment: EnvironmentSpec = Field(
        description="The environment, e.g. `{id: CartPole-v1}`: a Gymnasium id, or the import path of a "
        "custom factory; or the spaces of applications.",
        json_schema_extra=IMMUTABLE,
    )
    algorithm: AlgorithmSpec = Field(
        description="The learning algorithm, e.g. `{name: PPO}`: a built-in algorithm, or the import path "
        "of a custom class.",
        json_schema_extra=IMMUTABLE,
    )
    network: NetworkSpec = Field(
        default_factory=NetworkSpec,
        description="The policy's network: a built-in network, or the import path of a custom torch "
        "module class. `mlp` when absent.",
        json_schema_extra={**IMMUTABLE, "default": {"name": "mlp"}},
    )
    networks: dict[str, NamedNetworkSpec] | None = Field(
        default=None,
        max_length=16,
        description="Differences from `network` for single networks of the algorithm, by name, e.g. "
        "`{critic: {config: {hidden: [256, 256]}, learningRate: 1.0e-3}}`. `rljob algorithms NAME` lists "
        "the names.",
        json_schema_extra=IMMUTABLE,
    )
    init_from: InitFromSpec | None = Field(
        default=None,
        description="Start with the weights of another run, e.g. `{run: runs/cartpole-ppo-1}`; random weights when absent. A run "
        "that is resumed goes on with its own.",
        json_schema_extra=IMMUTABLE,
    )
    stop: StopSpec = Field(
        description="Stop conditions: at least one of steps, updates, episodes, meanReturn, duration, e.g. "
        "`{steps: 500000, meanReturn: 475}`. Training ends when the first one is met. With rollout.applications, `{}` trains without end."
    )
    seed: Seed | None = Field(
        default=None,
        description="Seed of all random number generators; when absent, one is chosen and recorded.",
        json_schema_extra=IMMUTABLE,
    )
    strict: bool = Field(
        default=False,
        description="Run one rollout in lockstep with the learner, so that two runs with the same seed "
        "produce the same weights. Requires a seed and rollout.replicas: 1.",
        json_schema_extra=IMMUTABLE,
    )
    rollout: RolloutSpec = Field(
        default_factory=RolloutSpec,
        description="The workers that step environments. Each worker steps a batch of environments with "
        "the newest policy and sends the experience to the buffer. Workers may be added, removed or "
        "lost at any time; none of this counts as a failure. `kubectl scale` changes their number "
        "during training.",
    )
    buffer: BufferSpec = Field(
        default_factory=BufferSpec,
        description="Stores experience between rollouts and learner, and keeps their speeds in balance: "
        "rollouts that are ahead wait, and the learner waits when there is no new experience.",
    )
    learner: LearnerSpec = Field(
        default_factory=LearnerSpec,
        description="Trains the policy on experience and publishes new versions. It writes checkpoints, "
        "ends when a stop condition is met, and resumes from the newest checkpoint after a failure.",
    )
    evaluation: EvaluationSpec | None = Field(
        default=None,
        description="Greedy evaluation episodes during training; none when absent. `{}` uses the defaults.",
    )
    checkpoint: CheckpointSpec = Field(
        default_factory=CheckpointSpec,
        description="What is saved, how often, and where. Training resumes from the newest checkpoint "
        "after a failure or a suspension.",
    )
    sinks: SinksSpec = Field(
        default_factory=SinksSpec,
        description="Destinations of the training records, in addition to the run's folder, e.g. "
        "`{tensorboard: {}}`. A failing sink never blocks training. Credentials come from the learner's "
        "environment variables.",
    )
    hooks: HooksSpec | None = Field(
        default=None,
        description="A class of your own that the learner calls at its start and end and after episodes, updates, evaluations "
        "and checkpoints, e.g. `{entryPoint: my_hooks:EarlyStopping, config: {patience: 5}}`. It may end training.",
    )
    code: dict[str, SourceText] | None = Field(
        default=None,
        max_length=64,
        description="Custom modules: file name to Python source. The roles can import them.",
        json_schema_extra={**IMMUTABLE, **OPERATOR_ONLY},
    )
    code_archive: CodeArchiveSpec | None = Field(
        default=None,
        description="A folder of custom modules that is sent with the job; `rljob submit --code DIR` and `rljob run --code DIR` set "
        "this. The roles import from it.",
        json_schema_extra=IMMUTABLE,
    )
    requirements: list[Requirement] | None = Field(
        default=None,
        max_length=64,
        description="pip requirements installed in every pod before its role starts, e.g. "
        "`[my-envs==1.2]`; not used locally.",
        json_schema_extra=OPERATOR_ONLY,
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        pattern=r"^\S+$",
        description="Image of all pods without spaces in its name, based on an rljob image; the rljob images when absent. Not used "
        "locally.",
        json_schema_extra=OPERATOR_ONLY,
    )
    stall: StallSpec = Field(
        default_factory=StallSpec,
        description="When a job counts as stalled, and what happens then, e.g. `{timeout: 10m, policy: "
        "Restart}` for an environment that sometimes hangs.",
        json_schema_extra=OPERATOR_ONLY,
    )
    managed_by: ManagedBy | None = Field(
        default=None,
        description="Controller of the job, as in a batch/v1 Job, e.g. `kueue.x-k8s.io/multikueue`. "
        "The operator ignores a job of another controller than `rljob.dev/operator`, the default. Not "
        "used locally.",
        json_schema_extra={**IMMUTABLE, **OPERATOR_ONLY},
    )
    suspend: bool = Field(
        default=False,
        description="Stop all roles and keep the training state. Training resumes when this is false again.",
        json_schema_extra=OPERATOR_ONLY,
    )
    backoff_limit: Delay = Field(
        default=3,
        description="Number of times that the learner may fail before the job fails. A checkpoint beyond "
        "the newest one at the last failure starts the count anew.",
        json_schema_extra=OPERATOR_ONLY,
    )
    active_deadline_seconds: Deadline | None = Field(
        default=None,
        description="Seconds after which a job that is still running fails.",
        json_schema_extra=OPERATOR_ONLY,
    )
    pending_deadline_seconds: Deadline | None = Field(
        default=None,
        description="Seconds after which a job that has not started training fails.",
        json_schema_extra=OPERATOR_ONLY,
    )
    clean_pod_policy: Literal["Running", "All", "None"] = Field(
        default="Running",
        description="Pods that are deleted when the job ends: those still running, all, or none.",
        json_schema_extra=OPERATOR_ONLY,
    )
    ttl_seconds_after_finished: Delay | None = Field(
        default=None,
        description="Seconds between the end of the job and its deletion.",
        json_schema_extra=OPERATOR_ONLY,
    )

    @model_validator(mode="after")
    def _rules(self) -> RLJobSpec:
        problems = {}
        if self.strict and self.rollout.replicas != 1:
            problems["rollout.replicas"] = (
                f"{self.rollout.replicas} is not allowed with strict: true; only 1"
            )
        for name in ("every_steps", "every_updates"):
            if self.strict and (number := getattr(self.checkpoint, name)) is not None:
                problems[f"checkpoint.{to_camel(name)}"] = f"{number} {_NOT_STRICT}"
        if self.strict and self.seed is None:
            problems["seed"] = "is required with strict: true"
        applications = self.rollout.applications
        if applications is None and self.stop.empty:
            problems["stop"] = NEEDS_STOP
        if applications is None and self.environment.spaces is not None:
            problems["rollout.applications"] = _NEEDS_APPLICATIONS
        if applications is not None and self.environment.spaces is None:
            problems["environment.spaces"] = _NEEDS_SPACES
        if applications is not None and self.strict:
            problems["rollout.applications"] = _NOT_REPEATABLE
        if self.evaluation is not None and not self.environment.played:
            problems["evaluation"] = _NOTHING_TO_PLAY
        for name in self.code or ():
            module = name.removesuffix(".py")
            if not re.fullmatch(_MODULE_FILE, name):
                problems[f"code.{name}"] = "is not allowed; a file name like my_env.py"
            elif module in TAKEN:
                problems[f"code.{name}"] = f"would hide the module {module}; choose another name"
        if problems:
            raise invalid.refuse(problems)
        return self

    @property
    def saves_replay(self) -> bool:
        """Whether checkpoints include the buffer's content; a strict run needs it to resume."""
        return self.checkpoint.replay or self.strict


class RLJob(Section):
    """A reinforcement-learning training job."""

    api_version: Literal["rljob.dev/v1alpha1"] = Field(
        default="rljob.dev/v1alpha1", description="Version of this schema."
    )
    kind: Literal["RLJob"] = Field(default="RLJob", description="Always `RLJob`.")
    metadata: Metadata = Field(description="Metadata of the job, e.g. `{name: cartpole-ppo}`.")
    spec: RLJobSpec = Field(description="What to train, how, and until when.")

    _source: JobSource = PrivateAttr(default_factory=JobSource)

    @property
    def source(self) -> JobSource:
        """The file and the lines that the job was read from, for messages."""
        return self._source

    @model_validator(mode="before")
    @classmethod
    def _drop_status(cls, values: Any) -> Any:
        # `kubectl get -o yaml` adds it.
        if isinstance(values, Mapping):
            return {key: value for key, value in values.items() if key != "status"}
        return values


JobLike = str | Path | Mapping[str, Any] | RLJob
"""What names a job: a YAML file, a mapping in the form of the YAML, or a job."""


def load(path: str | Path, overrides: Sequence[str] = ()) -> RLJob:
    """The RLJob in a YAML file.

    Args:
        path: the file.
        overrides: `path=value` as given to `--set`, e.g. `algorithm.config.learningRate=1e-3`.

    Raises:
        InputError: with the file, line and field of every problem.
    """
    return parse(specfile.read(path), file=str(path), overrides=overrides)


def read(job: JobLike, overrides: Sequence[str] = ()) -> RLJob:
    """The job in a YAML file, in a mapping in the form of the YAML, or as it is; with the overrides as in `load`.

    Raises:
        InputError: with every problem; or `job` is something else.
    """
    if isinstance(job, str | Path):
        return load(job, overrides)
    if isinstance(job, RLJob):
        if not overrides:
            return job
        job = job.model_dump(mode="json", by_alias=True, exclude_none=True)
    if not isinstance(job, Mapping):
        raise InputError(
            f"{type(job).__name__} is not a job: give a YAML file, a mapping in the form of the YAML, or an RLJob"
        )
    return parse(job, overrides=overrides)


def parse(content: str | Mapping[str, Any], file: str = "", overrides: Sequence[str] = ()) -> RLJob:
    """As `load`, from YAML text or from a dictionary in the form of the YAML."""
    if isinstance(content, str):
        raw, source = specfile.parse_mapping(content, file)
    else:
        raw, source = dict(content), JobSource(file)
    raw = specfile.apply_overrides(raw, source, overrides)
    job = invalid.checked(RLJob, raw, source=source)
    job._source = source
    return job


def dump(job: RLJob) -> str:
    """YAML of the whole job with its defaults; `parse` reads it back to an equal job."""
    return yamltext.dump(job.model_dump(mode="json", by_alias=True, exclude_none=True))


def locate(job: RLJob, error: InputError) -> InputError:
    """The same error with the file and the line of its `path` in this job."""
    return invalid.locate(job.source, error)
