"""The convolutional network that the learner trains; `nets.cnn` describes it and acts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.cnn_shapes import (
    BLOCKS,
    Convolution,
    ImpalaStage,
    channels_first,
    convolutions,
    features,
    stages,
)
from rljob.nets.configs import CNNConfig, Initialisation
from rljob.nets.torch_hidden import HIDDEN_GAINS, hidden_linear, initialise, linear

if TYPE_CHECKING:
    from rljob.nets.head import Head


class CNN(nn.Module):
    """Convolutions, hidden layers and heads on one trunk.

    Raises:
        InputError: as `nets.cnn_shapes.convolutions`.
    """

    def __init__(
        self, config: CNNConfig, inputs: Sequence[Space], heads: Mapping[str, Head]
    ) -> None:
        super().__init__()
        image, *others = inputs
        self._first = channels_first(image)
        self.convolutions, self.stages = nn.ModuleList(), nn.ModuleList()
        if config.variant == "impala":
            shapes = stages(config, image)
            blocks = BLOCKS * len(shapes)
            self.stages.extend(_ImpalaModule(shape, config.init, blocks) for shape in shapes)
        else:
            self.convolutions.extend(
                _convolution(shape, config.init) for shape in convolutions(config, image)
            )
        self.hidden = nn.ModuleList()
        size = features(config, image) + sum(map(encoded_size, others))
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
        for stage in self.stages:
            x = stage(x)
        if self.stages:
            x = torch.relu(x)
        x = x.permute(0, 2, 3, 1).flatten(1)
        if others:
            x = torch.cat((x, *others), dim=1)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return {name: head(x) for name, head in self.heads.items()}

    def unused(self, acting_heads: Sequence[str]) -> tuple[str, ...]:
        """Prefixes of the tensors that these heads do not need."""
        return tuple(f"heads.{name}." for name in self.heads if name not in acting_heads)


class _ImpalaModule(nn.Module):
    """See `cnn_shapes.ImpalaStage`.

    Args:
        blocks: residual blocks of the whole network. The weights that each adds by are smaller by the root of their
            number, so that sums do not grow with it.
    """

    def __init__(self, shape: ImpalaStage, init: Initialisation, blocks: int) -> None:
        super().__init__()
        self.first = _convolution(shape.first, init)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [_convolution(shape.block, init), _convolution(shape.block, init, blocks**-0.5)]
            )
            for _ in range(BLOCKS)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.first(x), 3, 2, 1)
        for block in self.blocks:
            y = x
            for layer in block.children():
                y = layer(torch.relu(y))
            x = x + y
        return x


def _convolution(shape: Convolution, init: Initialisation, share: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(shape.channels, shape.out, shape.kernel, shape.stride, shape.padding)
    initialise(layer, share * HIDDEN_GAINS[init], init)
    return layer
