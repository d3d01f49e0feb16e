"""Networks with memory: hidden layers, a gated recurrent unit or a long short-term memory, heads on its state.

`gru` is that of Cho et al. 2014 (https://arxiv.org/abs/1406.1078) in the form that cuDNN and torch use,
where the reset gate is applied after the product. `lstm` is that of Hochreiter & Schmidhuber 1997
(https://doi.org/10.1162/neco.1997.9.8.1735) with the forget gate of Gers et al. 2000
(https://doi.org/10.1162/089976600300015015). `nets.torch_recurrent` trains the same networks. Their tensors are:

    encoder.{mean,std}                     [*encoded_shape]
    encoder.limit                          []
    body.hidden.<i>.{weight,bias}          [out, in], [out]
    body.hidden.norms.<i>.{weight,bias}    [out], [out]: with layerNorm
    body.{input,memory}.{weight,bias}      [parts size, in], [parts size]
    body.heads.<head>.{weight,bias}        [out, size], [out]
    free.<head>                            [size]

The parts of `gru` are the reset gate, the update gate and the candidate; those of `lstm` the input gate, the forget
gate, the candidate and the output gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.hidden import HiddenLayers
from rljob.nets.numpy_engine import NumpyEngine
from rljob.nets.parts import Arrays, Layer, Loadable
from rljob.nets.recurrences import logistic, lstm_gates

if TYPE_CHECKING:
    from rljob.nets.configs import RecurrentConfig
    from rljob.nets.head import Head


class RecurrentEngine(NumpyEngine):
    """Acts with a memory: inputs `[N, ...]` and the memory, which it overwrites, to `{head: float32 [N, size]}`.

    Attributes:
        parts: products of the memory's size, by which a step changes it.
        states: numbers that are remembered for each of `size`.
    """

    parts: ClassVar[int]
    states: ClassVar[int]

    def __init__(
        self,
        config: RecurrentConfig,
        inputs: Sequence[Space],
        heads: Mapping[str, Head],
        acting_heads: Sequence[str],
    ) -> None:
        super().__init__(inputs, heads, acting_heads)
        self.core_size, self._size = self.states * config.size, config.size
        self._hidden = HiddenLayers("body.hidden", sum(map(encoded_size, inputs)), config)
        self._input = Layer.dense("body.input", self._hidden.size, self.parts * config.size)
        self._memory = Layer.dense("body.memory", config.size, self.parts * config.size)
        self._outputs = {
            name: Layer.dense(f"body.heads.{name}", config.size, heads[name].size)
            for name in self._acting
            if not heads[name].free
        }

    def _layers(self) -> list[Loadable]:
        return [*self._hidden.parts(), self._input, self._memory, *self._outputs.values()]

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        h = self._encoded(inputs)
        if core is None:
            core = np.zeros((len(h), self.core_size), np.float32)
        state = core[:, : self._size]
        self._step(self._input(self._hidden(h)), self._memory(state), core)
        outputs = {name: layer(state) for name, layer in self._outputs.items()}
        return self._with_free(outputs, len(core))

    def _step(self, new: np.ndarray, old: np.ndarray, core: np.ndarray) -> None:
        """Overwrite the memory `[N, core_size]`, whose first part is what the heads see.

        Args:
            new: products with what came in, `[N, parts * size]`.
            old: products with the first part of the memory, likewise.
        """
        raise NotImplementedError


class GRUEngine(RecurrentEngine):
    """Acts with a GRU; its memory is its state."""

    parts, states = 3, 1

    def _step(self, new: np.ndarray, old: np.ndarray, core: np.ndarray) -> None:
        size = self._size
        gates = logistic(new[:, : 2 * size] + old[:, : 2 * size])
        candidate = np.tanh(new[:, 2 * size :] + gates[:, :size] * old[:, 2 * size :])
        core[...] = candidate + gates[:, size:] * (core - candidate)


class LSTMEngine(RecurrentEngine):
    """Acts with an LSTM; its memory is its output, then its cell."""

    parts, states = 4, 2

    def _step(self, new: np.ndarray, old: np.ndarray, core: np.ndarray) -> None:
        size = self._size
        new += old
        lstm_gates(new)
        enters, keeps, candidate, leaves = np.split(new, 4, axis=1)
        cell = core[:, size:]
        cell *= keeps
        cell += enters * candidate
        np.multiply(leaves, np.tanh(cell), out=core[:, :size])
