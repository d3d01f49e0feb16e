"""Progress and result of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.alias_generators import to_camel

from rljob.errors import InputError, RunError
from rljob.run_folder import json_files
from rljob.run_folder.names import CHECKPOINTS, LATEST, RESULT
from rljob.run_folder.record import Record

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Evaluation:
    """Returns of greedy episodes of the final policy: mean, standard deviation, minimum, maximum."""

    mean: float
    std: float
    min: float
    max: float
    episodes: int


@dataclass(frozen=True)
class Result:
    """Result of a run; the content of `result.json`.

    Attributes:
        outcome: `Complete`, `Stopped` or `Failed`.
        reason: e.g. `MeanReturnReached`, `StepsReached`, `Interrupted`, `CrashLoop`.
        mean_return: of the last 100 training episodes; None before the first one ended.
        best_return: the highest such mean.
        steps: environment steps.
        seconds: spent training.
        policy_version: of the newest policy.
        versions: versions of rljob and its dependencies.
        evaluation: greedy episodes of the final policy, if the job has an evaluation.
        restarts: number of restarts of roles.
        message: the failure; empty without one.
        last_lines: last lines of the log of the role that failed.
        folder: the run's folder.
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

    def history(self) -> dict[str, np.ndarray]:
        """The records of the training, `[records]` each: `steps`, `mean_return`, `metrics.NAME` and others, int64 or
        float64 with NaN for what is not known; `hook_failures` is their number in that life of the learner.
        `pandas.DataFrame(result.history())` makes a data frame of it."""
        from rljob.local import history

        return history.training(self.folder)

    def episode_history(self) -> dict[str, np.ndarray]:
        """The training episodes, `[episodes]` each: `steps` of the run when it was recorded, `policy_version`, `rollout`,
        `return`, `length`, `discounted_return`, and `info.KEY` for each key of `environment.info`, NaN where there was no
        number.

        Raises:
            ValueError: a file is damaged.
        """
        from rljob.local import history

        return history.episodes(self.folder)

    def evaluations(self) -> dict[str, np.ndarray]:
        """The evaluations during the training, `[evaluations]` each: `policy_version`, `mean`, `std` and others; empty
        where there were none."""
        from rljob.local import history

        return history.evaluations(self.folder)

    @classmethod
    def read(cls, folder: str | Path) -> Result:
        """The result of a run that has ended.

        Raises:
            InputError: the folder has none.
        """
        folder = Path(folder)
        value = json_files.read(folder / RESULT)
        if value is None:
            raise InputError(f"{folder} has no {RESULT}; give the folder of a run that has ended")
        return cls.from_json(value, folder)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], folder: Path) -> Result:
        """From the content of `result.json` in `folder`."""
        values = _known(cls, value)
        if values.get("evaluation") is not None:
            values["evaluation"] = Evaluation(**_known(Evaluation, values["evaluation"]))
        return cls(**{**values, "folder": folder})


@dataclass(frozen=True)
class RunProgress:
    """Progress of training; see `rljob.run_folder.record.Record`.

    Attributes:
        time: Unix time in seconds.
        lag_p50, lag_p95: policy versions that the experience of recent updates was behind.
        buffer_fill: share of the capacity.
        rollouts_waiting, learner_waiting: share of the time.
        metrics: metrics of the algorithm.
        restarts: number of restarts of roles so far.
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
    def of(cls, record: Record, restarts: int, roles: Mapping[str, str]) -> RunProgress:
        """From a record of the learner."""
        values: dict[str, Any] = {
            each.name: getattr(record, each.name, None) for each in fields(cls)
        }
        return cls(**{**values, "restarts": restarts, "roles": dict(roles)})


class RunFailed(RunError):
    """A run that ended as `Failed`.

    Attributes:
        result: the result up to the failure.
    """

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


def _known(cls: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    names = {to_camel(one.name): one.name for one in fields(cls)}
    return {names[key]: item for key, item in value.items() if key in names}
