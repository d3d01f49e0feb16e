"""Acting with a convolutional network: that of Mnih et al. 2015, or the residual one of Espeholt et al. 2018.

Convolutions, then hidden layers, with a ReLU after each; all heads stand on the last one. Features are
flattened by row, column and channel. Inputs beside the image are encoded, flat, and put behind them. `nets.torch_cnn` trains the same network, and its tensors are:

    encoder.{mean,std}            [*encoded_shape]
    encoder.limit                 []
    body.convolutions.<i>.weight  [out, in, kernel, kernel]
    body.convolutions.<i>.bias    [out]
    body.stages.<i>.first.{weight,bias}, body.stages.<i>.blocks.<j>.<k>.{weight,bias}: the same, of `impala`
    body.hidden.<i>.{weight,bias}    [out, in], [out]
    body.heads.<head>.{weight,bias}  [out, in], [out]
    free.<head>                   [size]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from rljob.envs.spaces import BoxSpace, Space, encode, encoded_size
from rljob.nets.activations import relu
from rljob.nets.cnn_shapes import channels_first, convolutions, features, image_of, stages
from rljob.nets.cnn_trunks import ImpalaTrunk, NatureTrunk
from rljob.nets.numpy_engine import NumpyEngine
from rljob.nets.parts import Arrays, Layer

if TYPE_CHECKING:
    from rljob.nets.configs import CNNConfig
    from rljob.nets.head import Head

BLOCK = 4
"""Images whose patches are laid out at a time: 2 MB of Atari's stay in a core's cache, which saves a
fifth of the time."""


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
        size = features(config, self._space)
        self._first = channels_first(self._space)
        self._bytes = isinstance(self._space, BoxSpace) and self._space.image
        self._buffer = np.empty((BLOCK, *image_of(self._space)), np.float32)
        self._features = np.empty((0, size), np.float32)
        self._trunk: NatureTrunk | ImpalaTrunk
        if config.variant == "impala":
            self._trunk = ImpalaTrunk(stages(config, self._space))
        else:
            self._trunk = NatureTrunk(convolutions(config, self._space))
        sizes = [size + sum(map(encoded_size, self._others)), *config.hidden]
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
        return [*self._trunk.layers(), *self._hidden, *self._outputs.values()]

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """See `NumpyEngine.load`."""
        super().load(tensors)
        if self._bytes and self._normalise is None:
            # Here it costs nothing to divide bytes by 255, as `encode` does.
            self._trunk.layers()[0].weight /= 255

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
            self._features[start:end] = self._trunk(self._pixels(observation[start:end]))
        return self._features

    def _pixels(self, observation: np.ndarray) -> np.ndarray:
        """Float32 `[N, height, width, channels]`; bytes stay bytes if the first layer divides."""
        if self._normalise is not None:
            observation = self._normalise(encode(self._space, observation))
        elif not self._bytes:
            observation = encode(self._space, observation)
        pixels = self._buffer[: len(observation)]
        if not self._first:
            np.copyto(pixels, observation)
            return pixels
        # A third of the time of copying the transposed array.
        for channel in range(pixels.shape[-1]):
            pixels[..., channel] = observation[:, channel]
        return pixels
