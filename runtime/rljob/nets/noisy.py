"""Noisy networks (Fortunato et al. 2018, https://arxiv.org/abs/1706.10295): weights that are drawn. No torch.

Beside its `weight` `[out, in]` and `bias` `[out]`, which are means, a dense layer has `weight_scale` and `bias_scale`
of the same shapes. The weights that are used are `mean + scale * noise`. The noise is factorised: a layer draws one
number for each of its inputs and one for each output, and that of a weight is the product of its two.
`torch_noisy` learns means and scales.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rljob.errors import RunError
from rljob.nets.acting import Engine
from rljob.nets.parts import Arrays

SCALE = "_scale"
"""Ends the name of a scale, behind that of its mean."""


def draw_factors(rng: np.random.Generator, fan_in: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one layer's noise: float32 `[in]` and `[out]`, the signed roots of standard normal numbers."""
    drawn = rng.standard_normal(fan_in + out, np.float32)
    drawn = np.copysign(np.sqrt(np.abs(drawn)), drawn)
    return drawn[:fan_in], drawn[fan_in:]


class NoisyEngine:
    """Acts with the means of a network, or with weights that are drawn around them.

    Args:
        engine: acts with any weights of this network.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.core_size = engine.core_size
        self._tensors: Arrays = {}
        self._layers: list[str] = []
        self._drawn = False

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Use these means from the next call on; see `Engine.load`."""
        self._engine.load(tensors)
        scale = f".weight{SCALE}"
        self._layers = [name.removesuffix(scale) for name in tensors if name.endswith(scale)]
        if not self._layers:
            raise RunError("weights do not fit the network: the scales of its noise are missing")
        # Copies: the weights may lie in memory that is used again.
        self._tensors = {name: np.array(tensor) for name, tensor in tensors.items()}
        self._drawn = False

    def use_means(self) -> None:
        """Use the means until the next draw."""
        if self._drawn:
            self._engine.load(self._tensors)
            self._drawn = False

    def draw(self, rng: np.random.Generator) -> None:
        """Draw weights around the means, and use them until the next draw or load."""
        drawn, tensors = dict(self._tensors), self._tensors
        for layer in self._layers:
            out, fan_in = tensors[f"{layer}.weight"].shape
            by_input, by_output = draw_factors(rng, fan_in, out)
            noises = {"weight": np.outer(by_output, by_input), "bias": by_output}
            for part, noise in noises.items():
                name = f"{layer}.{part}"
                if name in tensors:
                    drawn[name] = tensors[name] + tensors[name + SCALE] * noise
        self._engine.load(drawn)
        self._drawn = True

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        return self._engine(*inputs, core=core)
