"""A custom network: one body with two layers, and layer normalisation, for all heads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class NormedNet(nn.Module):
    """What `network.entryPoint` names.

    Args:
        observation_shape: of one encoded observation.
        heads: name and size of each output that the algorithm asks for.
        width: from `network.config`.
    """

    def __init__(
        self, observation_shape: tuple[int, ...], heads: Mapping[str, int], width: int = 64
    ) -> None:
        super().__init__()
        inputs = int(torch.Size(observation_shape).numel())
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU()
        )
        self.outputs = nn.ModuleDict({name: nn.Linear(width, size) for name, size in heads.items()})

    def forward(self, observation: Tensor) -> dict[str, Tensor]:
        features = self.body(observation)
        return {name: output(features) for name, output in self.outputs.items()}
