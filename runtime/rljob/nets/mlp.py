"""The multi-layer perceptron: its shape, and its numpy engine for acting.

A network is an encoder (`spaces.encode`, then `(x - mean) / std` within `limit`), trunks of hidden
layers, and heads. Inputs beside the first are encoded, flat, and put behind it. `nets.torch_nets` trains the same network; names and shapes of the tensors
are the torch module's, so that its exported weights load here as they are:

    encoder.{mean,std}                   [*encoded_shape]
    encoder.limit                        []
    body.trunks.<trunk>.<i>.{weight,bias}  [out, in], [out]
    body.trunks.<trunk>.norms.<i>.{weight,bias}  [out], [out]: with layerNorm
    body.heads.<head>.{weight,bias}        [out, in], [out]
    free.<head>                          [size]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.hidden import HiddenLayers
from rljob.nets.numpy_engine import NumpyEngine
from rljob.nets.parts import Arrays, Layer, Loadable

if TYPE_CHECKING:
    from rljob.nets.configs import MLPConfig
    from rljob.nets.head import Head


def group_by_trunk(heads: Mapping[str, Head], shared: bool) -> dict[str, tuple[str, ...]]:
    """Which heads stand on which trunk; free heads stand on none."""
    trunks: dict[str, tuple[str, ...]] = {}
    for name, head in heads.items():
        if not head.free:
            trunk = "shared" if shared else head.trunk or name
            trunks[trunk] = (*trunks.get(trunk, ()), name)
    return trunks


class MLPEngine(NumpyEngine):
    """Acts with an MLP: inputs `[N, ...]` to `{head: float32 [N, size]}`, without torch."""

    def __init__(
        self,
        config: MLPConfig,
        inputs: Sequence[Space],
        heads: Mapping[str, Head],
        acting_heads: Sequence[str],
    ) -> None:
        super().__init__(inputs, heads, acting_heads)
        self._config = config
        self._inputs = sum(map(encoded_size, inputs))
        self._trunks = [
            self._trunk(trunk, acting)
            for trunk, names in group_by_trunk(heads, config.shared).items()
            if (acting := [name for name in names if name in acting_heads])
        ]

    def _trunk(self, trunk: str, heads: Sequence[str]) -> tuple[HiddenLayers, dict[str, Layer]]:
        hidden = HiddenLayers(f"body.trunks.{trunk}", self._inputs, self._config)
        return hidden, {
            name: Layer.dense(f"body.heads.{name}", hidden.size, self._heads[name].size)
            for name in heads
        }

    def _layers(self) -> list[Loadable]:
        return [
            part for hidden, heads in self._trunks for part in (*hidden.parts(), *heads.values())
        ]

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        x = self._encoded(inputs)
        outputs: Arrays = {}
        for hidden, heads in self._trunks:
            h = hidden(x)
            for name, layer in heads.items():
                outputs[name] = layer(h)
        return self._with_free(outputs, len(x))
