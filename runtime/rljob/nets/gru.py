"""A network with memory: hidden layers, a gated recurrent unit, heads on its state.

The unit is that of Cho et al. 2014 (https://arxiv.org/abs/1406.1078) in the form that cuDNN and torch use,
where the reset gate is applied after the product. `nets.torch_gru` trains the same network, and its tensors
are:

    encoder.{mean,std}                     [*encoded_shape]
    encoder.limit                          []
    body.hidden.<i>.{weight,bias}          [out, in], [out]
    body.hidden.norms.<i>.{weight,bias}    [out], [out]: with layerNorm
    body.{input,memory}.{weight,bias}      [3 size, in], [3 size]: reset gate, update gate, candidate
    body.heads.<head>.{weight,bias}        [out, size], [out]
    free.<head>                            [size]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Strict

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.hidden import HiddenConfig, HiddenLayers
from rljob.nets.numpy_engine import NumpyEngine
from rljob.nets.parts import Arrays, Layer, Loadable, Width

if TYPE_CHECKING:
    from rljob.nets.head import Head


class GRUConfig(HiddenConfig):
    """Settings of the network `gru` (`network.config`)."""

    remembers: ClassVar[bool] = True

    hidden: Annotated[tuple[Width, ...], Strict(False)] = (64,)
    """Units of each hidden layer before the memory; may be empty."""
    size: Width = 64
    """Numbers that the network remembers."""


class GRUEngine(NumpyEngine):
    """Acts with a GRU: inputs `[N, ...]` and the memory, which it overwrites, to `{head: float32 [N, size]}`."""

    def __init__(
        self,
        config: GRUConfig,
        inputs: Sequence[Space],
        heads: Mapping[str, Head],
        acting_heads: Sequence[str],
    ) -> None:
        super().__init__(inputs, heads, acting_heads)
        self.core_size = config.size
        self._hidden = HiddenLayers("body.hidden", sum(map(encoded_size, inputs)), config)
        self._input = Layer.dense("body.input", self._hidden.size, 3 * config.size)
        self._memory = Layer.dense("body.memory", config.size, 3 * config.size)
        self._outputs = {
            name: Layer.dense(f"body.heads.{name}", config.size, heads[name].size)
            for name in self._acting
            if not heads[name].free
        }

    def _layers(self) -> list[Loadable]:
        return [*self._hidden.parts(), self._input, self._memory, *self._outputs.values()]

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        h, size = self._encoded(inputs), self.core_size
        if core is None:
            core = np.zeros((len(h), size), np.float32)
        new, old = self._input(self._hidden(h)), self._memory(core)
        # The logistic function by tanh, which cannot overflow.
        gates = 0.5 + 0.5 * np.tanh(0.5 * (new[:, : 2 * size] + old[:, : 2 * size]))
        candidate = np.tanh(new[:, 2 * size :] + gates[:, :size] * old[:, 2 * size :])
        core[...] = candidate + gates[:, size:] * (core - candidate)
        outputs = {name: layer(core) for name, layer in self._outputs.items()}
        return self._with_free(outputs, len(core))
