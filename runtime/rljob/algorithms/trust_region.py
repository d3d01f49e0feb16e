"""A step within a trust region (Schulman et al. 2015, https://arxiv.org/abs/1502.05477, appendix C).

The natural gradient `F⁻¹ g` is found by conjugate gradients, which need the products of the Fisher matrix `F` with
vectors alone. `F` is the second derivative of the KL divergence from the policy before: each product is one more
pass through the gradient of the divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

RESIDUAL = 1e-10
"""Squared norm of what is left at which conjugate gradients end."""


class Objective(NamedTuple):
    """Scalars of a policy: `gain` is to ascend, `divergence` (nats) is how far it is from the policy before."""

    gain: Tensor
    divergence: Tensor


class PolicyStep(NamedTuple):
    """What one step did.

    Attributes:
        before: the gain before it.
        after: the gain after it.
        divergence: between the two policies, nats.
        scale: share of the full step that was made; 0 where none of those tried was good.
        gradient_norm: L2 norm of the gain's gradient.
    """

    before: float
    after: float
    divergence: float
    scale: float
    gradient_norm: float


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], goal: Tensor, iterations: int
) -> Tensor:
    """An `x [P]` with `product(x)` near `goal [P]`, for a product with a symmetric positive matrix.

    (Hestenes & Stiefel 1952, https://doi.org/10.6028/jres.049.044.)
    """
    x, residual = goal.new_zeros(goal.shape), goal.clone()
    direction, left = residual.clone(), residual.dot(residual)
    for _ in range(iterations):
        if left < RESIDUAL:
            break
        image = product(direction)
        size = left / direction.dot(image)
        x += size * direction
        residual -= size * image
        now = residual.dot(residual)
        direction = residual + (now / left) * direction
        left = now
    return x


def ascend(
    objective: Callable[[], Objective],
    parameters: Sequence[Tensor],
    *,
    limit: float,
    iterations: int,
    damping: float,
    tries: int,
    shrink: float,
) -> PolicyStep:
    """Move the parameters along the natural gradient, as far as the divergence allows and the gain grows.

    Args:
        objective: of the parameters' present values, differentiable; a divergence of 0 before the step.
        parameters: changed in place; they stay as they are where no step that is tried is good.
        limit: largest divergence, nats.
        iterations: of conjugate gradients.
        damping: added to the diagonal of the Fisher matrix.
        tries: steps tried, each `shrink` times the one before.
        shrink: below 1.
    """
    import torch

    gain, divergence = objective()
    gradient = _flat(
        torch.autograd.grad(gain, parameters, retain_graph=True, materialize_grads=True)
    )
    slope = _flat(
        torch.autograd.grad(divergence, parameters, create_graph=True, materialize_grads=True)
    )

    def product(vector: Tensor) -> Tensor:
        along = torch.autograd.grad(
            slope.dot(vector), parameters, retain_graph=True, materialize_grads=True
        )
        return _flat(along) + damping * vector

    direction = conjugate_gradients(product, gradient, iterations)
    curvature = float(direction.dot(product(direction)))
    start, norm = float(gain.detach()), float(gradient.norm())
    with torch.no_grad():
        before = [parameter.clone() for parameter in parameters]
        # Without a gradient there is no direction; its step would be 0 / 0.
        length = math.sqrt(2 * limit / curvature) if curvature > 0 else 0.0
        for attempt in range(tries if length else 0):
            scale = shrink**attempt
            _move(parameters, before, scale * length * direction)
            after, moved = (float(each) for each in objective())
            if after > start and moved <= limit:
                return PolicyStep(start, after, moved, scale, norm)
        for parameter, old in zip(parameters, before, strict=True):
            parameter.copy_(old)
    return PolicyStep(start, start, 0.0, 0.0, norm)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    import torch

    return torch.cat([each.reshape(-1) for each in tensors])


def _move(parameters: Sequence[Tensor], before: Sequence[Tensor], step: Tensor) -> None:
    parts = step.split([each.numel() for each in parameters])  # type: ignore[no-untyped-call]
    for parameter, old, part in zip(parameters, before, parts, strict=True):
        parameter.copy_(old + part.view_as(old))
