"""What a run reports while it trains, and what it ends with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic.alias_generators import to_camel

from rljob.errors import RunError
from rljob.run_folder.names import CHECKPOINTS, LATEST


@dataclass(frozen=True)
class Evaluation:
    """Greedy episodes of the final policy: mean, standard deviation, extremes of their returns."""

    mean: float
    std: float
    min: float
    max: float
    episodes: int


@dataclass(frozen=True)
class Result:
    """How a run ended; the content of `result.json`.

    Attributes:
        outcome: `Complete`, `Stopped` or `Failed`.
        reason: e.g. `MeanReturnReached`, `StepsReached`, `Interrupted`, `CrashLoop`.
        mean_return: of the last 100 training episodes; None before the first one ended.
        best_return: the highest such mean.
        steps: environment steps.
        seconds: spent training.
        policy_version: of the newest policy.
        versions: of rljob and of what the result depends on.
        evaluation: greedy episodes of the final policy, when the job asks for evaluation.
        restarts: roles that were started again.
        message: what failed; empty otherwise.
        last_lines: of the output of the role that failed.
        folder: the run's.
    """

    outcome: str
    reason: str
    mean_return: float | None
    best_return: float | None
    steps: int
    episodes: int
    updates: int
    seconds: float
    policy_version: int
    seed: int
    versions: dict[str, str]
    folder: Path
    evaluation: Evaluation | None = None
    restarts: int = 0
    message: str = ""
    last_lines: str = ""

    @property
    def policy_path(self) -> Path | None:
        """The newest checkpoint, or None when none was saved."""
        latest = self.folder / CHECKPOINTS / LATEST
        return latest if latest.exists() else None

    @classmethod
    def from_json(cls, value: Mapping[str, Any], folder: Path) -> Result:
        """From what `result.json` in `folder` holds."""
        values = _known(cls, value)
        if values.get("evaluation") is not None:
            values["evaluation"] = Evaluation(**_known(Evaluation, values["evaluation"]))
        return cls(**{**values, "folder": folder})


@dataclass(frozen=True)
class Progress:
    """One line of `metrics.jsonl`.

    Attributes:
        time: Unix time in seconds.
        lag_p50, lag_p95: policy versions that the experience of recent updates was behind.
        buffer_fill: share of the capacity.
        rollouts_waiting, learner_waiting: share of the time.
        metrics: what the algorithm reports.
        restarts: roles that were started again so far.
        roles: state of each role by name.
    """

    time: float
    seconds: float
    steps: int
    episodes: int
    updates: int
    mean_return: float | None
    best_return: float | None
    steps_per_second: float
    updates_per_second: float
    policy_version: int
    lag_p50: int
    lag_p95: int
    buffer_fill: float
    rollouts_ready: int
    rollouts_waiting: float
    learner_waiting: float
    metrics: dict[str, float] = field(default_factory=dict)
    restarts: int = 0
    roles: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(
        cls, record: Mapping[str, Any], restarts: int = 0, roles: Mapping[str, str] | None = None
    ) -> Progress:
        """From a line of `metrics.jsonl`."""
        more = {"restarts": restarts, "roles": dict(roles or {})}
        return cls(**{**_known(cls, record), **more})


class RunFailed(RunError):
    """A run that ended as `Failed`.

    Attributes:
        result: how far it came.
    """

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class Tail:
    """The lines that were appended to a JSON-lines file since the last look.

    Args:
        path: the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Whole lines only; one that is being written comes with the next look."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return
        whole, newline, _ = data.rpartition(b"\n")
        self._at += len(whole) + len(newline)
        yield from _records(whole)


def read_records(path: Path) -> list[dict[str, Any]]:
    """All records of a JSON-lines file; none when it is absent."""
    return list(_records(path.read_bytes())) if path.exists() else []


def _records(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue  # A learner was killed while it wrote this.
        if isinstance(value, dict):
            yield value


def _known(cls: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    names = {to_camel(one.name): one.name for one in fields(cls)}
    return {names[key]: item for key, item in value.items() if key in names}
