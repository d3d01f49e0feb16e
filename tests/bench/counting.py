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
    Actor,
    AlgorithmConfig,
    Arrays,
    Head,
    Learner,
    Net,
    OnPolicy,
    Place,
    Policy,
    Progress,
    Replay,
    Seen,
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


class CountingLearner(Learner):
    def __init__(self, update_seconds: float) -> None:
        self._update_seconds = update_seconds

    def update(self, batch: Arrays, progress: Progress) -> Update:
        if self._update_seconds:
            time.sleep(self._update_seconds)
        return Update({"rows": float(batch["reward"].size)})


class CountingActor(Actor):
    def act(self, seen: Seen) -> Acted:
        logits = self.policy(seen)["logits"]
        return Acted((logits + self.rng.random(logits.shape, np.float32)).argmax(-1))


class Counting:
    """On-policy: every segment is counted once."""

    Config = CountingConfig
    fields: tuple[ArrayField, ...] = ()

    def __init__(self, config: CountingConfig, spaces: Spaces) -> None:
        assert isinstance(spaces.action, DiscreteSpace)
        net = Net({"logits": Head(spaces.action.n)}, acts=("logits",))
        self.networks: Mapping[str, Net] = {"policy": net}
        self._update_seconds = config.update_seconds
        self.data: OnPolicy | Replay = OnPolicy(config.rollout_length)

    def actor(self, policy: Policy, place: Place) -> CountingActor:
        return CountingActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> CountingLearner:
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
