"""Hidden layers, and how they act in numpy; `torch_hidden` trains the same.

Each layer is a product, an optional normalisation (Ba et al. 2016), an activation, and an optional sum with
the layer's input (He et al. 2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from rljob.nets.activations import ACTIVATIONS
from rljob.nets.parts import Layer, Loadable, fitting

if TYPE_CHECKING:
    from rljob.nets.configs import HiddenConfig

EPSILON = 1e-5
"""Added to the variance before a layer is normalised by it."""


def is_residual(config: HiddenConfig, sizes: Sequence[int], index: int) -> bool:
    """Whether a layer adds its input; the first one, whose input is no hidden layer, does not.

    Args:
        sizes: of the input and of each hidden layer.
        index: of the layer.
    """
    return config.residual and index > 0 and sizes[index] == sizes[index + 1]


class LayerNorm:
    """As torch's `nn.LayerNorm`, in place.

    Args:
        name: of torch's module.
        size: of each row.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._weight, self._bias = np.ones(size, np.float32), np.zeros(size, np.float32)

    def fitting(self, tensors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Its weight and bias among these; RunError as `take`."""
        shape = self._weight.shape
        weight, bias = f"{self._name}.weight", f"{self._name}.bias"
        return fitting(tensors, weight, shape), fitting(tensors, bias, shape)

    def load(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Use what `fitting` found from the next call on."""
        np.copyto(self._weight, weight)
        np.copyto(self._bias, bias)

    def __call__(self, x: np.ndarray) -> None:
        """Normalise each row of `[..., size]`."""
        x -= x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + EPSILON)
        x *= self._weight
        x += self._bias


class HiddenLayers:
    """Hidden layers for acting.

    Args:
        name: of torch's module.
        fan_in: size of the input.
        widths: units of each layer; by default those of the settings.
    """

    def __init__(
        self, name: str, fan_in: int, config: HiddenConfig, widths: Sequence[int] | None = None
    ) -> None:
        sizes = self._sizes = (fan_in, *(config.hidden if widths is None else widths))
        self._activate = ACTIVATIONS[config.activation]
        self._layers = [
            (
                Layer.dense(f"{name}.{i}", *size),
                LayerNorm(f"{name}.norms.{i}", size[1]) if config.layer_norm else None,
                is_residual(config, sizes, i),
            )
            for i, size in enumerate(pairwise(sizes))
        ]

    @property
    def size(self) -> int:
        """Of the output."""
        return self._sizes[-1]

    def parts(self) -> Iterator[Loadable]:
        """All that has weights."""
        for layer, norm, _ in self._layers:
            yield layer
            if norm is not None:
                yield norm

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """`[rows, fan_in]` to `[rows, size]`, valid until the next call."""
        for layer, norm, residual in self._layers:
            y = layer(x)
            if norm is not None:
                norm(y)
            self._activate(y, out=y)
            if residual:
                y += x
            x = y
        return x
