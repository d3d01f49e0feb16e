"""One network and its engine, without an algorithm around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rljob import nets
from rljob.envs.spaces import Arrays, Spaces
from rljob.nets.acting import OF_NETWORK, Engine
from rljob.nets.head import Head, Net
from rljob.spec.sections import NetworkSpec


def build_module(
    spec: NetworkSpec,
    spaces: Spaces,
    heads: Mapping[str, Head],
    seed: int,
    precision: str = "float32",
) -> Any:
    """The torch module."""
    return nets.build_networks(spec, {"net": Net(heads)}, spaces, seed, precision)["net"]


def build_engine(
    spec: NetworkSpec,
    spaces: Spaces,
    heads: Mapping[str, Head],
    acting: Sequence[str],
    precision: str = "float32",
) -> Engine:
    """The engine that computes the heads `acting`."""
    net = Net(heads, acts=tuple(acting))
    return nets.build_acting(spec, {"net": net}, spaces, precision).engines["net"]


def export(module: Any, acting: Sequence[str], copy: bool = True) -> Arrays:
    """The tensors that such an engine loads."""
    found = nets.export(
        {"net": module}, {"net": Net({name: Head(1) for name in acting}, acts=tuple(acting))}, copy
    )
    return {name.removeprefix("net" + OF_NETWORK): array for name, array in found.items()}


class AnyInputs(nn.Module):
    """A user's network of any inputs: one layer for each output."""

    def __init__(self, observation_shape: tuple[int, ...], heads: dict[str, int]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.LazyLinear(size) for name, size in heads.items()})

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        whole = torch.cat([each.flatten(1) for each in inputs], dim=1)
        return {name: layer(whole) for name, layer in self.layers.items()}
