"""A policy that acts at random, to compare others with: uniform among the actions that the environment allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rljob.algorithms.base import (
    Acted,
    Actor,
    AlgorithmConfig,
    Field,
    Learner,
    Net,
    OnPolicy,
    Place,
    Policy,
    Seen,
)
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Space, Spaces


class AtRandom:
    """In the form of an algorithm; it has nothing to learn."""

    Config: ClassVar[type[AlgorithmConfig]] = AlgorithmConfig
    networks: ClassVar[Mapping[str, Net]] = {}
    fields: ClassVar[tuple[Field, ...]] = ()
    data: ClassVar[OnPolicy] = OnPolicy(1)

    def __init__(self, config: AlgorithmConfig, spaces: Spaces) -> None:
        self.action = spaces.action

    def actor(self, policy: Policy, place: Place) -> Actor:
        """See `Algorithm.actor`."""
        return RandomActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> Learner:
        """See `Algorithm.learner`."""
        return Learner()


class RandomActor(Actor):
    """Draws actions: of a bounded Box uniformly, of one without bounds from a standard normal distribution."""

    def act(self, seen: Seen) -> Acted:
        count = len(seen.valid)
        return Acted(_drawn(self.algorithm.action, count, seen.mask, self.rng))


def _drawn(
    space: Space, count: int, mask: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    if isinstance(space, BoxSpace):
        shape = (count, *space.shape)
        return rng.uniform(-1, 1, shape) if space.bounded else rng.standard_normal(shape)
    choices = (space.n,) if isinstance(space, DiscreteSpace) else space.nvec
    chance = rng.random((count, sum(choices)))
    if mask is not None:
        chance = np.where(mask, chance, -1.0)
    parts = np.split(chance, np.cumsum(choices)[:-1], axis=1)
    drawn = np.stack([part.argmax(axis=1) for part in parts], axis=1)
    return drawn[:, 0] if isinstance(space, DiscreteSpace) else drawn
