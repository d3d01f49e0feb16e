"""A network's outputs and its gradient in arrays, for losses whose own gradient is one line.

Small networks on a CPU are bound by the number of torch's operations, each of which costs more than the
arithmetic that it starts. So a plain MLP is differentiated here by numpy, on the memory of the torch module's
parameters: the module stays the one owner of the weights. Any other network, activation, device or precision goes
through torch's autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import nn

from rljob.nets.activations import ACTIVATIONS, SLOPES
from rljob.nets.parts import Arrays
from rljob.nets.torch_mlp import MLP
from rljob.nets.torch_nets import Network

Backward = Callable[[Mapping[str, np.ndarray]], None]
"""Takes the loss' gradient by every output, `{head: float32 [B, size]}`, and writes its gradient by every
parameter where `Parameter.grad` is."""

WORK = 6_000_000
"""Parameters times rows from which torch, if it may use several threads, is faster than numpy on one: there
are 36 million multiplications and additions in it, or half a millisecond."""

Placed = np.ndarray | torch.Tensor
"""Observations where the network is; can be indexed by rows."""


class Differentiable(Protocol):
    """A network as a function of raw observations `[B, ...]`, on the weights that it has at the time."""

    def place(self, observation: np.ndarray) -> Placed:
        """Move observations to the network's device, once for all uses of their rows."""
        ...

    def __call__(self, observation: Placed, heads: Collection[str] | None = None) -> Arrays:
        """`{head: float32 [B, size]}`, at least of these heads; by default of all."""
        ...

    def with_backward(self, observation: Placed) -> tuple[Arrays, Backward]:
        """The same, and how to differentiate it; the parameters must have gradients by then."""
        ...


def differentiable(network: Network) -> Differentiable:
    """Numpy where it is faster and equal up to rounding; else autograd."""
    by_numpy = (
        isinstance(network.body, MLP)
        and network.body.slopes_from_outputs
        and not network.half_precision
        and network.encoder.mean.device.type == "cpu"
    )
    return _ByEither(network) if by_numpy else _ByTorch(network)


class _ByEither:
    """By numpy, or for much work, and with several threads, by torch."""

    def __init__(self, network: Network) -> None:
        self._numpy, self._torch = _ByNumpy(network), _ByTorch(network)
        self._parameters = sum(p.numel() for p in network.parameters())

    def place(self, observation: np.ndarray) -> Placed:
        return observation

    def __call__(self, observation: Placed, heads: Collection[str] | None = None) -> Arrays:
        return self._which(observation)(observation, heads)

    def with_backward(self, observation: Placed) -> tuple[Arrays, Backward]:
        return self._which(observation).with_backward(observation)

    def _which(self, observation: Placed) -> Differentiable:
        much = len(observation) * self._parameters > WORK and torch.get_num_threads() > 1
        return self._torch if much else self._numpy


class _ByTorch:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._device = network.encoder.mean.device

    def place(self, observation: np.ndarray) -> Placed:
        return torch.from_numpy(observation).to(self._device)

    def __call__(self, observation: Placed, heads: Collection[str] | None = None) -> Arrays:
        with torch.no_grad():
            outputs = self._network(torch.as_tensor(observation, device=self._device))
        return _arrays(outputs)

    def with_backward(self, observation: Placed) -> tuple[Arrays, Backward]:
        outputs = self._network(torch.as_tensor(observation, device=self._device))
        return with_backward(self._network, outputs)


def with_backward(
    network: nn.Module, outputs: Mapping[str, torch.Tensor]
) -> tuple[Arrays, Backward]:
    """Outputs of a network as arrays, and how to differentiate them by autograd; see `Differentiable`."""

    def backward(gradients: Mapping[str, np.ndarray]) -> None:
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
        torch.autograd.backward(
            [outputs[name] for name in gradients],
            [
                torch.from_numpy(gradient).to(outputs[name].device)
                for name, gradient in gradients.items()
            ],
        )

    return _arrays(outputs), backward


def _arrays(outputs: Mapping[str, torch.Tensor]) -> Arrays:
    # As they are, free heads are one row that numpy sees `B` times.
    return {name: output.detach().cpu().contiguous().numpy() for name, output in outputs.items()}


class _Dense:
    """`y = x @ weight.T + bias` on the memory of an `nn.Linear`, and its gradient."""

    def __init__(self, layer: nn.Module) -> None:
        assert isinstance(layer, nn.Linear)
        self._weight, self._bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        self._by_weight, self._by_bias = _gradient(layer.weight), _gradient(layer.bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y: np.ndarray = np.dot(x, self._weight.T)
        y += self._bias
        return y

    def write_gradient(self, x: np.ndarray, dy: np.ndarray) -> None:
        """By weight and bias, where the outputs for `x` `[B, in]` have the gradient `dy` `[B, out]`."""
        np.dot(dy.T, x, out=self._by_weight)
        np.add.reduce(dy, axis=0, out=self._by_bias)

    def by_input(self, dy: np.ndarray) -> np.ndarray:
        """`[B, in]`."""
        dx: np.ndarray = np.dot(dy, self._weight)
        return dx


def _gradient(parameter: torch.Tensor) -> np.ndarray | None:
    return None if parameter.grad is None else parameter.grad.numpy()


class _ByNumpy:
    """Forward and backward of an `MLP`, like Rumelhart, Hinton & Williams 1986."""

    def __init__(self, network: Network) -> None:
        body = network.body
        assert isinstance(body, MLP)
        self._encoder = network.encoder
        self._activate, self._slope = ACTIVATIONS[body.activation], SLOPES[body.activation]
        self._trunks = [
            (
                [_Dense(layer) for layer in body.layers[trunk].linears],
                [(n, _Dense(body.heads[n])) for n in names],
            )
            for trunk, names in body.groups.items()
        ]
        self._free = {
            name: (values.detach().numpy(), _gradient(values))
            for name, values in network.free.items()
        }

    def place(self, observation: np.ndarray) -> Placed:
        return observation

    def __call__(self, observation: Placed, heads: Collection[str] | None = None) -> Arrays:
        return self._forward(observation, heads)[0]

    def with_backward(self, observation: Placed) -> tuple[Arrays, Backward]:
        outputs, inputs = self._forward(observation)

        def backward(gradients: Mapping[str, np.ndarray]) -> None:
            for (hidden, heads), xs in zip(self._trunks, inputs, strict=True):
                for name, head in heads:
                    head.write_gradient(xs[-1], gradients[name])
                dy, *others = [head.by_input(gradients[name]) for name, head in heads]
                for other in others:
                    dy += other
                for i in reversed(range(len(hidden))):
                    dy *= self._slope(xs[i + 1])
                    hidden[i].write_gradient(xs[i], dy)
                    if i > 0:
                        dy = hidden[i].by_input(dy)
            for name, (_, gradient) in self._free.items():
                np.add.reduce(gradients[name], axis=0, out=gradient)

        return outputs, backward

    def _forward(
        self, observation: Placed, wanted: Collection[str] | None = None
    ) -> tuple[Arrays, list[list[np.ndarray]]]:
        """Outputs, and for each trunk what went into each of its layers, the heads' last."""
        encoded = self._encoder.encode(np.asarray(observation))
        outputs: Arrays = {}
        inputs = []
        for hidden, heads in self._trunks:
            if wanted is not None and not any(name in wanted for name, _ in heads):
                continue
            xs = [encoded]
            for layer in hidden:
                y = layer(xs[-1])
                xs.append(self._activate(y, out=y))
            for name, head in heads:
                outputs[name] = head(xs[-1])
            inputs.append(xs)
        for name, (values, _) in self._free.items():
            outputs[name] = np.repeat(values[None], len(encoded), axis=0)
        return outputs, inputs
