"""The network of candidates that the learner trains; `nets.candidates` describes it and acts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.candidates import candidates
from rljob.nets.configs import CandidatesConfig
from rljob.nets.torch_hidden import Hidden, linear

if TYPE_CHECKING:
    from rljob.nets.head import Head


class Candidates(nn.Module):
    """Layers for each candidate, pooling over them, layers behind it, and heads.

    Raises:
        InputError: as `nets.candidates.candidates`.
    """

    def __init__(
        self, config: CandidatesConfig, inputs: Sequence[Space], heads: Mapping[str, Head]
    ) -> None:
        super().__init__()
        rows, *others = inputs
        self._count, features = candidates(rows)
        behind = config.behind_pooling()
        self.each = Hidden(features + sum(map(encoded_size, others)), config)
        self._scored = [name for name, head in heads.items() if head.per_action]
        self._other_heads = [
            name for name, head in heads.items() if not (head.per_action or head.free)
        ]
        # Only what an output needs: else there were weights that nothing trains and nobody publishes.
        self.scores = self.pooled = None
        self.heads = nn.ModuleDict()
        if self._scored:
            self.scores = Hidden(3 * self.each.size, behind)
            for name in self._scored:
                self.heads[name] = linear(self.scores.size, 1, heads[name].gain, config.init)
        if self._other_heads:
            self.pooled = Hidden(2 * self.each.size, behind)
            for name in self._other_heads:
                head = heads[name]
                self.heads[name] = linear(self.pooled.size, head.size, head.gain, config.init)

    def forward(self, x: Tensor, *others: Tensor) -> dict[str, Tensor]:
        if others:
            x = torch.cat((x, self._for_each(torch.cat(others, dim=1))), dim=2)
        each = self.each(x)
        pooled = torch.cat((each.mean(dim=1), each.amax(dim=1)), dim=1)
        outputs = {}
        if self.scores is not None:
            joined = self.scores(torch.cat((each, self._for_each(pooled)), dim=2))
            outputs = {name: self.heads[name](joined).squeeze(-1) for name in self._scored}
        if self.pooled is not None:
            features = self.pooled(pooled)
            outputs |= {name: self.heads[name](features) for name in self._other_heads}
        return outputs

    def _for_each(self, x: Tensor) -> Tensor:
        """`[B, size]` for each candidate: `[B, K, size]`."""
        return x.unsqueeze(1).expand(-1, self._count, -1)

    def unused(self, acting_heads: Sequence[str]) -> tuple[str, ...]:
        """Prefixes of the tensors that these heads do not need."""
        names = tuple(f"heads.{name}." for name in self.heads if name not in acting_heads)
        acting = [name for name in self.heads if name in acting_heads]
        if not any(name in self._scored for name in acting):
            names += ("scores.",)
        if all(name in self._scored for name in acting):
            names += ("pooled.",)
        return names
