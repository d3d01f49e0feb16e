"""Noisy networks that the learner trains; `nets.noisy` describes them and acts with them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rljob.errors import InputError
from rljob.nets.noisy import SCALE, draw_factors


def add_scales(body: nn.Module, scale: float) -> None:
    """Give every dense layer the scales of its noise: at first `scale / sqrt(in)`.

    Raises:
        InputError: there is no dense layer.
    """
    layers = _dense(body)
    if not layers:
        raise InputError(
            "has no torch.nn.Linear, whose weights a noisy network draws", path="network.entryPoint"
        )
    for layer in layers:
        for name, mean in list(layer.named_parameters(recurse=False)):
            first = torch.full_like(mean.data, scale / layer.in_features**0.5)
            layer.register_parameter(name + SCALE, nn.Parameter(first))


def _dense(module: nn.Module) -> list[nn.Linear]:
    return [each for each in module.modules() if isinstance(each, nn.Linear)]


class NoisyCopy:
    """A copy of a noisy network, whose dense layers have the weights that were drawn last.

    All else is in the same memory as that of the network: other parameters, buffers, and the gradients of means. So
    it is made after the network's optimizer, which moves parameters and gradients.

    Args:
        source: has the means and scales.

    Attributes:
        network: the copy.
    """

    def __init__(self, source: Any) -> None:
        self.network: Any = copy.deepcopy(source)
        self.network.encoder = source.encoder
        for theirs, mine in zip(source.modules(), self.network.modules(), strict=True):
            for name, buffer in theirs.named_buffers(recurse=False):
                setattr(mine, name, buffer)
        pairs = list(zip(_dense(source), _dense(self.network), strict=True))
        for _, mine in pairs:
            for name, _ in list(mine.named_parameters(recurse=False)):
                if name.endswith(SCALE):
                    delattr(mine, name)
        drawn = {id(p) for _, mine in pairs for p in mine.parameters(recurse=False)}
        sources = dict(source.named_parameters())
        for name, parameter in self.network.named_parameters():
            parameter.grad = sources[name].grad
            if id(parameter) not in drawn:
                parameter.data = sources[name].data
        self._pairs = pairs
        self._noises: list[tuple[nn.Parameter, nn.Parameter, Tensor]] = []

    @torch.no_grad()
    def draw(self, rng: np.random.Generator) -> None:
        """Draw the weights anew."""
        self._noises = []
        for source, mine in self._pairs:
            out, fan_in = mine.weight.shape
            by_input, by_output = (
                torch.from_numpy(each).to(mine.weight.device)
                for each in draw_factors(rng, fan_in, out)
            )
            noises = {"weight": torch.outer(by_output, by_input), "bias": by_output}
            for name, drawn in mine.named_parameters(recurse=False):
                mean, scale = getattr(source, name), getattr(source, name + SCALE)
                torch.addcmul(mean, scale, noises[name], out=drawn)
                self._noises.append((mean, scale, noises[name]))

    @torch.no_grad()
    def write_gradient(self) -> None:
        """That of the scales, where that of the means is written already."""
        for mean, scale, noise in self._noises:
            assert mean.grad is not None
            torch.mul(mean.grad, noise, out=scale.grad)
