"""The acting networks of a policy version, and the other arrays that its learner published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from rljob.nets.parts import Arrays

if TYPE_CHECKING:
    import numpy as np

OF_NETWORK = "/"
"""Between the name of a network and that of its tensor, in what a learner publishes."""


class Engine(Protocol):
    """One network as a function: inputs `[N, ...]` to `{head: float32 [N, size]}`.

    A result is valid until the next call. A network with memory (`core_size` above 0) takes that as `core`,
    float32 `[N, core_size]`, and overwrites it.
    """

    core_size: int

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Use these weights from the next call on; RunError when they do not fit."""
        ...

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays: ...


class ActingNetworks:
    """What acting has of the newest policy version.

    Args:
        engines: the acting networks by name.

    Attributes:
        arrays: what the learner published beside their weights.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self.engines = engines
        self.arrays: Mapping[str, np.ndarray] = {}

    @property
    def core_size(self) -> int:
        """Numbers that the first network remembers of each environment."""
        return next((engine.core_size for engine in self.engines.values()), 0)

    def load(self, published: Mapping[str, np.ndarray]) -> None:
        """Use this version from the next call on.

        Raises:
            RunError: naming a tensor that is missing or has the wrong shape.
        """
        arrays: Arrays = {}
        tensors: dict[str, Arrays] = {name: {} for name in self.engines}
        for name, array in published.items():
            network, slash, tensor = name.partition(OF_NETWORK)
            if slash and network in tensors:
                tensors[network][tensor] = array
            else:
                arrays[name] = array
        for name, engine in self.engines.items():
            engine.load(tensors[name])
        self.arrays = arrays
