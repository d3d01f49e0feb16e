"""What the built-in networks have in common for acting: numpy layers, and how weights get into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rljob.envs.spaces import Arrays as Arrays
from rljob.errors import RunError

if TYPE_CHECKING:
    from rljob.nets.head import Head


class Loadable(Protocol):
    """A part of an engine that has a weight and a bias."""

    def fitting(self, tensors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Its weight and bias among these; RunError as `take`."""
        ...

    def load(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Use what `fitting` found from the next call on."""
        ...


class Layer:
    """`y = x @ weight + bias` with the weight as `[in, out]`, zeros at first; with a buffer for `y`.

    Weights of another version overwrite these in place: new memory would have to be allocated and fetched
    into the cache.

    Args:
        name: of torch's layer, whose weight has the shape of `places`.
        places: a view of `weight` in which each number has its place.
    """

    def __init__(self, name: str, weight: np.ndarray, places: np.ndarray) -> None:
        self._name = name
        self.weight, self._places = weight, places
        self._bias = np.zeros(weight.shape[1], np.float32)
        self._out = np.empty((0, 0), np.float32)

    @classmethod
    def dense(cls, name: str, fan_in: int, out: int) -> Layer:
        """As torch's `nn.Linear`."""
        weight = np.zeros((fan_in, out), np.float32)
        return cls(name, weight, weight.T)

    def fitting(self, tensors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Its weight and bias among these; RunError as `take`."""
        return (
            fitting(tensors, f"{self._name}.weight", self._places.shape),
            fitting(tensors, f"{self._name}.bias", self._bias.shape),
        )

    def load(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Use what `fitting` found from the next call on."""
        np.copyto(self._places, weight)
        np.copyto(self._bias, bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """`[rows, in]` to `[rows, out]`, valid until the next call."""
        if len(self._out) < len(x):
            self._out = np.empty((len(x), len(self._bias)), np.float32)
        y = self._out if len(self._out) == len(x) else self._out[: len(x)]
        np.dot(x, self.weight, out=y)
        y += self._bias
        return y


def load_layers(layers: Sequence[Loadable], tensors: Mapping[str, np.ndarray]) -> None:
    """Load all of them or, where one does not fit, none; RunError as `take`."""
    found = [layer.fitting(tensors) for layer in layers]
    for layer, (weight, bias) in zip(layers, found, strict=True):
        layer.load(weight, bias)


@dataclass(frozen=True)
class Normalisation:
    """`(x - mean) / std` within `±limit` (`torch_nets.Encoder`)."""

    mean: np.ndarray
    std: np.ndarray
    limit: np.ndarray

    @classmethod
    def take(
        cls, tensors: Mapping[str, np.ndarray], shape: tuple[int, ...]
    ) -> Normalisation | None:
        """None where it changes nothing; RunError as `take`."""
        mean = take(tensors, "encoder.mean", shape)
        std = take(tensors, "encoder.std", shape)
        limit = take(tensors, "encoder.limit", ())
        identity = limit == np.inf and not mean.any() and bool((std == 1).all())
        return None if identity else cls(mean, std, limit)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        normalised: np.ndarray = np.clip((x - self.mean) / self.std, -self.limit, self.limit)
        return normalised


def take_free(
    tensors: Mapping[str, np.ndarray], heads: Mapping[str, Head], acting: tuple[str, ...]
) -> Arrays:
    """The values of the free heads among those that act; RunError as `take`."""
    free = {name: heads[name].size for name in acting if heads[name].free}
    return {name: take(tensors, f"free.{name}", (size,)) for name, size in free.items()}


def take(tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A copy of one tensor as float32; RunError when it is missing or has another shape."""
    # A copy: the weights may lie in memory that is used again.
    return np.array(fitting(tensors, name, shape), np.float32)


def fitting(tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One tensor as it is; RunError when it is missing or has another shape."""
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != shape:
        found = "is missing" if tensor is None else f"has the shape {list(tensor.shape)}"
        raise RunError(f"weights do not fit the network: {name} {found}, expected {list(shape)}")
    return tensor
