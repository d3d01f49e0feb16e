"""Status of an RLJob on a cluster, and the learner's report that supplies much of it.

The CRD is generated from these models, including descriptions. A status may come from another version
of rljob, so unknown fields are ignored.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from rljob.spec.roles import RoleName

Phase = Literal["Pending", "Starting", "Training", "Suspending", "Suspended", "Complete", "Failed"]
ConditionStatus = Literal["True", "False", "Unknown"]
ConditionType = Literal[
    "Ready",
    "Progressing",
    "Suspended",
    "Checkpointed",
    "KeysCurrent",
    "Degraded",
    "Complete",
    "Failed",
]
NO_CHECKPOINT = -1
"""In place of a policy version: before the first checkpoint."""


def _keyed(name: str) -> dict[str, Any]:
    """List entries that Kubernetes identifies by this field."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [name]}


class StatusSection(BaseModel):
    """Base of all parts of a status."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        # The API server takes no NaN, and a status with one would never equal itself.
        allow_inf_nan=False,
    )


class Condition(StatusSection):
    """A Kubernetes condition."""

    type: ConditionType = Field(description="Condition type.")
    status: ConditionStatus = Field(description="Status of the condition.")
    reason: str = Field(max_length=1024, description="Reason in one CamelCase word.")
    message: str = Field(default="", max_length=32_768, description="Human-readable explanation.")
    last_transition_time: str = Field(description="When the status last changed, RFC 3339.")
    observed_generation: int = Field(
        description="Generation of the job that the condition refers to."
    )


class RoleStatus(StatusSection):
    """The pods of one role."""

    name: RoleName = Field(description="Which role.")
    replicas: int = Field(default=0, description="Desired pods.")
    ready_replicas: int = Field(default=0, description="Pods that are ready.")
    restarts: int = Field(
        default=0, description="Pods and containers replaced since the job started."
    )
    reason: str | None = Field(
        default=None, description="Why pods are not ready, in one word, e.g. `Unschedulable`."
    )
    message: str | None = Field(
        default=None, description="Why pods are not ready, in one sentence."
    )


class RolloutStatus(StatusSection):
    """Rollout pods, as the scale subresource reads them."""

    replicas: int = Field(default=0, description="Rollout pods that exist.")
    selector: str = Field(default="", description="Label selector of the rollout pods.")
    ready: str = Field(default="", description="Ready and desired pods, e.g. `2/4`.")


class LearnerStatus(StatusSection):
    """The learner's pod."""

    state: str = Field(
        default="",
        description="`Pending`, `Running`, `Restarting`, `Stopped`, `Succeeded` or `Failed`.",
    )
    failures: int = Field(
        default=0, description="Failures since its last progress, counted towards backoffLimit."
    )
    pod: str | None = Field(default=None, description="Name of the pod.")


class ProgressStatus(StatusSection):
    """Training progress."""

    steps: int = Field(default=0, description="Environment steps trained on.")
    episodes: int = Field(default=0, description="Episodes that have ended.")
    updates: int = Field(default=0, description="Updates of the policy.")
    mean_return: float | None = Field(
        default=None, description="Mean return of the last 100 training episodes."
    )
    best_return: float | None = Field(default=None, description="Highest mean return so far.")
    steps_per_second: int = Field(default=0, description="Recent environment steps per second.")
    updates_per_second: float = Field(default=0.0, description="Recent updates per second.")
    seconds: float = Field(default=0.0, description="Time spent training.")


class LagStatus(StatusSection):
    """Policy lag of the experience in the last updates, in policy versions."""

    p50: int = Field(default=0, description="Median.")
    p95: int = Field(default=0, description="95th percentile.")
    bound: int | None = Field(default=None, description="Maximum that the buffer allows.")


class PolicyStatus(StatusSection):
    """The policy in training."""

    version: int = Field(default=0, description="Newest published version.")
    lag: LagStatus = Field(default_factory=LagStatus, description="Policy lag of the experience.")


class BufferStatus(StatusSection):
    """State of the buffer."""

    fill: float = Field(default=0.0, description="Used share of the capacity, 0 to 1.")
    dropped: int = Field(default=0, description="Total segments evicted unused.")
    duplicates: int = Field(
        default=0, description="Segments received more than once and discarded."
    )
    set_aside: int = Field(
        default=0,
        description="Batches that were set aside because the learner died twice of each.",
    )
    set_aside_time: str | None = Field(
        default=None, description="When the newest batch was set aside, RFC 3339."
    )
    rollouts_waiting: float = Field(
        default=0.0, description="Share of time that rollouts wait for permission to send, 0 to 1."
    )
    learner_waiting: float = Field(
        default=0.0, description="Share of time that the learner waits for data, 0 to 1."
    )


class ApplicationStatus(StatusSection):
    """One application."""

    name: str = Field(description="Its name.")
    connected: int = Field(default=0, description="Processes that sent a message recently.")
    steps_per_second: int = Field(default=0, description="Recent environment steps per second.")
    lag: int = Field(
        default=0, description="Policy versions by which its newest segment was behind."
    )
    version: int = Field(
        default=-1, description="Policy version of its newest segment; -1 before the first."
    )
    evicted: int = Field(
        default=0, description="Segments that it could not deliver, or that were too old."
    )
    silent_seconds: int = Field(
        default=-1, description="Seconds since its newest segment; -1 before the first."
    )


class ApplicationsStatus(StatusSection):
    """Applications that feed the job."""

    connected: int = Field(
        default=0, description="Processes of applications that sent a message recently."
    )
    busiest: list[ApplicationStatus] = Field(
        default_factory=list,
        description="At most 16 of them, the fastest first.",
        json_schema_extra=_keyed("name"),
    )


class CheckpointStatus(StatusSection):
    """A checkpoint from which training can resume."""

    step: int = Field(description="Environment steps at the checkpoint.")
    policy_version: int = Field(description="Policy version in the checkpoint.")
    time: str = Field(description="When it was written, RFC 3339.")
    path: str = Field(description="Folder, relative to the root of the storage.")
    sha256: str = Field(
        description="SHA-256 of its manifest, which lists the digests of its files."
    )
    verified: bool = Field(
        default=False, description="Whether it was read back and matched its digests."
    )


class EvaluationStatus(StatusSection):
    """Greedy episodes of one policy version."""

    policy_version: int = Field(description="Policy version that was played.")
    mean: float = Field(description="Mean return.")
    std: float = Field(description="Standard deviation of the returns.")
    episodes: int = Field(description="Episodes that were played.")


class HookStatus(StatusSection):
    """Failures of the job's hooks in the newest life of the learner."""

    failures: int = Field(
        description="Calls that raised, or returned something else than they may."
    )
    message: str = Field(description="The first failure.")
    time: str = Field(description="When the newest was, RFC 3339.")


class LearnerReport(StatusSection):
    """The learner's report, at `/status` and in its termination message.

    A learner that resumes reports nothing before it has read the checkpoint: otherwise its first report
    would look like lost training.
    """

    progress: ProgressStatus = Field(default_factory=ProgressStatus)
    policy: PolicyStatus = Field(default_factory=PolicyStatus)
    buffer: BufferStatus = Field(default_factory=BufferStatus)
    applications: ApplicationsStatus | None = None
    last_checkpoint: CheckpointStatus | None = None
    evaluating: bool | None = None
    """True while the final policy is played: steps and updates then stay as they are."""
    evaluation: EvaluationStatus | None = None
    hooks: HookStatus | None = None
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class EndReport(StatusSection):
    """How a role ended: its pod's termination message."""

    outcome: Literal["Complete", "Interrupted", "Failed"]
    reason: str
    message: str = ""
    report: LearnerReport | None = None


class Provenance(StatusSection):
    """Origin of the result: versions, seed, configuration, images."""

    rljob_version: str | None = Field(default=None, description="Version of rljob in the learner.")
    seed: int | None = Field(default=None, description="Seed in use, given or chosen.")
    spec_hash: str | None = Field(
        default=None, description="Digest of the configuration given to the pods."
    )
    images: dict[str, str] | None = Field(
        default=None, description="Image with digest of each role, as pulled by the node."
    )
    versions: dict[str, str] | None = Field(
        default=None, description="Package versions in the learner."
    )


class Failure(StatusSection):
    """The last failure of a role."""

    role: RoleName = Field(description="Which role failed.")
    pod: str = Field(description="Name of the pod.")
    reason: str = Field(description="One word, e.g. `OOMKilled` or `Error`.")
    exit_code: int | None = Field(default=None, description="Exit code of its container.")
    message: str = Field(default="", description="Error message or last line of output.")
    time: str = Field(description="When it failed, RFC 3339.")


class RoleLedger(StatusSection):
    """Counter state of the restarts of one role."""

    name: RoleName = Field(description="Which role.")
    revision: str = Field(default="", description="Revision of the newest counted pod.")
    newest: str = Field(default="", description="Creation time of that pod, RFC 3339.")
    ties: int = Field(default=0, description="Counted pods that were created in that second.")
    owed: int = Field(
        default=0, description="Expected pods that replace none: first start, scaling, edits."
    )
    containers: int = Field(default=0, description="Container restarts in the pods seen last.")


class Ledger(StatusSection):
    """Counter state, so that nothing is counted twice. Internal to the operator."""

    roles: list[RoleLedger] = Field(
        default_factory=list, description="Restarts, one entry for each role."
    )
    job: str = Field(default="", description="UID of the current learner Job.")
    job_failures: int = Field(default=0, description="Failures of that Job already counted.")
    failed_at: int = Field(
        default=NO_CHECKPOINT,
        description="Policy version of the newest checkpoint at the learner's last failure; -1 without one.",
    )
    reporter: str = Field(default="", description="Pod that reported the progress.")
    reporter_created: str = Field(default="", description="When that pod was created, RFC 3339.")
    begun: bool = Field(default=False, description="Whether training has started.")
    advanced: str | None = Field(
        default=None, description="When steps or updates last increased, RFC 3339."
    )


class RLJobStatus(StatusSection):
    """Status of an RLJob on a cluster."""

    phase: Phase | None = Field(default=None, description="Summary of the conditions in one word.")
    observed_generation: int | None = Field(
        default=None, description="Generation of the job that the operator acted on last."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Conditions, one entry for each type.",
        json_schema_extra=_keyed("type"),
    )
    role_statuses: list[RoleStatus] = Field(
        default_factory=list,
        description="Pods, one entry for each role.",
        json_schema_extra=_keyed("name"),
    )
    keys_generation: int | None = Field(
        default=None, description="Generation of CURVE keys that the pods use or begin to use."
    )
    rollout: RolloutStatus | None = Field(default=None, description="The rollout pods.")
    learner: LearnerStatus | None = Field(default=None, description="The learner's pod.")
    progress: ProgressStatus | None = Field(default=None, description="Training progress.")
    policy: PolicyStatus | None = Field(default=None, description="The policy in training.")
    buffer: BufferStatus | None = Field(default=None, description="State of the buffer.")
    applications: ApplicationsStatus | None = Field(
        default=None, description="Applications that feed the job."
    )
    last_checkpoint: CheckpointStatus | None = Field(
        default=None, description="The newest checkpoint."
    )
    evaluation: EvaluationStatus | None = Field(
        default=None,
        description="The newest evaluation, at the end that of the final policy; absent without evaluations.",
    )
    hooks: HookStatus | None = Field(
        default=None, description="Failures of the job's hooks; absent while there are none."
    )
    provenance: Provenance | None = Field(default=None, description="Origin of the result.")
    restarts: int = Field(default=0, description="Restarts of all roles since the job started.")
    last_failure: Failure | None = Field(default=None, description="The last failure of a role.")
    start_time: str | None = Field(
        default=None, description="When the first pod was requested, RFC 3339."
    )
    active_seconds: float = Field(
        default=0.0,
        description="Active seconds up to the last start or suspension; suspended time does not count.",
    )
    resume_time: str | None = Field(
        default=None, description="When the job was last started or resumed, RFC 3339."
    )
    completion_time: str | None = Field(
        default=None, description="When the job completed or failed, RFC 3339."
    )
    ledger: Ledger | None = Field(
        default=None, description="Counter state. Internal to the operator."
    )
