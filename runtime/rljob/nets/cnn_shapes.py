"""The shapes of the layers of convolutional networks, for images of some size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rljob.envs.spaces import BoxSpace, Space, encoded_shape
from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.nets.configs import CNNConfig

BLOCKS = 2
"""Residual blocks in a stage of `impala`, of two convolutions each."""


@dataclass(frozen=True)
class Convolution:
    """One layer's shape: `[height, width, channels]` in, `[rows, columns, out]` out."""

    height: int
    width: int
    channels: int
    out: int
    kernel: int
    stride: int = 1
    padding: int = 0

    @property
    def rows(self) -> int:
        return (self.height + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def columns(self) -> int:
        return (self.width + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def features(self) -> int:
        """Numbers that come out for one image."""
        return self.rows * self.columns * self.out


def channels_first(space: Space) -> bool:
    """Whether images are `[channels, height, width]`, else `[height, width, channels]`: channels are
    fewer than rows or columns of pixels, and come first where the numbers do not tell.

    Raises:
        InputError: with path `network.name`, when the observations are no images.
    """
    if not isinstance(space, BoxSpace) or len(space.shape) != 3:
        raise InputError(
            f"cnn needs images, a Box of three dimensions; the observations are {space}; mlp takes any",
            path="network.name",
        )
    return space.shape[0] <= space.shape[2]


@dataclass(frozen=True)
class ImpalaStage:
    """One stage of `impala`: a convolution, max pooling (3 x 3, stride 2, padded), and residual blocks.

    Attributes:
        first: the convolution before the pooling.
        block: each convolution of the residual blocks behind it.
    """

    first: Convolution
    block: Convolution


def stages(config: CNNConfig, space: Space) -> list[ImpalaStage]:
    """The stages of `impala` for such images.

    Raises:
        InputError: as `channels_first`.
    """
    height, width, channels = image_of(space)
    found: list[ImpalaStage] = []
    for out in config.channels:
        first = Convolution(height, width, channels, out, kernel=3, padding=1)
        height, width, channels = (height + 1) // 2, (width + 1) // 2, out
        found.append(ImpalaStage(first, Convolution(height, width, out, out, kernel=3, padding=1)))
    return found


def features(config: CNNConfig, space: Space) -> int:
    """Numbers that the convolutions give for one image; InputError as `convolutions`."""
    if config.variant == "impala":
        return stages(config, space)[-1].block.features
    return convolutions(config, space)[-1].features


def image_of(space: Space) -> tuple[int, int, int]:
    """Height, width and channels; InputError as `channels_first`."""
    first = channels_first(space)
    shape = encoded_shape(space)
    return (shape[1], shape[2], shape[0]) if first else (shape[0], shape[1], shape[2])


def convolutions(config: CNNConfig, space: Space) -> list[Convolution]:
    """The layers of `nature` for such images.

    Raises:
        InputError: when the observations are no images, or too small for so many layers.
    """
    height, width, channels = image_of(space)
    layers: list[Convolution] = []
    for index, (out, kernel, stride) in enumerate(
        zip(config.channels, config.kernels, config.strides, strict=True)
    ):
        if kernel > min(height, width):
            raise InputError(
                f"images of {list(encoded_shape(space))} are too small: the input of convolution {index} is "
                f"{height} x {width}, its kernel is {kernel}; lower strides and kernels, or use fewer",
                path="network.config",
            )
        layer = Convolution(height, width, channels, out, kernel, stride)
        layers.append(layer)
        channels, height, width = out, layer.rows, layer.columns
    return layers
