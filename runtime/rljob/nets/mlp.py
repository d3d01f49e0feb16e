"""The multi-layer perceptron: its settings, its shape, and its numpy engine for acting.

A network is an encoder (`spaces.encode`, then `(x - mean) / std` within `limit`), trunks of hidden
layers, and heads. `nets.torch_nets` trains the same network; names and shapes of the tensors
are the torch module's, so that its exported weights load here as they are:

    encoder.{mean,std}                   [*encoded_shape]
    encoder.limit                        []
    body.trunks.<trunk>.<i>.{weight,bias}  [out, in], [out]
    body.heads.<head>.{weight,bias}        [out, in], [out]
    free.<head>                          [size]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, Strict
from pydantic.alias_generators import to_camel

from rljob.errors import RunError
from rljob.spaces import Spaces, encode, encoded_shape, encoded_size
from rljob.spec.schema import AS_INTEGER

if TYPE_CHECKING:
    from rljob.algorithms.base import Head

Arrays = dict[str, np.ndarray]
Width = Annotated[int, Field(ge=1, le=65536), AS_INTEGER]


class MLPConfig(BaseModel):
    """Settings of the network `mlp` (`network.config`)."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    hidden: Annotated[tuple[Width, ...], Strict(False)] = (64, 64)
    """Units of each hidden layer; may be empty."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Between the layers."""
    shared: bool = False
    """One trunk for all heads, whatever the algorithm says; by default policy and value have their own."""


def group_by_trunk(heads: Mapping[str, Head], shared: bool) -> dict[str, tuple[str, ...]]:
    """Which heads stand on which trunk; free heads stand on none."""
    trunks: dict[str, tuple[str, ...]] = {}
    for name, head in heads.items():
        if not head.free:
            trunk = "shared" if shared else head.trunk or name
            trunks[trunk] = (*trunks.get(trunk, ()), name)
    return trunks


@dataclass
class _Layer:
    """`y = x @ weight + bias` with the weight as `[in, out]`, and a buffer for `y`."""

    weight: np.ndarray
    bias: np.ndarray
    out: np.ndarray


@dataclass
class _Weights:
    """Everything that one policy version computes with; replaced as a whole, never changed."""

    normalise: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    trunks: list[tuple[list[_Layer], dict[str, _Layer]]]
    free: Arrays


class NumpyEngine:
    """Acts with an MLP: `observations [N, ...] -> {head: float32 [N, size]}`, without torch.

    Computes the acting heads only, into buffers that it keeps: a result is valid until the next call.
    Not for use by several threads at once.
    """

    def __init__(
        self,
        config: MLPConfig,
        spaces: Spaces,
        heads: Mapping[str, Head],
        acting_heads: Sequence[str],
    ) -> None:
        self._config = config
        self._space = spaces.observation
        self._shape = encoded_shape(self._space)
        self._inputs = encoded_size(self._space)
        self._activate = np.tanh if config.activation == "tanh" else _relu
        self._free = {name: heads[name].size for name in acting_heads if heads[name].free}
        self._sizes = {name: heads[name].size for name in acting_heads if name not in self._free}
        self._trunks = {
            trunk: tuple(name for name in names if name in self._sizes)
            for trunk, names in group_by_trunk(heads, config.shared).items()
            if any(name in self._sizes for name in names)
        }
        self._rows = 0
        self._weights: _Weights | None = None

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Use these weights from the next call on; unchanged where it raises.

        Raises:
            RunError: naming a tensor that is missing or has the wrong shape.
        """
        mean = _take(tensors, "encoder.mean", self._shape)
        std = _take(tensors, "encoder.std", self._shape)
        limit = _take(tensors, "encoder.limit", ())
        identity = not mean.any() and bool((std == 1).all()) and np.isposinf(limit)
        trunks = []
        for trunk, names in self._trunks.items():
            hidden, size = [], self._inputs
            for i, width in enumerate(self._config.hidden):
                hidden.append(self._layer(tensors, f"body.trunks.{trunk}.{i}", size, width))
                size = width
            heads = {
                name: self._layer(tensors, f"body.heads.{name}", size, self._sizes[name])
                for name in names
            }
            trunks.append((hidden, heads))
        free = {name: _take(tensors, f"free.{name}", (n,)) for name, n in self._free.items()}
        self._weights = _Weights(None if identity else (mean, std, limit), trunks, free)

    def __call__(self, observation: np.ndarray) -> Arrays:
        weights = self._weights
        if weights is None:
            raise RunError("the engine has no weights yet")
        rows = len(observation)
        if rows != self._rows:
            self._resize(weights, rows)
        x = encode(self._space, observation)
        if weights.normalise is not None:
            mean, std, limit = weights.normalise
            x = np.clip((x - mean) / std, -limit, limit)
        x = x.reshape(rows, self._inputs)
        outputs: Arrays = {}
        for hidden, heads in weights.trunks:
            h = x
            for layer in hidden:
                h = _affine(h, layer)
                self._activate(h, out=h)
            for name, layer in heads.items():
                outputs[name] = _affine(h, layer)
        for name, values in weights.free.items():
            outputs[name] = np.broadcast_to(values, (rows, len(values)))
        return outputs

    def _layer(self, tensors: Mapping[str, np.ndarray], name: str, fan_in: int, out: int) -> _Layer:
        weight = _take(tensors, f"{name}.weight", (out, fan_in))
        bias = _take(tensors, f"{name}.bias", (out,))
        return _Layer(np.ascontiguousarray(weight.T), bias, np.empty((self._rows, out), np.float32))

    def _resize(self, weights: _Weights, rows: int) -> None:
        for hidden, heads in weights.trunks:
            for layer in (*hidden, *heads.values()):
                layer.out = np.empty((rows, len(layer.bias)), np.float32)
        self._rows = rows


def _affine(x: np.ndarray, layer: _Layer) -> np.ndarray:
    out = layer.out
    np.dot(x, layer.weight, out=out)
    np.add(out, layer.bias, out=out)
    return out


def _relu(x: np.ndarray, out: np.ndarray) -> Any:
    return np.maximum(x, 0.0, out=out)


def _take(tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != shape:
        found = "is missing" if tensor is None else f"has the shape {list(tensor.shape)}"
        raise RunError(f"weights do not fit the network: {name} {found}, expected {list(shape)}")
    # A copy: the weights may lie in a receive buffer that is used again.
    return np.array(tensor, np.float32)
