"""The network with memory that the learner trains; `nets.gru` describes it and acts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.gru import GRUConfig
from rljob.nets.torch_hidden import Hidden, linear

if TYPE_CHECKING:
    from rljob.nets.head import Head


class GRU(nn.Module):
    """Hidden layers, the memory and heads on it."""

    def __init__(
        self, config: GRUConfig, inputs: Sequence[Space], heads: Mapping[str, Head]
    ) -> None:
        super().__init__()
        self.core_size = size = config.size
        self.hidden = Hidden(sum(map(encoded_size, inputs)), config)
        self.input = linear(self.hidden.size, 3 * size, 1.0, config.init)
        self.memory = linear(size, 3 * size, 1.0, config.init)
        self.heads = nn.ModuleDict(
            {
                name: linear(size, h.size, h.gain, config.init)
                for name, h in heads.items()
                if not h.free
            }
        )

    def forward(self, x: Tensor, *others: Tensor) -> dict[str, Tensor]:
        """One step `[B, ...]` from an empty memory."""
        x = torch.cat((x.flatten(1), *others), dim=1)
        core = x.new_zeros(1, len(x), self.core_size)
        begins = torch.zeros(1, len(x), dtype=torch.bool, device=x.device)
        outputs, _ = self.unroll(x[None], core, begins)
        return {name: output[0] for name, output in outputs.items()}

    def unroll(self, x: Tensor, core: Tensor, begins: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Along time.

        Args:
            x: `[L, N, *encoded_shape]`.
            core: `[1, N, core_size]`, the memory before the first row.
            begins: bool `[L, N]`, where the memory is empty.

        Returns:
            Outputs `[L, N, size]`, and the memory after the last row.
        """
        x = self.hidden(x.flatten(2))
        size, h, states = self.core_size, core[0], []
        keeps = (~begins).unsqueeze(-1).to(x.dtype)
        for new, keep in zip(self.input(x), keeps, strict=True):
            h = h * keep
            old = self.memory(h)
            reset, update = (new[:, : 2 * size] + old[:, : 2 * size]).sigmoid().chunk(2, dim=-1)
            candidate = (new[:, 2 * size :] + reset * old[:, 2 * size :]).tanh()
            h = torch.lerp(candidate, h, update)
            states.append(h)
        along = torch.stack(states)
        return {name: head(along) for name, head in self.heads.items()}, h[None]

    def unused(self, acting_heads: Sequence[str]) -> tuple[str, ...]:
        """Prefixes of the tensors that these heads do not need."""
        return tuple(f"heads.{name}." for name in self.heads if name not in acting_heads)
