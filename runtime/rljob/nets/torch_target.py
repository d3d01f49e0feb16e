"""A network that follows another one (Mnih et al. 2015, https://doi.org/10.1038/nature14236)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class Target:
    """A copy of `source` that changes only by `follow`; called like it, without gradients.

    Attributes:
        network: the copy.
    """

    def __init__(self, source: nn.Module) -> None:
        self._source = source
        self.network: Any = copy.deepcopy(source).requires_grad_(False)

    @torch.no_grad()
    def __call__(self, *inputs: torch.Tensor) -> Any:
        return self.network(*inputs)

    @torch.no_grad()
    def follow(self, tau: float = 1.0) -> None:
        """Mix the share `tau` of the source's parameters into the copy's; 1 copies them."""
        torch._foreach_lerp_(list(self.network.parameters()), list(self._source.parameters()), tau)
        for mine, theirs in zip(self.network.buffers(), self._source.buffers(), strict=True):
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.network.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state)
