"""Made-up segments and learners for the tests of algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rljob import algorithms, nets
from rljob.algorithms.acting_group import kept_arrays
from rljob.algorithms.base import Algorithm, Arrays, Learner, Place, Policy, Seen
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, Spaces
from rljob.nets.acting import ActingNetworks
from rljob.spec.sections import AlgorithmSpec, NetworkSpec


def make_algorithm(
    name: str,
    action: Space | None = None,
    observation: Space | None = None,
    masked: bool = False,
    **config: Any,
) -> Algorithm:
    """An algorithm over four numbers and two choices, unless told otherwise; settings in camelCase."""
    spec = AlgorithmSpec(name=name, config=config)
    spaces = Spaces(observation or BoxSpace((4,)), action or DiscreteSpace(2), masked)
    algorithm = algorithms.resolve_algorithm(spec)(algorithms.load_config(spec), spaces)
    # For the other functions here; an algorithm need not keep them.
    algorithm.spaces = spaces  # type: ignore[attr-defined]
    return algorithm


def make_learner(algorithm: Algorithm, seed: int = 0, network: str = "mlp") -> tuple[Learner, Any]:
    """A learner with a small network of this name, and that network."""
    spec = NetworkSpec(name=network, config={"hidden": [16, 16]})
    spaces: Spaces = algorithm.spaces  # type: ignore[attr-defined]
    networks = nets.build_networks(spec, algorithm.networks, spaces, seed)
    (built,) = networks.values()
    return algorithm.learner(networks, seed), built


class RandomEngine:
    """Answers anything, without weights.

    Args:
        sizes: of its outputs.
    """

    core_size = 0

    def __init__(self, sizes: Mapping[str, int], rng: np.random.Generator) -> None:
        self._sizes, self._rng = sizes, rng

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        assert not tensors

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        rows = len(inputs[0])
        return {
            name: self._rng.standard_normal((rows, size), dtype=np.float32)
            for name, size in self._sizes.items()
        }


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
    if spaces.masked:
        segment["mask"] = random_masks(spaces.action, (length + 1, count), rng)
    for field in algorithm.fields:
        segment[field.name] = np.zeros((*shape, *field.shape), field.dtype)
    policy = _random_policy(algorithm, count, rng)
    actor = algorithm.actor(policy, Place(count, rng, total=count))
    begins, reward = np.ones(count, bool), np.zeros(count, np.float32)
    kept: Arrays = {}
    for t in range(length):
        mask = segment["mask"][t] if spaces.masked else None
        acted = actor.act(Seen(segment["observation"][t], begins, valid[t], reward, mask))
        segment["action"][t] = acted.action
        for name, values in acted.extras.items():
            segment[name][t] = values
        kept = kept or kept_arrays(acted, length)
        for name, values in acted.kept.items():
            kept[name][t] = values
        begins, reward = ~valid[t], segment["reward"][t]
    actor.finish({**segment, **kept})
    return segment


def replay_batch(
    algorithm: Algorithm, rows: int, seed: int = 0, prioritised: bool = False
) -> Arrays:
    """Transitions with n-step returns as the buffer hands them over, from a random segment."""
    segment = random_segment(algorithm, 32, 8, seed)
    rng = np.random.default_rng(seed)
    t, i = np.nonzero(segment["valid"])
    drawn = rng.integers(len(t), size=rows)
    t, i = t[drawn], i[drawn]
    names = ("action", "n_step_return", "n_step_discount", "next_row")
    batch = {name: segment[name][t, i] for name in names}
    for name in ("observation", "mask"):
        if name in segment:
            batch[name] = segment[name][t, i]
            batch[f"next_{name}"] = segment[name][batch["next_row"], i]
    if prioritised:
        batch["probability"] = rng.random(rows, dtype=np.float32) + 0.01
        batch["stored"] = np.array(1000)
    return batch


def random_masks(
    action: Space, lead: tuple[int, ...], rng: np.random.Generator, share: float = 0.5
) -> np.ndarray:
    """Masks `[*lead, K]` that allow about this share, and one of each choice at least."""
    assert not isinstance(action, BoxSpace)
    parts = []
    for n in action.nvec if isinstance(action, MultiDiscreteSpace) else (action.n,):
        one = rng.integers(n, size=(*lead, 1)) == np.arange(n)
        parts.append(one | (rng.random((*lead, n)) < share))
    return np.concatenate(parts, axis=-1)


def allowed(action: Space, mask: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Whether each of the actions `[N, ...]` is allowed by the masks `[N, K]`: bool `[N]`."""
    assert not isinstance(action, BoxSpace)
    nvec = action.nvec if isinstance(action, MultiDiscreteSpace) else (action.n,)
    ends = np.cumsum(nvec)
    choices = taken.reshape(len(mask), -1)
    rows = np.arange(len(mask))
    each = [
        mask[rows, end - n + choices[:, i]]
        for i, (n, end) in enumerate(zip(nvec, ends, strict=True))
    ]
    return np.asarray(np.all(each, axis=0))


def _random_policy(algorithm: Algorithm, count: int, rng: np.random.Generator) -> Policy:
    engines = {}
    for name, net in algorithm.networks.items():
        if net.acts:
            engines[name] = RandomEngine({head: net.heads[head].size for head in net.acts}, rng)
    networks = ActingNetworks(engines)
    networks.load({"epsilon": np.array(1.0)})
    return Policy(networks, count)


def same_arrays(left: Learner, right: Learner) -> bool:
    """Whether all arrays of two learners' states are bitwise equal."""
    first, second = left.state().arrays, right.state().arrays
    assert first.keys() == second.keys()
    return all(bool((first[name] == second[name]).all()) for name in first)
