"""What the engines that act in numpy have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rljob.envs.spaces import Space, encode, encoded_shape
from rljob.errors import RunError
from rljob.nets.parts import Arrays, Loadable, Normalisation, load_layers, take_free

if TYPE_CHECKING:
    from rljob.nets.head import Head


class NumpyEngine:
    """What the numpy engines have in common; not for use by several threads at once.

    They compute the acting heads only, into buffers that they keep: a result is valid until the next call.

    Args:
        inputs: spaces of the inputs.
        heads: of the network.
        acting_heads: those that are computed.

    Attributes:
        core_size: numbers that the network remembers of each environment.
    """

    core_size = 0

    def __init__(
        self, inputs: Sequence[Space], heads: Mapping[str, Head], acting_heads: Sequence[str]
    ) -> None:
        self._space, *self._others = inputs
        self._heads, self._acting = heads, tuple(acting_heads)
        self._normalise: Normalisation | None = None
        self._free: Arrays = {}
        self._loaded = False

    def _layers(self) -> Sequence[Loadable]:
        """All that has weights."""
        raise NotImplementedError

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Use these weights from the next call on; unchanged where it raises.

        Raises:
            RunError: naming a tensor that is missing or has the wrong shape.
        """
        normalise = Normalisation.take(tensors, encoded_shape(self._space))
        free = take_free(tensors, self._heads, self._acting)
        load_layers(self._layers(), tensors)
        self._normalise, self._free, self._loaded = normalise, free, True

    def _encoded(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """All inputs side by side: float32 `[N, size]`."""
        self._check_loaded()
        x = encode(self._space, inputs[0])
        if self._normalise is not None:
            x = self._normalise(x)
        return self._with_others(x.reshape(len(x), -1), inputs)

    def _with_others(self, x: np.ndarray, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """`x` `[N, size]`, and behind it all inputs but the first, encoded and flat."""
        if not self._others:
            return x
        others = (
            encode(space, array).reshape(len(array), -1)
            for space, array in zip(self._others, inputs[1:], strict=True)
        )
        return np.concatenate([x, *others], axis=1)

    def _with_free(self, outputs: Arrays, rows: int) -> Arrays:
        """The outputs, and the free heads for so many rows."""
        for name, values in self._free.items():
            outputs[name] = np.broadcast_to(values, (rows, len(values)))
        return outputs

    def _check_loaded(self) -> None:
        if not self._loaded:
            raise RunError("the engine has no weights yet")
