"""What was measured of a job's parts; can be kept in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from rljob.errors import InputError, RunError

Seconds = Annotated[float, Field(ge=0, le=1e6)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class Work(_Part):
    """One piece of a process' work.

    The process is busy with it for `wait + cpu / width` seconds when it has the cores that it wants.
    """

    cpu: Seconds
    """Processor time, all threads together."""
    wait: Seconds = 0.0
    """Time without a processor: asleep, or waiting for a device or another machine."""
    width: Annotated[float, Field(ge=1)] = 1.0
    """Cores that it uses at once while it uses any."""

    @property
    def seconds(self) -> float:
        return self.wait + self.cpu / self.width

    def times(self, count: float) -> Work:
        """So many of them, one after the other."""
        return Work(cpu=self.cpu * count, wait=self.wait * count, width=self.width)


class Line(_Part):
    """Work that grows with what it is done for."""

    fixed: Work
    each: Work

    def of(self, count: int) -> Work:
        """For so many segments, or rollouts."""
        return Work(
            cpu=self.fixed.cpu + self.each.cpu * count,
            wait=self.fixed.wait + self.each.wait * count,
            width=self.fixed.width,
        )


class OnPolicyUse(_Part):
    """Each segment is trained on once."""

    kind: Literal["on-policy"] = "on-policy"
    segments_per_batch: Annotated[int, Field(ge=0)] = 0
    """0: one of each rollout."""
    max_policy_lag: Annotated[int, Field(ge=0)] = 4


class ReplayUse(_Part):
    """Transitions are stored and sampled in a ratio."""

    kind: Literal["replay"] = "replay"
    batch_size: Count
    samples_per_insert: Annotated[float, Field(gt=0)]
    updates_per_publish: Count


class Costs(_Part):
    """Of one job on one kind of machine; seconds."""

    job: str
    """Digest of what was measured, see `calibrate.digest`."""
    cores: Annotated[float, Field(gt=0)]
    """That a process could use where it was measured."""
    length: Count
    """`T`, steps in a segment."""
    envs: Count
    """`N`, environments of a rollout."""
    valid: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the steps that do not only reset."""
    strict: bool = False
    use: OnPolicyUse | ReplayUse = Field(discriminator="kind")
    segment_bytes: Count
    weights_bytes: Count
    stepping: Work
    """One step of all environments of a rollout."""
    acting: Work
    """Choosing their actions."""
    packing: Work
    """What else a segment takes, before it is sent."""
    shipping: Work
    """Sending a segment, and hearing that it was stored."""
    applying: Work
    """Receiving and loading a policy version."""
    carrying: Work
    """Of the threads of the transport, for a segment all the way to the learner."""
    storing: Work
    """The buffer takes a segment."""
    delivering: Work
    """The buffer hands a segment or, with replay, a delivery of samples to the learner."""
    receiving: Work
    """The learner takes it."""
    updating: Line
    """Training on a batch, for each segment in it; with replay one update, `each` being nothing."""
    publishing: Line
    """Making a policy version, and sending it to each rollout."""
    hop: Seconds
    """From one process to the next, beyond the work of either."""

    @property
    def steps(self) -> int:
        """Environment steps in a segment, those that only reset included."""
        return self.length * self.envs

    @property
    def collecting(self) -> Work:
        """Of a segment, until it is sent."""
        step, rest = self.stepping, self.acting.cpu * self.length + self.packing.cpu
        cpu = step.cpu * self.length + rest
        computing = step.cpu * self.length / step.width + rest
        width = max(1.0, cpu / computing) if computing else 1.0
        return Work(cpu=cpu, wait=step.wait * self.length, width=width)

    def segments_per_batch(self, rollouts: int) -> int:
        """Deliveries that one policy version is made of."""
        if isinstance(self.use, OnPolicyUse):
            return self.use.segments_per_batch or rollouts
        return 1

    @property
    def on_policy(self) -> bool:
        return isinstance(self.use, OnPolicyUse)

    def save(self, path: Path) -> None:
        """Raises RunError when it cannot be written."""
        try:
            path.write_text(self.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises InputError when it is not what `save` wrote."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            why = str(error).splitlines()[0]
            raise InputError(f"no costs that rljob plan has saved: {why}", file=str(path)) from None
