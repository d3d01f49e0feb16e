"""A policy as one torch module: from the environment's observations to the environment's actions.

What acting does in numpy beside the networks is computed here by torch: conversions of spaces, masks, the choice of the
best action, and the bounds of actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rljob.algorithms.acting_form import KINDS, kind_of
from rljob.algorithms.masking import FORBIDDEN
from rljob.checkpoints import manifest, policy
from rljob.envs.conversion import Bins, ChoiceByNumber, Grid, JointChoice
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, space_from_json
from rljob.errors import InputError
from rljob.nets import torch_nets
from rljob.nets.acting import OF_NETWORK
from rljob.nets.choice import BUILT_IN, ChosenNetwork, choose
from rljob.nets.configs import NetworkConfig
from rljob.nets.head import Head, Net
from rljob.nets.noisy import SCALE
from rljob.nets.torch_engine import TorchEngine
from rljob.policies.loaded import TrainedPolicy

OBSERVATION, MASK, MEMORY, ACTION, NEXT_MEMORY = (
    "observation",
    "mask",
    "memory",
    "action",
    "next_memory",
)
"""Names of inputs and outputs. Others are those of the network's heads, and `values` of actions."""
TABLES = ("table", "greedyTable", "tabularDistribution")
"""Kinds of actors that choose by a table."""


class TorchPolicy(nn.Module):
    """The best actions for a batch: `(observation [, mask] [, memory])` to a dict of `action`, scores and `next_memory`.

    Attributes:
        input_names: names of its arguments.
        memory_size: numbers of `memory`, float32 `[N, size]`, which is 0 where an episode begins.
    """

    def __init__(self, loaded: TrainedPolicy) -> None:
        super().__init__()
        kind, self._settings = _kind(loaded)
        interface = loaded.interface
        self.networks = nn.ModuleDict(_networks(loaded))
        self._space = loaded.spaces.action
        self._choose: Callable[..., Tensor] = getattr(self, f"_{kind}")
        self._observed = _from_environment(interface.observation, interface.observed)
        self._taken = _to_environment(interface.action, interface.taken)
        self._joint = interface.taken if isinstance(interface.taken, JointChoice) else None
        self._own_action = interface.action
        self.memory_size = loaded.memory_size
        self.input_names = [OBSERVATION]
        if loaded.spaces.masked:
            self.input_names.append(MASK)
        if self.memory_size:
            self.input_names.append(MEMORY)
        self.eval().requires_grad_(False)

    def forward(self, observation: Tensor, *others: Tensor) -> dict[str, Tensor]:
        given = dict(zip(self.input_names[1:], others, strict=True))
        stored, mask = self._observed(observation), given.get(MASK)
        if mask is not None and self._joint is not None:
            mask = self._combinations(mask)
        outputs = self._outputs(stored, given.get(MEMORY))
        memory = outputs.pop(MEMORY, None)
        chosen = self._choose(outputs, mask)
        found = {ACTION: self._taken(chosen), **outputs}
        return found if memory is None else {**found, NEXT_MEMORY: memory}

    def _outputs(self, stored: Tensor, memory: Tensor | None) -> dict[str, Tensor]:
        """Heads of the first network; with memory also that."""
        network: Any = next(iter(self.networks.values()))
        if memory is None:
            found: dict[str, Tensor] = dict(network(stored))
            return found
        begins = torch.zeros_like(memory[None, :, 0], dtype=torch.bool)
        outputs, after = network.unroll(stored[None], begins, memory[None])
        return {**{name: each[0] for name, each in outputs.items()}, MEMORY: after[0]}

    def _combinations(self, mask: Tensor) -> Tensor:
        """As `JointChoice.combinations`."""
        space = self._own_action
        assert isinstance(space, MultiDiscreteSpace)
        first, *others = mask.split(list(space.nvec), dim=1)  # type: ignore[no-untyped-call]
        for part in others:
            first = (first[:, :, None] & part[:, None, :]).flatten(1)
        found: Tensor = first
        return found

    # ---- one method for each kind of actor; each changes `outputs` to what is told beside the action

    def _distribution(self, outputs: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        if isinstance(self._space, BoxSpace):
            return outputs["mean"].reshape(-1, *self._space.shape)
        logits = outputs["logits"] = _forbid(outputs["logits"], mask)
        if isinstance(self._space, DiscreteSpace):
            return logits.argmax(-1)
        parts = logits.split(list(self._space.nvec), dim=-1)  # type: ignore[no-untyped-call]
        return torch.stack([part.argmax(-1) for part in parts], dim=-1)

    def _soft(self, outputs: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        if isinstance(self._space, BoxSpace):
            return outputs["mean"].tanh().reshape(-1, *self._space.shape)
        return self._distribution(outputs, mask)

    def _squashed(self, outputs: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        return outputs.pop("action").tanh().reshape(-1, *self._space.shape)

    def _advantage(self, outputs: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        return self._best(outputs, outputs["advantage"], mask)

    def _atoms(self, outputs: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        settings = self._settings
        atoms = settings["atoms"]
        logits = outputs["logits"].unflatten(-1, (-1, atoms))  # type: ignore[no-untyped-call]
        if settings["dueling"]:
            logits = logits - logits.mean(dim=1, keepdim=True) + outputs["value"][:, None]
        support = np.linspace(settings["low"], settings["high"], atoms, dtype=np.float32)
        return self._best(outputs, logits.softmax(-1) @ torch.from_numpy(support), mask)

    def _quantiles(self, outputs: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        quantiles = self._settings["quantiles"]
        each = outputs["quantiles"].unflatten(-1, (-1, quantiles))  # type: ignore[no-untyped-call]
        return self._best(outputs, each.mean(-1), mask)

    def _levels(self, outputs: dict[str, Tensor], mask: Tensor | None) -> Tensor:
        from rljob.algorithms.quantile_regression import midpoints
        from rljob.algorithms.value_actors import embed

        cosines = embed(midpoints(self._settings["value_quantiles"]), self._settings["cosines"])
        level = self.networks["level"](torch.from_numpy(cosines))["features"].relu()
        product = outputs["features"][:, None] * level
        quantiles = self.networks["value"](product.flatten(0, 1))["value"]
        return self._best(outputs, quantiles.unflatten(0, (-1, len(level))).mean(1), mask)

    def _best(self, outputs: dict[str, Tensor], values: Tensor, mask: Tensor | None) -> Tensor:
        outputs.clear()
        outputs["values"] = values = _forbid(values, mask)
        return values.argmax(-1)


def _forbid(values: Tensor, mask: Tensor | None) -> Tensor:
    return values if mask is None else values.masked_fill(~mask, FORBIDDEN)


def _kind(loaded: TrainedPolicy) -> tuple[str, dict[str, Any]]:
    """Raises InputError where the best action is not computed by networks alone."""
    form = None
    if loaded.form is not None:
        form = dict(loaded.form["actor"])
    elif loaded.algorithm is not None:
        form = kind_of(loaded.algorithm, loaded.spaces)
    if form is None:
        name = type(loaded.algorithm).__name__
        raise InputError(
            f"{name} chooses actions by code of its own, which only rljob can run: rljob.load_policy and rljob serve "
            f"use it as it is. What can be exported has one of the actors {', '.join(KINDS)}"
        )
    kind = form.pop("kind")
    if kind in TABLES:
        raise InputError(
            "this policy is a table and no network; --format safetensors writes it, and rljob.load_policy uses it"
        )
    return kind, form


def _networks(loaded: TrainedPolicy) -> dict[str, nn.Module]:
    """The acting networks with their weights."""
    found = manifest.read_manifest(loaded.path)
    arrays = policy.decode(manifest.read_file(found, manifest.POLICY))
    built: dict[str, nn.Module] = {}
    for name, (chosen, net) in _described(loaded).items():
        module: Any = torch_nets.build(
            {name: chosen}, {name: replace(net, noise=0.0)}, loaded.spaces.observation, seed=0
        )[name]
        start = f"{name}{OF_NETWORK}"
        tensors = {
            each.removeprefix(start): array
            for each, array in arrays.items()
            # Without noise, a noisy network acts with its means.
            if each.startswith(start) and not (net.noise and each.endswith(SCALE))
        }
        TorchEngine(module, net.acts).load(tensors)
        built[name] = module
    return built


def _described(loaded: TrainedPolicy) -> dict[str, tuple[ChosenNetwork, Net]]:
    """What each acting network is; of a built-in one, only what acts."""
    if loaded.form is not None:
        found = {}
        for name, form in loaded.form["networks"].items():
            config: NetworkConfig = BUILT_IN[form["network"]].model_validate(form["config"])
            heads = {head: Head(**values) for head, values in form["heads"].items()}
            inputs: tuple[Space, ...] = tuple(map(space_from_json, form["inputs"]))
            net = Net(heads, acts=tuple(heads), inputs=inputs, noise=float(form["noisy"]))
            found[name] = (ChosenNetwork(config, form["network"]), net)
        return found
    job, algorithm = loaded.job, loaded.algorithm
    assert job is not None
    assert algorithm is not None
    chosen = choose(job.spec.network, algorithm.networks, job.spec.networks)
    acting = {name: net for name, net in algorithm.networks.items() if net.acts}
    return {
        name: (
            chosen[name],
            replace(net, heads={head: net.heads[head] for head in net.acts})
            if isinstance(chosen[name].network, NetworkConfig)
            else net,
        )
        for name, net in acting.items()
    }


# ---- the same as the spaces and conversions do in numpy


def _from_environment(space: Space, observed: object) -> Callable[[Tensor], Tensor]:
    """Observations as they are stored."""
    if isinstance(observed, Bins):
        low, cells = torch.from_numpy(observed.low), torch.from_numpy(observed.cells)
        last, strides = low.new_tensor(observed.counts) - 1, _strides(observed.counts)

        def binned(value: Tensor) -> Tensor:
            digits = ((value.flatten(1).double() - low) * cells).floor()
            return (torch.minimum(digits.clamp(min=0), last).long() * strides).sum(-1)

        return binned
    if isinstance(space, BoxSpace):
        return lambda value: value.float() if space.dtype == np.float32 else value
    if isinstance(space, DiscreteSpace):
        return lambda value: value.long() - space.start
    start = torch.tensor(space.start)
    if isinstance(observed, JointChoice):
        strides = _strides(space.nvec)
        return lambda value: ((value.flatten(1).long() - start) * strides).sum(-1)
    return lambda value: value.flatten(1).long() - start


def _to_environment(space: Space, taken: object) -> Callable[[Tensor], Tensor]:
    """Stored actions as the environment takes them."""
    dtype = getattr(torch, np.dtype(space.environment_dtype).name)
    if isinstance(taken, Grid):
        own, split = _to_environment(space, space), _digits(taken.counts)
        steps = torch.from_numpy(taken.steps)
        return lambda value: own((split(value) * steps - 1.0).float().reshape(-1, *space.shape))
    if isinstance(taken, JointChoice):
        assert isinstance(space, MultiDiscreteSpace)
        own, split = _to_environment(space, space), _digits(space.nvec)
        return lambda value: own(split(value))
    if isinstance(taken, ChoiceByNumber):
        own, discrete = _to_environment(space, space), isinstance(space, DiscreteSpace)
        counts = torch.tensor([space.n] if isinstance(space, DiscreteSpace) else space.nvec)  # type: ignore[union-attr]

        def chosen(value: Tensor) -> Tensor:
            part = ((value.double() + 1.0) / 2.0 * counts).floor()
            each = torch.minimum(part.clamp(min=0), (counts - 1).double()).long()
            return own(each[:, 0] if discrete else each)

        return chosen
    if isinstance(space, BoxSpace):
        scale, middle, low, high = map(torch.from_numpy, space.affine)
        whole = np.dtype(space.environment_dtype).kind in "iu"

        def bounded(value: Tensor) -> Tensor:
            mapped = torch.minimum(torch.maximum(value * scale + middle, low), high)
            return (mapped.round() if whole else mapped).to(dtype)

        return bounded
    if isinstance(space, DiscreteSpace):
        return lambda value: (value + space.start).to(dtype)
    start, shape = torch.tensor(space.start), space.environment_shape
    return lambda value: (value + start).to(dtype).reshape(-1, *shape)


def _strides(counts: Sequence[int]) -> Tensor:
    """What each digit of a number counts, the last one fastest."""
    return torch.tensor([math.prod(counts[i + 1 :]) for i in range(len(counts))])


def _digits(counts: Sequence[int]) -> Callable[[Tensor], Tensor]:
    strides, sizes = _strides(counts), torch.tensor(list(counts))
    return lambda value: value[:, None].div(strides, rounding_mode="floor") % sizes


def shapes(
    loaded: TrainedPolicy, names: Sequence[str]
) -> Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Dtype and shape of one row of each input."""
    from rljob.policies.interface import environment_shape

    interface = loaded.interface
    space = interface.observation
    every: dict[str, tuple[Any, tuple[int, ...]]] = {
        OBSERVATION: (space.environment_dtype, environment_shape(space)),
        MASK: (np.bool_, (interface.mask_size,)),
        MEMORY: (np.float32, (loaded.memory_size,)),
    }
    return {name: (np.dtype(every[name][0]), every[name][1]) for name in names}
