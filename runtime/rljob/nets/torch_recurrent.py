"""The networks with memory that the learner trains; `nets.recurrent` describes them and acts with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from rljob.envs.spaces import Space, encoded_size
from rljob.nets.configs import LSTMConfig, RecurrentConfig
from rljob.nets.recurrences import GRU_RECURRENCE, LSTM_RECURRENCE, Recurrence
from rljob.nets.torch_hidden import Hidden, linear

if TYPE_CHECKING:
    from rljob.nets.head import Head


class _Followed(torch.autograd.Function):
    """A recurrence in the memory of a CPU."""

    @staticmethod
    def forward(ctx: Any, recurrence: Recurrence, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        states, last, ctx.kept = recurrence.forward(*(each.numpy() for each in inputs))
        ctx.backward_of = recurrence.backward
        return torch.from_numpy(states), torch.from_numpy(last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.backward_of(ctx.kept, *(each.numpy() for each in gradients))
        new, core, weight, bias = (torch.from_numpy(each) for each in found)
        return None, new, core, None, weight, bias


class Recurrent(nn.Module):
    """Hidden layers, the memory and heads on it."""

    recurrence: ClassVar[Recurrence]

    def __init__(
        self, config: RecurrentConfig, inputs: Sequence[Space], heads: Mapping[str, Head]
    ) -> None:
        super().__init__()
        self.core_size, self._size = config.core_size, config.size
        self.hidden = Hidden(sum(map(encoded_size, inputs)), config)
        self.input = linear(self.hidden.size, config.parts * config.size, 1.0, config.init)
        self.memory = linear(config.size, config.parts * config.size, 1.0, config.init)
        self.heads = nn.ModuleDict(
            {
                name: linear(config.size, h.size, h.gain, config.init)
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
        x = self.input(self.hidden(x.flatten(2)))
        keeps = (~begins).unsqueeze(-1).to(x.dtype)
        along, last = self._follow(x, core[0], keeps)
        return {name: head(along) for name, head in self.heads.items()}, last[None]

    def _follow(self, new: Tensor, core: Tensor, keeps: Tensor) -> tuple[Tensor, Tensor]:
        """What heads see `[L, N, size]`, and the memory after the last row; see `recurrences`."""
        numpy = new.device.type == "cpu" and new.dtype == torch.float32
        # torch.export cannot look into numpy.
        if numpy and not torch.compiler.is_exporting():
            of_memory = self.memory.weight, self.memory.bias
            return _Followed.apply(self.recurrence, new, core, keeps, *of_memory)  # type: ignore[no-any-return]
        state, states = core.split(self._size, dim=-1), []  # type: ignore[no-untyped-call]
        for row, keep in zip(new, keeps, strict=True):
            state = self._step(row, [each * keep for each in state])
            states.append(state[0])
        return torch.stack(states), torch.cat(list(state), dim=-1)

    def _step(self, new: Tensor, state: Sequence[Tensor]) -> Sequence[Tensor]:
        """The memory after a step.

        Args:
            new: products with what came in, `[N, parts * size]`.
            state: the memory before it, each `[N, size]`; heads see the first.
        """
        raise NotImplementedError

    def unused(self, acting_heads: Sequence[str]) -> tuple[str, ...]:
        """Prefixes of the tensors that these heads do not need."""
        return tuple(f"heads.{name}." for name in self.heads if name not in acting_heads)


class GRU(Recurrent):
    """Gated recurrent unit."""

    recurrence = GRU_RECURRENCE

    def _step(self, new: Tensor, state: Sequence[Tensor]) -> Sequence[Tensor]:
        (h,), gates = state, 2 * self._size
        old = self.memory(h)
        reset, update = (new[:, :gates] + old[:, :gates]).sigmoid().chunk(2, dim=-1)
        candidate = (new[:, gates:] + reset * old[:, gates:]).tanh()
        return [torch.lerp(candidate, h, update)]


class LSTM(Recurrent):
    """Long short-term memory, which at first forgets little: see Jozefowicz et al. 2015."""

    recurrence = LSTM_RECURRENCE

    def __init__(
        self, config: LSTMConfig, inputs: Sequence[Space], heads: Mapping[str, Head]
    ) -> None:
        super().__init__(config, inputs, heads)
        nn.init.ones_(self.memory.bias[self._size : 2 * self._size])

    def _step(self, new: Tensor, state: Sequence[Tensor]) -> Sequence[Tensor]:
        h, cell = state
        enters, keeps, candidate, leaves = (new + self.memory(h)).chunk(4, dim=-1)
        cell = keeps.sigmoid() * cell + enters.sigmoid() * candidate.tanh()
        return [leaves.sigmoid() * cell.tanh(), cell]
