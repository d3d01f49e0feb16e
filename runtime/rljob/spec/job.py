"""The RLJob itself, and reading one from a file or a dictionary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from rljob.errors import InputError
from rljob.spec import cel, invalid, yamltext
from rljob.spec import file as specfile
from rljob.spec.cel import IMMUTABLE
from rljob.spec.file import JobSource
from rljob.spec.schema import (
    OPERATOR_ONLY,
    Deadline,
    Delay,
    Requirement,
    Section,
    Seed,
    SourceText,
)
from rljob.spec.sections import (
    AlgorithmSpec,
    BufferSpec,
    CheckpointSpec,
    EnvironmentSpec,
    EvaluationSpec,
    LearnerSpec,
    Metadata,
    NetworkSpec,
    RolloutSpec,
    StopSpec,
)
from rljob.spec.sinks import SinksSpec
from rljob.spec.stall import StallSpec

_MODULE_FILE = r"^[A-Za-z_][A-Za-z0-9_]*\.py$"


class RLJobSpec(Section):
    """All that a training job is."""

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
            cel.rule(
                f"!has(self.code) || self.code.all(name, name.matches({cel.text(_MODULE_FILE)}))",
                "is not allowed; a file name like my_env.py",
                at="code",
            ),
        )
    )

    environment: EnvironmentSpec = Field(
        description="What is to be learned, e.g. `{id: CartPole-v1}`. A Gymnasium id, or the import "
        "path of a factory of your own.",
        json_schema_extra=IMMUTABLE,
    )
    algorithm: AlgorithmSpec = Field(
        description="How it is learned, e.g. `{name: PPO}`. A built-in algorithm, or the import path "
        "of a class of your own.",
        json_schema_extra=IMMUTABLE,
    )
    network: NetworkSpec = Field(
        default_factory=NetworkSpec,
        description="The policy's network. `mlp` when absent; or the import path of a torch module "
        "class of your own.",
        json_schema_extra={**IMMUTABLE, "default": {"name": "mlp"}},
    )
    stop: StopSpec = Field(
        description="When training ends: at least one of steps, meanReturn, duration, e.g. "
        "`{steps: 500000, meanReturn: 475}`. Whichever comes first."
    )
    seed: Seed | None = Field(
        default=None,
        description="Seed of all randomness; drawn and recorded when absent.",
        json_schema_extra=IMMUTABLE,
    )
    strict: bool = Field(
        default=False,
        description="One rollout in lockstep with the learner, so that two runs with the same seed "
        "give the same weights. Needs a seed and rollout.replicas: 1.",
        json_schema_extra=IMMUTABLE,
    )
    rollout: RolloutSpec = Field(
        default_factory=RolloutSpec,
        description="The workers that step environments. Each has the newest policy, steps a batch of "
        "environments with it and sends what it saw to the buffer. Workers may come, go and die at "
        "any time; none of that counts as a failure. `kubectl scale` changes their number while the "
        "job trains.",
    )
    buffer: BufferSpec = Field(
        default_factory=BufferSpec,
        description="Stores experience between rollouts and learner. It keeps their speeds in "
        "balance: rollouts that run ahead wait, and so does a learner that has nothing new.",
    )
    learner: LearnerSpec = Field(
        default_factory=LearnerSpec,
        description="Turns experience into new policy versions. It writes the checkpoints, ends when "
        "a stop condition is reached, and goes on from the newest checkpoint when it was lost.",
    )
    evaluation: EvaluationSpec | None = Field(
        default=None,
        description="Greedy episodes beside the training; none when absent. `{}` has the defaults.",
    )
    checkpoint: CheckpointSpec = Field(
        default_factory=CheckpointSpec,
        description="What is saved, how often, and where. Training goes on from the newest checkpoint "
        "after a loss or a suspension.",
    )
    sinks: SinksSpec = Field(
        default_factory=SinksSpec,
        description="Where the records go beside the run's own folder, e.g. `{tensorboard: {}}`. A sink "
        "that fails never holds up the training. Credentials come from the learner's environment.",
    )
    code: dict[str, SourceText] | None = Field(
        default=None,
        max_length=64,
        description="Your own modules: file name to Python text. They can be imported by the roles.",
        json_schema_extra={**IMMUTABLE, **OPERATOR_ONLY},
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
        description="Image of all pods, made from one of rljob's; rljob's own when absent. Not used "
        "locally.",
        json_schema_extra=OPERATOR_ONLY,
    )
    stall: StallSpec = Field(
        default_factory=StallSpec,
        description="What counts as standing still, and what is done about it, e.g. `{timeout: 10m, policy: "
        "Restart}` where an environment hangs now and then.",
        json_schema_extra=OPERATOR_ONLY,
    )
    suspend: bool = Field(
        default=False,
        description="Stop all roles and keep what was learned. Set back to false, training goes on "
        "from there.",
        json_schema_extra=OPERATOR_ONLY,
    )
    backoff_limit: Delay = Field(
        default=3,
        description="Times that the learner may fail before the job does.",
        json_schema_extra=OPERATOR_ONLY,
    )
    active_deadline_seconds: Deadline | None = Field(
        default=None,
        description="Seconds after which a job that still runs has failed.",
        json_schema_extra=OPERATOR_ONLY,
    )
    pending_deadline_seconds: Deadline | None = Field(
        default=None,
        description="Seconds after which a job that has not begun to train has failed.",
        json_schema_extra=OPERATOR_ONLY,
    )
    clean_pod_policy: Literal["Running", "All", "None"] = Field(
        default="Running",
        description="Which pods go when the job has ended: those that still run, all, or none.",
        json_schema_extra=OPERATOR_ONLY,
    )
    ttl_seconds_after_finished: Delay | None = Field(
        default=None,
        description="Seconds after its end at which the job is deleted.",
        json_schema_extra=OPERATOR_ONLY,
    )

    @model_validator(mode="after")
    def _rules(self) -> RLJobSpec:
        problems = {}
        if self.strict and self.rollout.replicas != 1:
            problems["rollout.replicas"] = (
                f"{self.rollout.replicas} is not allowed with strict: true; only 1"
            )
        if self.strict and self.seed is None:
            problems["seed"] = "is required with strict: true"
        for name in self.code or ():
            if not re.fullmatch(_MODULE_FILE, name):
                problems[f"code.{name}"] = "is not allowed; a file name like my_env.py"
        if problems:
            raise invalid.refuse(problems)
        return self

    @property
    def saves_replay(self) -> bool:
        """Whether a checkpoint has the buffer's content with it: a strict run that goes on needs it."""
        return self.checkpoint.replay or self.strict


class RLJob(Section):
    """A reinforcement-learning training job."""

    api_version: Literal["rljob.dev/v1alpha1"] = Field(
        default="rljob.dev/v1alpha1", description="Version of this schema."
    )
    kind: Literal["RLJob"] = Field(default="RLJob", description="Always `RLJob`.")
    metadata: Metadata = Field(description="Names the job: `{name: cartpole-ppo}`.")
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


def load(path: str | Path, overrides: Sequence[str] = ()) -> RLJob:
    """The RLJob in a YAML file.

    Args:
        path: the file.
        overrides: `path=value` as given to `--set`, e.g. `algorithm.config.learningRate=1e-3`.

    Raises:
        InputError: with file, line and field of everything that is wrong.
    """
    return parse(specfile.read(path), file=str(path), overrides=overrides)


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
