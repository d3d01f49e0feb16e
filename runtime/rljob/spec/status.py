"""What a cluster says of an RLJob: its status, and the report of the learner that much of it comes from.

The descriptions are also those of the CRD, which is generated from these models. A status comes from
another version of rljob as well, so an unknown field is dropped, not refused.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from rljob.spec.roles import RoleName

Phase = Literal["Pending", "Starting", "Training", "Suspending", "Suspended", "Complete", "Failed"]
ConditionStatus = Literal["True", "False", "Unknown"]
ConditionType = Literal[
    "Ready", "Progressing", "Suspended", "Checkpointed", "Degraded", "Complete", "Failed"
]


def _keyed(name: str) -> dict[str, Any]:
    """Entries that Kubernetes tells apart by this field."""
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

    type: ConditionType = Field(description="What is said.")
    status: ConditionStatus = Field(description="Whether it is so.")
    reason: str = Field(max_length=1024, description="One word in CamelCase: why.")
    message: str = Field(default="", max_length=32_768, description="A sentence for people.")
    last_transition_time: str = Field(description="When status changed last, RFC 3339.")
    observed_generation: int = Field(description="Generation of the job that this is about.")


class RoleStatus(StatusSection):
    """The pods of one role."""

    name: RoleName = Field(description="Which role.")
    replicas: int = Field(default=0, description="Pods wanted.")
    ready_replicas: int = Field(default=0, description="Pods that are ready.")
    restarts: int = Field(
        default=0, description="Pods and containers replaced since the job began."
    )
    reason: str | None = Field(
        default=None, description="Why pods are not ready, one word, e.g. `Unschedulable`."
    )
    message: str | None = Field(default=None, description="Why pods are not ready, a sentence.")


class RolloutStatus(StatusSection):
    """What the scale subresource reads."""

    replicas: int = Field(default=0, description="Rollout pods that exist.")
    selector: str = Field(default="", description="Label selector of the rollout pods.")
    ready: str = Field(default="", description="Ready pods of those wanted, e.g. `2/4`.")


class LearnerStatus(StatusSection):
    """The learner's pod."""

    state: str = Field(
        default="",
        description="`Pending`, `Running`, `Restarting`, `Stopped`, `Succeeded` or `Failed`.",
    )
    failures: int = Field(default=0, description="Failures that count towards backoffLimit.")
    pod: str | None = Field(default=None, description="Name of the pod.")


class ProgressStatus(StatusSection):
    """How far training is."""

    steps: int = Field(default=0, description="Environment steps trained on.")
    episodes: int = Field(default=0, description="Episodes that have ended.")
    updates: int = Field(default=0, description="Updates of the policy.")
    mean_return: float | None = Field(
        default=None, description="Mean return of the last 100 training episodes."
    )
    best_return: float | None = Field(default=None, description="Highest mean return so far.")
    steps_per_second: int = Field(default=0, description="Environment steps per second, lately.")
    updates_per_second: float = Field(default=0.0, description="Updates per second, lately.")
    seconds: float = Field(default=0.0, description="Time spent training.")


class LagStatus(StatusSection):
    """Policy versions by which experience was behind, over the last updates."""

    p50: int = Field(default=0, description="Median.")
    p95: int = Field(default=0, description="95th percentile.")
    bound: int | None = Field(default=None, description="What the buffer allows.")


class PolicyStatus(StatusSection):
    """The policy in training."""

    version: int = Field(default=0, description="Newest published version.")
    lag: LagStatus = Field(default_factory=LagStatus, description="How old experience was.")


class BufferStatus(StatusSection):
    """The experience in store."""

    fill: float = Field(default=0.0, description="Share of the capacity in use, 0 to 1.")
    dropped: int = Field(default=0, description="Segments evicted unused, all counted.")
    duplicates: int = Field(default=0, description="Segments that came twice and were refused.")
    rollouts_waiting: float = Field(
        default=0.0, description="Share of time that rollouts wait for leave to send, 0 to 1."
    )
    learner_waiting: float = Field(
        default=0.0, description="Share of time that the learner waits for data, 0 to 1."
    )


class CheckpointStatus(StatusSection):
    """A checkpoint from which training can go on."""

    step: int = Field(description="Environment steps at that point.")
    policy_version: int = Field(description="Version of the policy in it.")
    time: str = Field(description="When it was written, RFC 3339.")
    path: str = Field(description="Its folder, below the storage's root.")
    sha256: str = Field(description="Digest of its manifest, which names those of its files.")
    verified: bool = Field(default=False, description="Whether it was read back and matched.")


class LearnerReport(StatusSection):
    """What a learner says of itself at `/status` and in its last message.

    A learner that goes on from a checkpoint says nothing before it has read it: otherwise its first
    report would look like training that was lost.
    """

    progress: ProgressStatus = Field(default_factory=ProgressStatus)
    policy: PolicyStatus = Field(default_factory=PolicyStatus)
    buffer: BufferStatus = Field(default_factory=BufferStatus)
    last_checkpoint: CheckpointStatus | None = None
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class EndReport(StatusSection):
    """How a role ended: its pod's termination message."""

    outcome: Literal["Complete", "Interrupted", "Failed"]
    reason: str
    message: str = ""
    report: LearnerReport | None = None


class Provenance(StatusSection):
    """What the result came from."""

    rljob_version: str | None = Field(default=None, description="Version of rljob in the learner.")
    seed: int | None = Field(default=None, description="Seed in use, also when none was given.")
    spec_hash: str | None = Field(default=None, description="Digest of what the pods were told.")
    images: dict[str, str] | None = Field(
        default=None, description="Role to image with digest, as the node pulled it."
    )
    versions: dict[str, str] | None = Field(
        default=None, description="Package to version, in the learner."
    )


class Failure(StatusSection):
    """The last failure of a role."""

    role: RoleName = Field(description="Which role failed.")
    pod: str = Field(description="Its pod.")
    reason: str = Field(description="One word, e.g. `OOMKilled` or `Error`.")
    exit_code: int | None = Field(default=None, description="Exit code of its container.")
    message: str = Field(default="", description="The last line that it said.")
    time: str = Field(description="When, RFC 3339.")


class RoleLedger(StatusSection):
    """Up to where the restarts of one role are counted."""

    name: RoleName = Field(description="Which role.")
    revision: str = Field(default="", description="Revision of the newest pod that was counted.")
    newest: str = Field(default="", description="Creation time of that pod, RFC 3339.")
    ties: int = Field(default=0, description="Pods counted that were created in that second.")
    owed: int = Field(
        default=0, description="Pods still to come that replace none: first start, scaling, edits."
    )
    containers: int = Field(default=0, description="Restarts of containers in the pods last seen.")


class Ledger(StatusSection):
    """What was counted already, so that nothing counts twice. For the operator itself."""

    roles: list[RoleLedger] = Field(
        default_factory=list, description="Restarts, one entry for each role."
    )
    job: str = Field(default="", description="UID of the learner's Job whose failures count now.")
    job_failures: int = Field(default=0, description="Failures of that Job, counted already.")
    reporter: str = Field(default="", description="Pod whose report the progress is from.")
    reporter_created: str = Field(default="", description="When that pod was created, RFC 3339.")
    begun: bool = Field(default=False, description="Whether the job has trained at all.")
    advanced: str | None = Field(
        default=None, description="When steps or updates were last seen to go on, RFC 3339."
    )


class RLJobStatus(StatusSection):
    """All that a cluster says of an RLJob."""

    phase: Phase | None = Field(default=None, description="The conditions in one word.")
    observed_generation: int | None = Field(
        default=None, description="Generation of the job that was acted on last."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        description="What holds, one entry for each type.",
        json_schema_extra=_keyed("type"),
    )
    role_statuses: list[RoleStatus] = Field(
        default_factory=list,
        description="Pods, one entry for each role.",
        json_schema_extra=_keyed("name"),
    )
    rollout: RolloutStatus | None = Field(default=None, description="The rollout pods.")
    learner: LearnerStatus | None = Field(default=None, description="The learner's pod.")
    progress: ProgressStatus | None = Field(default=None, description="How far training is.")
    policy: PolicyStatus | None = Field(default=None, description="The policy in training.")
    buffer: BufferStatus | None = Field(default=None, description="The experience in store.")
    last_checkpoint: CheckpointStatus | None = Field(
        default=None, description="The newest checkpoint."
    )
    provenance: Provenance | None = Field(default=None, description="What the result came from.")
    restarts: int = Field(default=0, description="Restarts of all roles since the job began.")
    last_failure: Failure | None = Field(default=None, description="The last failure of a role.")
    start_time: str | None = Field(
        default=None, description="When the first pod was asked for, RFC 3339."
    )
    active_seconds: float = Field(
        default=0.0, description="Seconds not suspended, up to the last start or suspension."
    )
    resume_time: str | None = Field(
        default=None, description="When the job was last started or resumed, RFC 3339."
    )
    completion_time: str | None = Field(
        default=None, description="When the job completed or failed, RFC 3339."
    )
    ledger: Ledger | None = Field(
        default=None, description="What was counted already. For the operator itself."
    )
