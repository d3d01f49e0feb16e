"""What the methods of a job's hooks get, and how they stop the run; see docs/how-to/hooks.md.

A class of the user's own has any of the methods `on_start`, `on_episode`, `on_update`, `on_evaluation`, `on_checkpoint`
and `on_end`. Each takes one of the objects below and returns None, or `StopTraining`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

STOPPED_BY_HOOK = "StoppedByHook"
"""Reason of a run that a hook ended."""


@dataclass(frozen=True)
class StopTraining:
    """Returned by a method of a hook: training ends, and the job is complete.

    Args:
        reason: for people, in one sentence.

    Raises:
        ValueError: the reason is no text, or empty.
    """

    reason: str

    def __post_init__(self) -> None:
        given: object = self.reason
        if not isinstance(given, str) or not given.strip():
            raise ValueError(f"StopTraining needs a reason, a text; it got {given!r:.80}")


@dataclass(frozen=True)
class TrainingStarted:
    """For `on_start`, before the first update of this process.

    Attributes:
        name: of the job.
        folder: the learner's folder, which has the checkpoints.
        seed: of the job.
        resumed: whether training goes on from a checkpoint, from which the three numbers are.
        steps: environment steps.
        updates: of the learner.
        version: of the policy.
    """

    name: str
    folder: Path
    seed: int
    resumed: bool
    steps: int
    updates: int
    version: int


@dataclass(frozen=True)
class EpisodeEnded:
    """For `on_episode`: a training episode has ended.

    Attributes:
        number: of the episode, from 1, over all environments and all lives of the learner.
        episode_return: undiscounted sum of its rewards.
        length: steps.
        mean_return: of the last 100 training episodes, this one included.
        steps, updates: trained on so far.
    """

    number: int
    episode_return: float
    length: int
    mean_return: float
    steps: int
    updates: int


@dataclass(frozen=True)
class UpdateMade:
    """For `on_update`: the learner has made an update, and the policy of `version` has it.

    Attributes:
        updates: so far, this one included.
        steps: environment steps so far.
        version: the newest policy version.
        metrics: what the algorithm reports of this update, such as losses.
        mean_return: of the last 100 training episodes; None before the first has ended.
    """

    updates: int
    steps: int
    version: int
    metrics: Mapping[str, float]
    mean_return: float | None


@dataclass(frozen=True)
class EvaluationMade:
    """For `on_evaluation`: greedy episodes were played during training.

    Attributes:
        version: the policy version that was played; training has gone on meanwhile.
        mean, std, min, max: of the returns.
        episodes: that were played.
        steps, updates: trained on so far.
    """

    version: int
    mean: float
    std: float
    min: float
    max: float
    episodes: int
    steps: int
    updates: int


@dataclass(frozen=True)
class CheckpointSaved:
    """For `on_checkpoint`: a checkpoint is whole on the disk.

    Attributes:
        path: its folder; `checkpoint.keep` says when it is deleted.
        version: the policy version in it.
        steps: environment steps at it.
    """

    path: Path
    version: int
    steps: int


@dataclass(frozen=True)
class TrainingEnded:
    """For `on_end`, after the last checkpoint and before the evaluation of the final policy.

    Attributes:
        outcome: `Complete` when a stop condition or a hook ended training; `Interrupted` when the process was asked to
            stop, and training may go on later.
        reason: in one word, e.g. `StepsReached` or `StoppedByHook`.
        message: the same in a sentence.
        mean_return: of the last 100 training episodes; None before the first has ended.
        best_return: the highest such mean over a full window.
    """

    outcome: Literal["Complete", "Interrupted"]
    reason: str
    message: str
    steps: int
    episodes: int
    updates: int
    version: int
    mean_return: float | None
    best_return: float | None
