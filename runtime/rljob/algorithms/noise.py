"""Noise that explores: it is added to the actions of a policy that is deterministic itself. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field as Bounds

NoiseKind = Literal["gaussian", "ornsteinUhlenbeck"]
NoiseSize = Annotated[float, Bounds(ge=0, le=2)]
"""A standard deviation where actions lie in [-1, 1]."""


class GaussianNoise:
    """Independent standard normal numbers.

    Args:
        rng: an actor's `self.rng`.
        shape: `(N, D)`, environments and numbers of an action.
    """

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self._rng, self._shape = rng, shape

    def draw(self, begins: np.ndarray) -> np.ndarray:
        """The next noise, float32 `[N, D]`; to be multiplied by its size.

        Args:
            begins: bool `[N]`, where an episode begins.
        """
        return self._rng.standard_normal(self._shape, np.float32)


class OrnsteinUhlenbeckNoise:
    """Noise that is like that of the step before (Uhlenbeck & Ornstein 1930), for each environment its own.

    In each step it loses the share `reversion` of its distance from 0 and gets a standard normal number in
    addition. Long into an episode its standard deviation is `(1 - (1 - reversion)^2)^-0.5`, and the correlation
    of two steps with `k` between them is `(1 - reversion)^k`.

    Args:
        rng: an actor's `self.rng`.
        shape: `(N, D)`, environments and numbers of an action.
        reversion: in [0, 1]; 1 is Gaussian noise.
    """

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], reversion: float) -> None:
        self._rng, self._kept = rng, np.float32(1 - reversion)
        self._noise = np.zeros(shape, np.float32)

    def draw(self, begins: np.ndarray) -> np.ndarray:
        """The next noise, float32 `[N, D]`; to be multiplied by its size.

        Args:
            begins: bool `[N]`, where an episode begins: noise starts from 0 there.
        """
        fresh = self._rng.standard_normal(self._noise.shape, np.float32)
        kept = np.where(begins[:, None], np.float32(0), self._kept * self._noise)
        self._noise = kept + fresh
        return self._noise


Noise = GaussianNoise | OrnsteinUhlenbeckNoise


def make_noise(
    kind: NoiseKind, rng: np.random.Generator, shape: tuple[int, int], reversion: float
) -> Noise:
    """Noise of a kind for `shape` `(N, D)`; `reversion` is for `ornsteinUhlenbeck`."""
    if kind == "gaussian":
        return GaussianNoise(rng, shape)
    return OrnsteinUhlenbeckNoise(rng, shape, reversion)
