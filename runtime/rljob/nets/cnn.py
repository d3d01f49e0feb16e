"""The convolutional network of Mnih et al. 2015: its settings, its shape, and its numpy engine.

Convolutions, then hidden layers, with a ReLU after each; all heads stand on the last one. Features are
flattened by row, column and channel. Inputs beside the image are encoded, flat, and put behind them. `nets.torch_cnn` trains the same network, and its tensors are:

    encoder.{mean,std}            [*encoded_shape]
    encoder.limit                 []
    body.convolutions.<i>.weight  [out, in, kernel, kernel]
    body.convolutions.<i>.bias    [out]
    body.hidden.<i>.{weight,bias}    [out, in], [out]
    body.heads.<head>.{weight,bias}  [out, in], [out]
    free.<head>                   [size]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from numpy.lib.stride_tricks import as_strided
from pydantic import Field, Strict, model_validator

from rljob.envs.spaces import BoxSpace, Space, encode, encoded_shape, encoded_size
from rljob.errors import InputError
from rljob.nets.activations import relu
from rljob.nets.hidden import Initialisation
from rljob.nets.numpy_engine import NumpyEngine
from rljob.nets.parts import Arrays, Layer, NetworkConfig, Width
from rljob.spec.schema import AS_INTEGER

if TYPE_CHECKING:
    from rljob.nets.head import Head

BLOCK = 4
"""Images whose patches are laid out at a time: 2 MB of Atari's stay in a core's cache, which saves a
fifth of the time."""

Edge = Annotated[int, Field(ge=1, le=1024), AS_INTEGER]


class CNNConfig(NetworkConfig):
    """Settings of the network `cnn` (`network.config`); as published by default."""

    channels: Annotated[tuple[Width, ...], Strict(False), Field(min_length=1)] = (32, 64, 64)
    """Filters of each convolution."""
    kernels: Annotated[tuple[Edge, ...], Strict(False)] = (8, 4, 3)
    """Edge length of each convolution's filters, in pixels; one for each of `channels`."""
    strides: Annotated[tuple[Edge, ...], Strict(False)] = (4, 2, 1)
    """Stride of each convolution, in pixels; one for each of `channels`."""
    hidden: Annotated[tuple[Width, ...], Strict(False)] = (512,)
    """Units of each layer between the convolutions and the heads; may be empty."""
    init: Initialisation = "orthogonal"
    """Distribution of the weights at the start; biases are 0."""

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            raise ValueError("channels, kernels and strides must have the same length")
        return self


@dataclass(frozen=True)
class Convolution:
    """One layer's shape: `[height, width, channels]` in, `[rows, columns, out]` out."""

    height: int
    width: int
    channels: int
    out: int
    kernel: int
    stride: int

    @property
    def rows(self) -> int:
        return (self.height - self.kernel) // self.stride + 1

    @property
    def columns(self) -> int:
        return (self.width - self.kernel) // self.stride + 1

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


def convolutions(config: CNNConfig, space: Space) -> list[Convolution]:
    """The layers for such images.

    Raises:
        InputError: when the observations are no images, or too small for so many layers.
    """
    first = channels_first(space)
    shape = encoded_shape(space)
    channels, height, width = shape if first else (shape[2], shape[0], shape[1])
    layers: list[Convolution] = []
    for index, (out, kernel, stride) in enumerate(
        zip(config.channels, config.kernels, config.strides, strict=True)
    ):
        if kernel > min(height, width):
            raise InputError(
                f"images of {list(shape)} are too small: the input of convolution {index} is "
                f"{height} x {width}, its kernel is {kernel}; lower strides and kernels, or use fewer",
                path="network.config",
            )
        layer = Convolution(height, width, channels, out, kernel, stride)
        layers.append(layer)
        channels, height, width = out, layer.rows, layer.columns
    return layers


class _Patches:
    """One convolution as one product of matrices: `[images, height, width, channels]` to `[images, …]`."""

    def __init__(self, name: str, shape: Convolution) -> None:
        self._shape = shape
        edge, channels, out = shape.kernel, shape.channels, shape.out
        weight = np.zeros((edge * edge * channels, out), np.float32)
        places = weight.reshape(edge, edge, channels, out).transpose(3, 2, 0, 1)
        self.layer = Layer(name, weight, places)
        self._patches = np.empty((0, 0, 0, 0, 0), np.float32)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        shape, count = self._shape, len(x)
        rows, columns, run = shape.rows, shape.columns, shape.kernel * shape.channels
        if len(self._patches) < count:
            self._patches = np.empty((count, rows, columns, shape.kernel, run), np.float32)
        patches = self._patches[:count]
        image, row, pixel, number = x.strides
        # A row of a patch lies in one piece, as pixels hold their channels side by side.
        steps = (image, shape.stride * row, shape.stride * pixel, row, number)
        np.copyto(patches, as_strided(x, patches.shape, steps))
        y = self.layer(patches.reshape(count * rows * columns, shape.kernel * run))
        relu(y, out=y)
        return y.reshape(count, rows, columns, shape.out)


class CNNEngine(NumpyEngine):
    """Acts with a CNN: images `[N, ...]` to `{head: float32 [N, size]}`, without torch.

    Raises:
        InputError: as `convolutions`.
    """

    def __init__(
        self,
        config: CNNConfig,
        inputs: Sequence[Space],
        heads: Mapping[str, Head],
        acting_heads: Sequence[str],
    ) -> None:
        super().__init__(inputs, heads, acting_heads)
        shapes = convolutions(config, self._space)
        self._first = channels_first(self._space)
        self._bytes = isinstance(self._space, BoxSpace) and self._space.image
        self._image = shapes[0]
        image = (BLOCK, self._image.height, self._image.width, self._image.channels)
        self._buffer = np.empty(image, np.float32)
        self._features = np.empty((0, shapes[-1].features), np.float32)
        self._convolutions = [
            _Patches(f"body.convolutions.{i}", shape) for i, shape in enumerate(shapes)
        ]
        sizes = [shapes[-1].features + sum(map(encoded_size, self._others)), *config.hidden]
        self._hidden = [
            Layer.dense(f"body.hidden.{i}", size, width)
            for i, (size, width) in enumerate(pairwise(sizes))
        ]
        self._outputs = {
            name: Layer.dense(f"body.heads.{name}", sizes[-1], heads[name].size)
            for name in self._acting
            if not heads[name].free
        }

    def _layers(self) -> list[Layer]:
        convolving = [patches.layer for patches in self._convolutions]
        return [*convolving, *self._hidden, *self._outputs.values()]

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """See `NumpyEngine.load`."""
        super().load(tensors)
        if self._bytes and self._normalise is None:
            # Here it costs nothing to divide bytes by 255, as `encode` does.
            self._convolutions[0].layer.weight /= 255

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        self._check_loaded()
        h = self._with_others(self._convolve(inputs[0]), inputs)
        for layer in self._hidden:
            h = layer(h)
            relu(h, out=h)
        return self._with_free({name: layer(h) for name, layer in self._outputs.items()}, len(h))

    def _convolve(self, observation: np.ndarray) -> np.ndarray:
        """Flat features `[N, features]`."""
        rows = len(observation)
        if len(self._features) != rows:
            self._features = np.empty((rows, self._features.shape[1]), np.float32)
        for start in range(0, rows, BLOCK):
            end = min(start + BLOCK, rows)
            x = self._pixels(observation[start:end])
            for layer in self._convolutions:
                x = layer(x)
            self._features[start:end] = x.reshape(end - start, -1)
        return self._features

    def _pixels(self, observation: np.ndarray) -> np.ndarray:
        """Float32 `[N, height, width, channels]`; bytes stay bytes if the first layer divides."""
        if self._normalise is not None:
            observation = self._normalise(encode(self._space, observation))
        elif not self._bytes:
            observation = encode(self._space, observation)
        shape, pixels = self._image, self._buffer[: len(observation)]
        if not self._first:
            np.copyto(pixels, observation)
            return pixels
        # A third of the time of copying the transposed array.
        for channel in range(shape.channels):
            pixels[..., channel] = observation[:, channel]
        return pixels
