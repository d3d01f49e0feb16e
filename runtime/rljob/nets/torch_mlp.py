"""The multi-layer perceptron that the learner trains; `nets.mlp` describes it and acts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.activations import SLOPES, Activation
from rljob.nets.configs import MLPConfig
from rljob.nets.mlp import group_by_trunk
from rljob.nets.torch_hidden import Hidden, linear

if TYPE_CHECKING:
    from rljob.nets.head import Head


class MLP(nn.Module):
    """Trunks of hidden layers with heads on them.

    Attributes:
        activation: of the hidden layers.
        layers: the hidden layers of each trunk.
    """

    def __init__(
        self, config: MLPConfig, inputs: Sequence[Space], heads: Mapping[str, Head]
    ) -> None:
        super().__init__()
        self.groups = group_by_trunk(heads, config.shared)
        self.activation: Activation = config.activation
        fan_in = sum(map(encoded_size, inputs))
        # A plain dict: indexing a ModuleDict costs more than a small layer.
        self.layers = {trunk: Hidden(fan_in, config) for trunk in self.groups}
        self.trunks = nn.ModuleDict(self.layers)
        self.heads = nn.ModuleDict(
            {
                name: linear(
                    self.layers[trunk].size, heads[name].size, heads[name].gain, config.init
                )
                for trunk, names in self.groups.items()
                for name in names
            }
        )

    @property
    def slopes_from_outputs(self) -> bool:
        """Whether its gradient needs no more than what went into each layer."""
        return self.activation in SLOPES and all(hidden.plain for hidden in self.layers.values())

    def forward(self, x: Tensor, *others: Tensor) -> dict[str, Tensor]:
        x = x.reshape(x.shape[0], -1)
        if others:
            x = torch.cat((x, *others), dim=1)
        outputs = {}
        for trunk, names in self.groups.items():
            h = self.layers[trunk](x)
            for name in names:
                outputs[name] = self.heads[name](h)
        return outputs

    def unused(self, acting_heads: Sequence[str]) -> tuple[str, ...]:
        """Prefixes of the tensors that these heads do not need."""
        names: tuple[str, ...] = ()
        for trunk, heads in self.groups.items():
            if not set(heads) & set(acting_heads):
                names += (f"trunks.{trunk}.",)
            names += tuple(f"heads.{name}." for name in heads if name not in acting_heads)
        return names
