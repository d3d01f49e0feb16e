"""IMPALA's update."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rljob.algorithms.base import Arrays, Progress
from rljob.algorithms.built_in.impala import IMPALA, IMPALAConfig
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.nets import build_networks
from rljob.spec.sections import NetworkSpec

LENGTH, ENVS = 5, 3


def learned(reward: np.ndarray, **config: Any) -> list[torch.Tensor]:
    """The parameters after one update on a segment with these rewards."""
    spaces = Spaces(BoxSpace((4,)), DiscreteSpace(2))
    algorithm = IMPALA(IMPALAConfig(**config), spaces)
    networks = build_networks(NetworkSpec(), algorithm.networks, spaces, 1)
    rng, shape = np.random.default_rng(0), (LENGTH, ENVS)
    batch: Arrays = {
        "observation": rng.normal(size=(LENGTH + 1, ENVS, 4)).astype(np.float32),
        "action": rng.integers(2, size=shape),
        "reward": reward,
        "terminated": rng.random(shape) < 0.2,
        "truncated": np.zeros(shape, np.bool_),
        "valid": np.ones(shape, np.bool_),
        "log_prob": np.full(shape, -0.7, np.float32),
    }
    algorithm.learner(networks, 0).update(batch, Progress(0, 0.0))
    return list(networks["policy"].parameters())


def test_rewards_are_scaled_before_they_are_trained_on() -> None:
    reward = np.random.default_rng(1).normal(size=(LENGTH, ENVS)).astype(np.float32)

    found, expected = learned(reward, reward_scale=0.25), learned(reward * np.float32(0.25))

    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not all(torch.equal(*pair) for pair in zip(found, learned(reward), strict=True))
