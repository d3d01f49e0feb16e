"""An output of a network, as an algorithm asks for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """One output of the network, `[B, size]`.

    Args:
        size: number of values.
        gain: scale of the orthogonal initialisation of its last layer.
        free: a learned vector that does not depend on the observation (e.g. a log standard deviation).
        trunk: heads that name the same trunk share their hidden layers; by default a head has its own.
    """

    size: int
    gain: float = 1.0
    free: bool = False
    trunk: str = ""
