"""Random observations, masks and memories of a policy, to compare two forms of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rljob.envs.spaces import Arrays, BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space

if TYPE_CHECKING:
    from rljob.policies.loaded import TrainedPolicy

MOST_DIFFERENT = 1e-4
"""Largest difference between two forms of a policy, of numbers of about 1; larger ones may differ by the same share."""


def observations(space: Space, count: int, rng: np.random.Generator) -> np.ndarray:
    """As the environment returns them, `[count, ...]`: evenly within bounds, and normal where there are none."""
    if isinstance(space, BoxSpace):
        low, high = space.bounds()
        own: np.dtype[Any] | None = space.environment_dtype
        assert own is not None
        with np.errstate(over="ignore", invalid="ignore"):
            bounded = np.isfinite(low) & np.isfinite(high) & (high - low < 1e6)
        even = rng.uniform(
            np.where(bounded, low, 0), np.where(bounded, high, 1), (count, *space.shape)
        )
        normal = rng.normal(0, 2, even.shape)
        found = np.where(bounded, even, np.clip(normal, low, high))
        whole: Any = np.rint(found) if own.kind in "biu" else found
        typed: np.ndarray = whole.astype(own)
        return typed
    chosen: np.ndarray
    if isinstance(space, DiscreteSpace):
        chosen = rng.integers(space.n, size=count) + space.start
        return chosen.astype(space.environment_dtype)
    chosen = rng.integers(space.nvec, size=(count, len(space.nvec))) + np.array(space.start)
    shape = (count, *space.environment_shape)
    return chosen.astype(space.environment_dtype).reshape(shape)


def masks(space: Space, count: int, rng: np.random.Generator) -> np.ndarray:
    """Of the environment's actions, bool `[count, K]`: each choice has one that is allowed, and half of the others."""
    choices = space.nvec if isinstance(space, MultiDiscreteSpace) else (getattr(space, "n", 0),)
    parts = []
    for n in choices:
        part = rng.random((count, n)) < 0.5
        part[np.arange(count), rng.integers(n, size=count)] = True
        parts.append(part)
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Compared:
    """What a policy does with random inputs in numpy.

    Attributes:
        inputs: by name, `[N, ...]`.
        action: `[N, ...]`, as the environment takes it.
        memory: after it, `[N, size]`; None without memory.
    """

    inputs: Arrays
    action: np.ndarray
    memory: np.ndarray | None

    @classmethod
    def of(cls, loaded: TrainedPolicy, count: int, masked: bool, seed: int = 0) -> Compared:
        """Of so many random inputs."""
        rng, interface = np.random.default_rng(seed), loaded.interface
        inputs = {"observation": observations(interface.observation, count, rng)}
        if masked:
            inputs["mask"] = masks(interface.action, count, rng)
        state = None
        if loaded.memory_size:
            state = rng.uniform(-1, 1, (count, loaded.memory_size)).astype(np.float32)
            inputs["memory"] = state
        action, memory = loaded.predict(
            inputs["observation"], state, deterministic=True, mask=inputs.get("mask")
        )
        return cls(inputs, action, memory)

    def difference(self, loaded: TrainedPolicy, outputs: Mapping[str, np.ndarray]) -> float:
        """The largest difference to another form of the policy, relative to numbers above 1; infinite where it chooses
        otherwise, unless it has scores that are equal within rounding.

        Args:
            outputs: of the other form. Without `values` or `logits`, no other action is forgiven.
        """
        found = outputs["action"]
        if found.shape != self.action.shape or found.dtype != self.action.dtype:
            return math.inf
        largest = 0.0 if self.memory is None else _largest(outputs["next_memory"], self.memory)
        space = loaded.spaces.action
        if isinstance(space, BoxSpace):
            return max(largest, _largest(found, self.action))
        other = (found != self.action).reshape(len(found), -1).any(axis=1)
        if other.any():
            scores = outputs.get("values", outputs.get("logits"))
            if scores is None or not _tied(space, scores[other]).all():
                return math.inf
        return largest


def _tied(space: Space, scores: np.ndarray) -> np.ndarray:
    """Rows of `[N, K]` in which the two best of a choice are equal within rounding, bool `[N]`."""
    choices = space.nvec if isinstance(space, MultiDiscreteSpace) else (scores.shape[1],)
    tied = np.zeros(len(scores), np.bool_)
    for part in np.split(scores, np.cumsum(choices)[:-1], axis=1):
        if part.shape[1] > 1:
            second, best = np.sort(part, axis=1)[:, -2:].T
            tied |= best - second <= MOST_DIFFERENT * np.maximum(1, np.abs(best))
    return tied


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float((np.abs(a - b) / np.maximum(1, np.abs(b))).max(initial=0.0))
