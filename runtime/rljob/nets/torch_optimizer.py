"""Adam over all parameters of a network laid out as one vector.

A network of this size is bound by the number of operations, not by their work: one vector turns
zeroing, clipping and stepping into a handful, whatever the number of layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def flatten(network: nn.Module) -> Tensor:
    """Move all parameters into one vector, of which they become views, and return it."""
    vector = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    for p, view in zip(network.parameters(), _views(vector, network), strict=True):
        p.data = view
    return vector


def _views(vector: Tensor, network: nn.Module) -> list[Tensor]:
    """The parts of `vector` in the order and with the shapes of the parameters."""
    parameters = list(network.parameters())
    parts = vector.split([p.numel() for p in parameters])  # type: ignore[no-untyped-call]
    return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


class FlatAdam:
    """Adam (Kingma & Ba 2015) with clipping of the global gradient norm (Pascanu et al. 2013).

    The network's parameters become views of `vector`; load into them in place, never replace them.

    Args:
        network: its parameters must be float32 and on one device.
        learning_rate: step size; `step` may be given another.
        max_gradient_norm: gradients are scaled down to this L2 norm; None does not clip.
        eps: added to the denominator.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        max_gradient_norm: float | None,
        eps: float = 1e-5,
    ) -> None:
        self.vector = nn.Parameter(flatten(network))
        self._gradient = torch.zeros_like(self.vector)
        self.vector.grad = self._gradient
        for p, gradient in zip(network.parameters(), _views(self._gradient, network), strict=True):
            p.grad = gradient
        self._max_norm = max_gradient_norm
        self._adam = torch.optim.Adam([self.vector], lr=learning_rate, eps=eps, fused=True)

    def step(self, loss: Tensor, learning_rate: float | None = None) -> Tensor:
        """Descend `loss` once; returns the gradient's norm before clipping, a scalar tensor."""
        if learning_rate is not None:
            self._adam.param_groups[0]["lr"] = learning_rate
        gradient = self._gradient
        gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        norm: Tensor = torch.linalg.vector_norm(gradient)
        if self._max_norm is not None:
            gradient.mul_((self._max_norm / (norm + 1e-6)).clamp_(max=1.0))
        self._adam.step()
        return norm

    def state(self) -> dict[str, Tensor]:
        """Adam's moments and step count; empty before the first step."""
        moments = self._adam.state.get(self.vector, {})
        return {name: tensor.detach().clone() for name, tensor in moments.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        group = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": {0: state} if state else {}, "param_groups": group})
