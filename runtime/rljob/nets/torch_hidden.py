"""Hidden layers that the learner trains; `nets.hidden` describes them and acts with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rljob.nets.activations import LEAK, Activation
from rljob.nets.configs import HiddenConfig, Initialisation
from rljob.nets.hidden import EPSILON, is_residual


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
    # torch.export cannot look into numpy.
    if x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_exporting():
        return _Tanh.apply(x)  # type: ignore[no-any-return]
    return torch.tanh(x)


ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "tanh": _tanh,
    "relu": torch.relu,
    "leakyRelu": lambda x: functional.leaky_relu(x, LEAK),
    "elu": functional.elu,
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
}

HIDDEN_GAINS: Mapping[Initialisation, float] = {
    "orthogonal": 2**0.5,
    "xavier": 1.0,
    "kaiming": 2**0.5,
    "lecun": 1.0,
}
"""Scale of the weights of hidden layers; heads have their own."""


class Hidden(nn.Module):
    """Hidden layers: `[B, fan_in]` to `[B, size]`.

    Attributes:
        size: of the output.
        linears: the products, in their order.
        plain: whether there is neither a normalisation nor a sum with the input.
    """

    def __init__(self, fan_in: int, config: HiddenConfig) -> None:
        super().__init__()
        sizes = (fan_in, *config.hidden)
        self.size = sizes[-1]
        self.plain = not (config.layer_norm or config.residual)
        self.linears = [hidden_linear(*size, config.init) for size in pairwise(sizes)]
        for index, layer in enumerate(self.linears):
            self.add_module(str(index), layer)
        self.norms = nn.ModuleList()
        if config.layer_norm:
            self.norms.extend(nn.LayerNorm(size, EPSILON) for size in config.hidden)
        self._residual = [is_residual(config, sizes, i) for i in range(len(self.linears))]
        self._activate = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        if self.plain:
            for layer in self.linears:
                x = self._activate(layer(x))
            return x
        for index, layer in enumerate(self.linears):
            y = layer(x)
            if self.norms:
                y = self.norms[index](y)
            y = self._activate(y)
            x = x + y if self._residual[index] else y
        return x


def initialise(layer: nn.Linear | nn.Conv2d, gain: float, init: Initialisation) -> None:
    """Draw the weights; biases are 0.

    `orthogonal`: Saxe et al. 2014; `xavier`: Glorot & Bengio 2010, uniform; `kaiming`: He et al. 2015, and
    `lecun`: LeCun et al. 1998, normal with a standard deviation of `gain / sqrt(fan_in)`.
    """
    if init == "orthogonal":
        nn.init.orthogonal_(layer.weight, gain)
    elif init == "xavier":
        nn.init.xavier_uniform_(layer.weight, gain)
    else:
        fan_in = layer.weight[0].numel()
        nn.init.normal_(layer.weight, std=gain / fan_in**0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def linear(fan_in: int, out: int, gain: float, init: Initialisation = "orthogonal") -> nn.Linear:
    """A layer with weights of this scale and zero biases."""
    layer = nn.Linear(fan_in, out)
    initialise(layer, gain, init)
    return layer


def hidden_linear(fan_in: int, out: int, init: Initialisation) -> nn.Linear:
    """A hidden layer, whose scale follows from the distribution of its weights."""
    return linear(fan_in, out, HIDDEN_GAINS[init], init)
