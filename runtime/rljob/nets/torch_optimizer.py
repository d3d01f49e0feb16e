"""Adam over all parameters of a network, or of several, laid out as one vector.

A network of this size is bound by the number of operations, not by their work: one vector turns
zeroing, clipping and stepping into a handful, whatever the number of layers. Adam is torch's operation:
making an object of its class imports torch's compiler, which takes longer than torch, and the function
between the two takes three times as long as the operation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

BETAS = 0.9, 0.999
"""Decay of the first and of the second moment, at each step."""


def _views(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The parts of `vector` in the order and with the shapes of the parameters."""
    parts = vector.split([p.numel() for p in parameters])  # type: ignore[no-untyped-call]
    return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


class FlatAdam:
    """Adam (Kingma & Ba 2015) with clipping of the global gradient norm (Pascanu et al. 2013).

    The parameters become views of one vector; load into them in place, never replace them.

    Args:
        of: networks and parameters, float32 and on one device.
        learning_rate: step size; `step` may be given another.
        max_gradient_norm: gradients are scaled down to this L2 norm; by default they are not.
        eps: added to the denominator.
    """

    def __init__(
        self,
        *of: nn.Module | nn.Parameter,
        learning_rate: float,
        max_gradient_norm: float | None = None,
        eps: float = 1e-5,
    ) -> None:
        parameters: list[nn.Parameter] = []
        for each in of:
            parameters += each.parameters() if isinstance(each, nn.Module) else [each]
        self.vector = torch.cat([p.detach().reshape(-1) for p in parameters])
        self._gradient = torch.zeros_like(self.vector)
        for p, view, gradient in zip(
            parameters,
            _views(self.vector, parameters),
            _views(self._gradient, parameters),
            strict=True,
        ):
            p.data, p.grad = view, gradient
        self._parameters = parameters
        self._max_norm = max_gradient_norm
        self._learning_rate, self._eps = learning_rate, eps
        self._state = {
            "step": torch.zeros((), device=self.vector.device),
            "exp_avg": torch.zeros_like(self._gradient),
            "exp_avg_sq": torch.zeros_like(self._gradient),
        }

    def step(self, loss: Tensor, learning_rate: float | None = None) -> float:
        """Descend `loss` once; returns the gradient's norm before clipping."""
        self._gradient.zero_()
        # Of other parameters in the loss, no gradient is wanted.
        loss.backward(inputs=self._parameters)  # type: ignore[no-untyped-call]
        return self.descend(learning_rate)

    def descend(self, learning_rate: float | None = None) -> float:
        """The same where the parameters' gradients are there already."""
        gradient = self._gradient
        norm = math.sqrt(float(gradient.dot(gradient)))
        if self._max_norm is not None and not norm <= self._max_norm:
            gradient.mul_(self._max_norm / norm)
        state = self._state
        state["step"].add_(1)
        torch._fused_adam_(
            [self.vector],
            [gradient],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self._learning_rate if learning_rate is None else learning_rate,
            weight_decay=0.0,
            eps=self._eps,
            maximize=False,
        )
        return norm

    def state(self) -> dict[str, Tensor]:
        """Adam's moments and its step count."""
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        for name, tensor in self._state.items():
            tensor.copy_(state[name])
