"""The convolutions of a CNN in numpy: images `[rows, height, width, channels]` to flat features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from rljob.nets.activations import relu
from rljob.nets.cnn_shapes import BLOCKS, Convolution, ImpalaStage
from rljob.nets.parts import Layer


class Patches:
    """One convolution as one product of matrices: `[images, height, width, channels]` to `[images, …]`.

    Args:
        name: of torch's layer.
        rectifies: whether the input goes through a ReLU first; only with padding.
    """

    def __init__(self, name: str, shape: Convolution, rectifies: bool = False) -> None:
        self._shape, self._rectifies = shape, rectifies
        edge, channels, out = shape.kernel, shape.channels, shape.out
        weight = np.zeros((edge * edge * channels, out), np.float32)
        places = weight.reshape(edge, edge, channels, out).transpose(3, 2, 0, 1)
        self.layer = Layer(name, weight, places)
        self._patches = np.empty((0, 0, 0, 0, 0), np.float32)
        self._padded = np.empty((0, 0, 0, 0), np.float32)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        shape, count = self._shape, len(x)
        if shape.padding:
            x = self._pad(x)
        rows, columns, run = shape.rows, shape.columns, shape.kernel * shape.channels
        if len(self._patches) < count:
            self._patches = np.empty((count, rows, columns, shape.kernel, run), np.float32)
        patches = self._patches[:count]
        image, row, pixel, number = x.strides
        # A row of a patch lies in one piece, as pixels hold their channels side by side.
        steps = (image, shape.stride * row, shape.stride * pixel, row, number)
        np.copyto(patches, as_strided(x, patches.shape, steps))
        y = self.layer(patches.reshape(count * rows * columns, shape.kernel * run))
        return y.reshape(count, rows, columns, shape.out)

    def _pad(self, x: np.ndarray) -> np.ndarray:
        shape, edge = self._shape, self._shape.padding
        if len(self._padded) < len(x):
            height, width = shape.height + 2 * edge, shape.width + 2 * edge
            self._padded = np.zeros((len(x), height, width, shape.channels), np.float32)
        padded = self._padded[: len(x)]
        inside = padded[:, edge:-edge, edge:-edge]
        if self._rectifies:
            relu(x, out=inside)
        else:
            np.copyto(inside, x)
        return padded


class NatureTrunk:
    """Convolutions with a ReLU after each (Mnih et al. 2015)."""

    def __init__(self, shapes: Sequence[Convolution]) -> None:
        self._convolutions = [
            Patches(f"body.convolutions.{i}", shape) for i, shape in enumerate(shapes)
        ]

    def layers(self) -> list[Layer]:
        """All of its layers, that on the image first."""
        return [convolution.layer for convolution in self._convolutions]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for convolution in self._convolutions:
            x = convolution(x)
            relu(x, out=x)
        return x.reshape(len(x), -1)


class ImpalaTrunk:
    """Stages of a convolution, max pooling and residual blocks, and a ReLU at the end (Espeholt et al. 2018)."""

    def __init__(self, shapes: Sequence[ImpalaStage]) -> None:
        self._stages = [
            (
                Patches(f"body.stages.{i}.first", stage.first),
                [
                    [
                        Patches(f"body.stages.{i}.blocks.{j}.{k}", stage.block, rectifies=True)
                        for k in range(2)
                    ]
                    for j in range(BLOCKS)
                ],
            )
            for i, stage in enumerate(shapes)
        ]

    def layers(self) -> list[Layer]:
        """All of its layers, that on the image first."""
        found: list[Layer] = []
        for first, blocks in self._stages:
            found.append(first.layer)
            found += [convolution.layer for block in blocks for convolution in block]
        return found

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for first, blocks in self._stages:
            x = max_pool(first(x))
            for before, after in blocks:
                x += after(before(x))
        relu(x, out=x)
        return x.reshape(len(x), -1)


def max_pool(x: np.ndarray) -> np.ndarray:
    """The largest of 3 x 3 pixels around every second one: `[images, height, width, channels]` to half of it.

    Beyond the edge there are no pixels.
    """
    return _pool_rows(_pool_rows(x).swapaxes(1, 2)).swapaxes(1, 2)


def _pool_rows(x: np.ndarray) -> np.ndarray:
    """The largest of every second row and its neighbours, along axis 1."""
    found = x[:, ::2].copy()
    after = x[:, 1::2]
    np.maximum(found[:, : after.shape[1]], after, out=found[:, : after.shape[1]])
    before = x[:, 1:-1:2]
    np.maximum(found[:, 1:], before, out=found[:, 1:])
    return found
