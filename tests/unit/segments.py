"""Made-up segments and learners for the tests of algorithms."""

from __future__ import annotations

from typing import Any

import numpy as np

from rljob import algorithms, nets
from rljob.algorithms.base import Algorithm, Arrays, Learner, Progress
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Space, Spaces
from rljob.spec.sections import AlgorithmSpec, NetworkSpec

START = Progress(0, 0.0)
"""The first update of a job."""


def make_algorithm(
    name: str, action: Space | None = None, observation: Space | None = None, **config: Any
) -> Algorithm:
    """An algorithm over four numbers and two choices, unless told otherwise; settings in camelCase."""
    spec = AlgorithmSpec(name=name, config=config)
    spaces = Spaces(observation or BoxSpace((4,)), action or DiscreteSpace(2))
    algorithm = algorithms.resolve_algorithm(spec)(algorithms.load_config(spec), spaces)
    # For the other functions here; an algorithm need not keep them.
    algorithm.spaces = spaces  # type: ignore[attr-defined]
    return algorithm


def make_learner(algorithm: Algorithm, seed: int = 0) -> tuple[Learner, Any]:
    """A learner with a small network of its own, and that network."""
    spec = NetworkSpec(config={"hidden": [16, 16]})
    network = nets.build_module(spec, algorithm.spaces, algorithm.heads, seed)  # type: ignore[attr-defined]
    return algorithm.learner(network, seed), network


def random_segment(algorithm: Algorithm, length: int, count: int, seed: int = 0) -> Arrays:
    """Random experience with episodes that end in both ways, acted on at random."""
    rng = np.random.default_rng(seed)
    spaces: Spaces = algorithm.spaces  # type: ignore[attr-defined]
    shape = (length, count)
    terminated, truncated = rng.random(shape) < 0.1, rng.random(shape) < 0.05
    valid = np.ones(shape, bool)
    for t in range(1, length):
        valid[t] = ~(terminated[t - 1] | truncated[t - 1])
        terminated[t] &= valid[t]
        truncated[t] &= valid[t]
    segment = {
        "observation": rng.standard_normal(
            (length + 1, count, *spaces.observation.shape), dtype=np.float32
        ),
        "reward": rng.standard_normal(shape, dtype=np.float32),
        "terminated": terminated,
        "truncated": truncated,
        "valid": valid,
        "action": np.zeros((length, count, *spaces.action.shape), spaces.action.dtype),
    }
    for field in algorithm.fields:
        segment[field.name] = np.zeros((*shape, *field.shape), field.dtype)
    for t in range(length):
        outputs = {
            name: rng.standard_normal((count, head.size), dtype=np.float32)
            for name, head in algorithm.heads.items()
        }
        acted = algorithm.act(outputs, rng, {})
        segment["action"][t] = acted.action
        for name, values in acted.extras.items():
            segment[name][t] = values
    algorithm.finish(segment)
    return segment


def same_tensors(left: Learner, right: Learner) -> bool:
    """Whether all tensors of two learners' states are bitwise equal."""
    first, second = left.state().tensors, right.state().tensors
    assert first.keys() == second.keys()
    return all(bool((first[name] == second[name]).all()) for name in first)
