"""The multi-layer perceptron that the learner trains; `nets.mlp` describes it and acts with it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.mlp import MLPConfig, group_by_trunk

if TYPE_CHECKING:
    from rljob.nets.head import Head


class _Tanh(torch.autograd.Function):
    """tanh computed by numpy, which needs a tenth of the time of torch's on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.from_numpy(np.tanh(x.numpy()))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradients[0], y)  # type: ignore[no-any-return]


def _tanh(x: Tensor) -> Tensor:
    if x.device.type == "cpu" and x.dtype == torch.float32:
        return _Tanh.apply(x)  # type: ignore[no-any-return]
    return torch.tanh(x)


class MLP(nn.Module):
    """Trunks of hidden layers with heads on them; orthogonal weights, zero biases."""

    def __init__(
        self, config: MLPConfig, inputs: Sequence[Space], heads: Mapping[str, Head]
    ) -> None:
        super().__init__()
        self.groups = group_by_trunk(heads, config.shared)
        self.tanh = config.activation == "tanh"
        self._activate = _tanh if self.tanh else torch.relu
        widths = (sum(map(encoded_size, inputs)), *config.hidden)
        self.trunks = nn.ModuleDict(
            {
                trunk: nn.ModuleList(
                    linear(fan_in, out, 2**0.5) for fan_in, out in itertools.pairwise(widths)
                )
                for trunk in self.groups
            }
        )
        # Plain lists: indexing a ModuleDict costs more than a small layer.
        self.layers = {trunk: list(layers.children()) for trunk, layers in self.trunks.items()}
        self.heads = nn.ModuleDict(
            {
                name: linear(widths[-1], heads[name].size, heads[name].gain)
                for names in self.groups.values()
                for name in names
            }
        )

    def forward(self, x: Tensor, *others: Tensor) -> dict[str, Tensor]:
        x = x.reshape(len(x), -1)
        if others:
            x = torch.cat((x, *others), dim=1)
        outputs = {}
        for trunk, names in self.groups.items():
            h = x
            for layer in self.layers[trunk]:
                h = self._activate(layer(h))
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


def linear(fan_in: int, out: int, gain: float) -> nn.Linear:
    """A layer with orthogonal weights of this scale and zero biases (Saxe et al. 2014)."""
    layer = nn.Linear(fan_in, out)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
