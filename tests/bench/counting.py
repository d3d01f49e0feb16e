"""Algorithms that learn nothing: what is left is the data path, which the benchmarks measure.

They act at random, so that a rollout's own work is as small as it can be.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from rljob.algorithms.base import (
    Acted,
    AlgorithmConfig,
    Arrays,
    Head,
    LearnerState,
    OnPolicy,
    Progress,
    Replay,
    Update,
)
from rljob.algorithms.base import Field as ArrayField
from rljob.envs.spaces import DiscreteSpace, Spaces


class CountingConfig(AlgorithmConfig):
    rollout_length: int = Field(default=32, ge=1)
    batch_size: int = Field(default=256, ge=1)
    samples_per_insert: float = Field(default=8.0, gt=0)
    update_seconds: float = Field(default=0.0, ge=0)
    """Slept in each update, as a learner that is slow."""


class CountingLearner:
    def __init__(self, update_seconds: float) -> None:
        self._update_seconds = update_seconds

    def update(self, batch: Arrays, progress: Progress) -> Update:
        if self._update_seconds:
            time.sleep(self._update_seconds)
        return Update({"rows": float(batch["reward"].size)})

    def scalars(self, progress: Progress) -> dict[str, float]:
        return {}

    def state(self) -> LearnerState:
        return LearnerState({}, {})

    def load_state(self, state: LearnerState) -> None:
        pass


class Counting:
    """On-policy: every segment is counted once."""

    Config = CountingConfig
    acting_heads = ("logits",)
    fields: tuple[ArrayField, ...] = ()

    def __init__(self, config: CountingConfig, spaces: Spaces) -> None:
        assert isinstance(spaces.action, DiscreteSpace)
        self.heads = {"logits": Head(spaces.action.n)}
        self._update_seconds = config.update_seconds
        self.data: OnPolicy | Replay = OnPolicy(config.rollout_length)

    def act(
        self,
        outputs: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        scalars: Mapping[str, float],
        greedy: bool = False,
    ) -> Acted:
        logits = outputs["logits"]
        return Acted((logits + rng.random(logits.shape, np.float32)).argmax(-1))

    def finish(self, segment: Arrays) -> None:
        pass

    def learner(self, network: Any, seed: int) -> CountingLearner:
        return CountingLearner(self._update_seconds)


class CountingReplay(Counting):
    """Replay: batches are sampled, sent and counted."""

    def __init__(self, config: CountingConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.data = Replay(
            config.rollout_length,
            config.batch_size,
            min_size=10_000,
            samples_per_insert=config.samples_per_insert,
        )
