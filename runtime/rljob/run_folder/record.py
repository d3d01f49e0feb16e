"""Records of the learner: the lines of `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic.alias_generators import to_camel

from rljob.run_folder.json_files import Tail, read_lines

LAST_BYTES = 1 << 16
COUNTERS = ("seconds", "steps", "episodes", "updates", "policy_version")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class SavedCheckpoint:
    """The newest checkpoint.

    Attributes:
        step: environment steps at the checkpoint.
        sha256: hash of its manifest.
        time: when it was saved, Unix time in seconds.
    """

    policy_version: int = -1
    step: int = 0
    path: str = ""
    sha256: str = ""
    time: float = 0.0


@dataclass(frozen=True)
class HookFailures:
    """Failures of the job's hooks in one life of the learner.

    Attributes:
        message: the first.
        time: of the newest, Unix time in seconds.
    """

    count: int = 0
    message: str = ""
    time: float = 0.0


@dataclass(frozen=True)
class Record:
    """One record of a run. The JSON names are the same in camelCase.

    Attributes:
        time: Unix time in seconds.
        seconds: spent training.
        steps: environment steps.
        mean_return: of the last 100 training episodes; None before the first one ended.
        best_return: the highest such mean over a full window.
        mean_length, mean_discounted_return: of those episodes; of fewer after the learner was restarted.
        lag_p50, lag_p95: policy versions that the experience of recent updates was behind.
        lag_bound: largest lag that the buffer allows; None without a bound.
        buffer_fill: share of the capacity.
        applications_connected: processes of applications that sent a message recently.
        applications: the busiest by name; the keys are those of `rljob.wire.application_figures.ApplicationFigures`.
        rollouts_waiting, learner_waiting: share of the time.
        stages: share of the time of the learner's other stages.
        evicted: segments that were removed because they were too old to be trained on.
        set_aside: batches that were set aside because the learner died twice of each.
        set_aside_last: when the newest was, Unix time; 0 for none.
        info: means of the numbers of `environment.info`, of those episodes.
        hardware: `ROLE.cores`, `ROLE.memory` in bytes of the learner, the buffer, and all rollouts together; of the
            learner's GPU `gpuMemory` in bytes and `gpuUse`, a share of the time.
        hook_failures: what methods of the job's hooks raised; None if nothing.
        metrics: metrics of the algorithm.
    """

    time: float = 0.0
    seconds: float = 0.0
    steps: int = 0
    episodes: int = 0
    updates: int = 0
    mean_return: float | None = None
    best_return: float | None = None
    mean_length: float | None = None
    mean_discounted_return: float | None = None
    steps_per_second: float | None = None
    updates_per_second: float | None = None
    policy_version: int | None = None
    lag_p50: int | None = None
    lag_p95: int | None = None
    lag_bound: int | None = None
    buffer_fill: float = 0.0
    rollouts_ready: int = 0
    applications_connected: int = 0
    applications: Sequence[Mapping[str, Any]] = field(default_factory=list)
    rollouts_waiting: float = 0.0
    learner_waiting: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    evicted: int = 0
    duplicates: int = 0
    set_aside: int = 0
    set_aside_last: float = 0.0
    checkpoint: SavedCheckpoint | None = None
    info: Mapping[str, float] = field(default_factory=dict)
    hardware: Mapping[str, float] = field(default_factory=dict)
    hook_failures: HookFailures | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As in the file; may include numbers that are not finite."""
        values = {to_camel(name): value for name, value in asdict(self).items()}
        if self.checkpoint is not None:
            values["checkpoint"] = {
                to_camel(name): value for name, value in values["checkpoint"].items()
            }
        return values

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """From a line of the file; unknown names are ignored."""
        found = _known(cls, value)
        saved: Any = found.checkpoint
        failed: Any = found.hook_failures
        return replace(
            found,
            checkpoint=_known(SavedCheckpoint, saved) if saved else None,
            hook_failures=_known(HookFailures, failed) if failed else None,
        )

    def at_least(self, other: Record) -> Record:
        """A copy whose counters are at least those of `other`."""
        held = {name: getattr(other, name) for name in COUNTERS if getattr(other, name) is not None}
        higher = {name: max(low, getattr(self, name) or low) for name, low in held.items()}
        return replace(self, **higher)


def read_records(path: Path) -> list[Record]:
    """All records of a `metrics.jsonl`; empty if there is no file."""
    return [Record.from_json(line) for line in read_lines(path)]


def last_record(path: Path) -> Record | None:
    """The newest record of a `metrics.jsonl`; None before the first."""
    for size in (LAST_BYTES, None):
        try:
            start = 0 if size is None else max(0, path.stat().st_size - size)
        except FileNotFoundError:
            return None
        # What remains of the first line is none.
        if lines := Tail(path, start).new():
            return Record.from_json(lines[-1])
    return None


def _known(cls: type[_Value], value: Mapping[str, Any]) -> _Value:
    names = {to_camel(each.name): each.name for each in fields(cls)}  # type: ignore[arg-type]
    return cls(**{names[name]: item for name, item in value.items() if name in names})
