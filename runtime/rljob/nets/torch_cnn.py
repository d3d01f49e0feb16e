"""The convolutional network that the learner trains; `nets.cnn` describes it and acts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.cnn import CNNConfig, Convolution, channels_first, convolutions
from rljob.nets.hidden import Initialisation
from rljob.nets.torch_hidden import HIDDEN_GAINS, hidden_linear, initialise, linear

if TYPE_CHECKING:
    from rljob.nets.head import Head


class CNN(nn.Module):
    """Convolutions, hidden layers and heads on one trunk.

    Raises:
        InputError: as `nets.cnn.convolutions`.
    """

    def __init__(
        self, config: CNNConfig, inputs: Sequence[Space], heads: Mapping[str, Head]
    ) -> None:
        super().__init__()
        image, *others = inputs
        self._first = channels_first(image)
        shapes = convolutions(config, image)
        self.convolutions = nn.ModuleList(_convolution(shape, config.init) for shape in shapes)
        self.hidden, size = nn.ModuleList(), shapes[-1].features + sum(map(encoded_size, others))
        for width in config.hidden:
            self.hidden.append(hidden_linear(size, width, config.init))
            size = width
        self.heads = nn.ModuleDict(
            {
                name: linear(size, h.size, h.gain, config.init)
                for name, h in heads.items()
                if not h.free
            }
        )

    def forward(self, x: Tensor, *others: Tensor) -> dict[str, Tensor]:
        if not self._first:
            x = x.permute(0, 3, 1, 2)
        for layer in self.convolutions:
            x = torch.relu(layer(x))
        x = x.permute(0, 2, 3, 1).flatten(1)
        if others:
            x = torch.cat((x, *others), dim=1)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return {name: head(x) for name, head in self.heads.items()}

    def unused(self, acting_heads: Sequence[str]) -> tuple[str, ...]:
        """Prefixes of the tensors that these heads do not need."""
        return tuple(f"heads.{name}." for name in self.heads if name not in acting_heads)


def _convolution(shape: Convolution, init: Initialisation) -> nn.Conv2d:
    layer = nn.Conv2d(shape.channels, shape.out, shape.kernel, shape.stride)
    initialise(layer, HIDDEN_GAINS[init], init)
    return layer
