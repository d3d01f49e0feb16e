"""The networks that the learner trains.

`Network` is encoder, body and free heads: raw inputs `[B, ...]` to `{head: float32 [B, size]}`.
The body is one of rljob's own or what the user's `network.entryPoint` made; it sees encoded float32
inputs: the first `[B, *encoded_shape]`, the others flat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rljob.envs.spaces import BoxSpace, DiscreteSpace, Space, encode, encoded_shape, encoded_size
from rljob.errors import AskedToEnd, InputError
from rljob.nets.acting import OF_NETWORK
from rljob.nets.cnn_shapes import channels_first
from rljob.nets.configs import (
    CandidatesConfig,
    CNNConfig,
    GRUConfig,
    LSTMConfig,
    MLPConfig,
    NetworkConfig,
)
from rljob.nets.parts import Arrays, Normalisation
from rljob.nets.torch_candidates import Candidates
from rljob.nets.torch_cnn import CNN
from rljob.nets.torch_mlp import MLP
from rljob.nets.torch_noisy import add_scales
from rljob.nets.torch_recurrent import GRU, LSTM, Recurrent
from rljob.user_code.failure import explain

if TYPE_CHECKING:
    from rljob.nets.choice import ChosenNetwork, ImportedNetwork
    from rljob.nets.head import Head, Net

R = TypeVar("R")

_BODIES: dict[type[NetworkConfig], Callable[..., MLP | CNN | Recurrent | Candidates]] = {
    MLPConfig: MLP,
    CNNConfig: CNN,
    GRUConfig: GRU,
    LSTMConfig: LSTM,
    CandidatesConfig: Candidates,
}


class Encoder(nn.Module):
    """`spaces.encode`, then `(x - mean) / std` within `±limit`; changes nothing until told.

    Args:
        space: of what is encoded.
        pixels_together: `[B, channels, height, width]` lies in memory as convolutions of a CPU like it:
            the channels of a pixel side by side.
    """

    mean: Tensor
    std: Tensor
    limit: Tensor

    def __init__(self, space: Space, pixels_together: bool = False) -> None:
        super().__init__()
        self._space = space
        self._format = torch.channels_last if pixels_together else torch.contiguous_format
        shape = encoded_shape(self._space)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self.register_buffer("limit", torch.tensor(torch.inf))
        self._normalises = False
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda module, _: module._look()
        )

    def normalise(self, mean: np.ndarray, std: np.ndarray, limit: float) -> None:
        """Subtract `mean`, divide by `std` (both `[*encoded_shape]`), keep within `±limit`."""
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(std))
        self.limit.fill_(limit)
        self._look()

    def _look(self) -> None:
        # The check saves three passes over every pixel. At every call it would wait for a GPU.
        changes = self.mean.any() | (self.std != 1).any() | torch.isfinite(self.limit)
        self._normalises = bool(changes)

    def forward(self, observation: Tensor) -> Tensor:
        x = _encode(self._space, observation.contiguous(memory_format=self._format))
        if not self._normalises:
            return x
        return ((x - self.mean) / self.std).clamp(-self.limit, self.limit)

    def encode(self, observation: np.ndarray) -> np.ndarray:
        """The same by numpy, flat: float32 `[B, encoded_size]`; for an encoder in a CPU's memory."""
        x = encode(self._space, observation)
        if self._normalises:
            x = Normalisation(self.mean.numpy(), self.std.numpy(), self.limit.numpy())(x)
        return x.reshape(len(x), -1)


def _encode(space: Any, observation: Tensor) -> Tensor:
    if isinstance(space, BoxSpace):
        x = observation.float()
        return x.div_(255) if space.image else x
    if isinstance(space, DiscreteSpace):
        return nn.functional.one_hot(observation.long(), space.n).float()
    parts = observation.long().unbind(-1)
    one_hot = [nn.functional.one_hot(p, n) for p, n in zip(parts, space.nvec, strict=True)]
    return torch.cat(one_hot, dim=-1).float()


class RatedModule(nn.Module):
    """A network that may have a learning rate of its own.

    Attributes:
        learning_rate: schedule of the job's `networks.NAME.learningRate`; None where it has none.
    """

    learning_rate: Any = None

    def rate(self, default: R) -> R:
        """The network's own schedule, or else the algorithm's."""
        return default if self.learning_rate is None else self.learning_rate


class Network(RatedModule):
    """Raw inputs `[B, ...]` to `{head: float32 [B, size]}`; free heads are its own.

    Args:
        encoder: of the first input.
        others: spaces of the other inputs.
        body: from encoded inputs to heads.
        free: sizes of the free heads.

    Attributes:
        half_precision: whether the body computes in bfloat16, with weights that stay float32.
    """

    def __init__(
        self, encoder: Encoder, others: Sequence[Space], body: nn.Module, free: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.half_precision = False
        self.encoder = encoder
        self._others = tuple(others)
        self.body = body
        self.free = nn.ParameterDict({name: torch.zeros(n) for name, n in free.items()})

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self.encoder.mean.device

    @property
    def core_size(self) -> int:
        """Numbers that it remembers of each environment; 0 without memory."""
        return self.body.core_size if isinstance(self.body, Recurrent) else 0

    def unroll(
        self, observation: Tensor, begins: Tensor, core: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Along time, with or without memory.

        Args:
            observation: `[L, N, ...]`.
            begins: bool `[L, N]`, where an episode begins; see `torch_batch.begins`.
            core: `[1, N, core_size]`, the memory before the first row; empty by default.

        Returns:
            Outputs `{head: float32 [L, N, size]}`, and the memory after the last row.
        """
        shape = observation.shape[:2]
        if not isinstance(self.body, Recurrent):
            flat = self(observation.flatten(0, 1))
            return {name: output.unflatten(0, shape) for name, output in flat.items()}, core
        x = self.encoder(observation.flatten(0, 1)).unflatten(0, shape)
        if core is None:
            core = x.new_zeros(1, shape[1], self.core_size)
        outputs, core = self.body.unroll(x, core, begins)
        for name, values in self.free.items():
            outputs[name] = values.expand(*shape, -1)
        return outputs, core

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        x = [self.encoder(inputs[0])]
        for space, each in zip(self._others, inputs[1:], strict=True):
            x.append(_encode(space, each).reshape(each.shape[0], encoded_size(space)))
        outputs: dict[str, Tensor]
        if self.half_precision:
            with torch.autocast(x[0].device.type, torch.bfloat16):
                outputs = {name: output.float() for name, output in self.body(*x).items()}
        else:
            outputs = self.body(*x)
        for name, values in self.free.items():
            outputs[name] = values.expand(x[0].shape[0], -1)
        return outputs


class NetworkCopies(RatedModule):
    """Independent networks of one form, called as one: outputs are `[copies, B, size]`."""

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        found = [network(*inputs) for network in self.networks]
        return {name: torch.stack([outputs[name] for outputs in found]) for name in found[0]}


def build(
    chosen: Mapping[str, ChosenNetwork],
    nets: Mapping[str, Net],
    observation: Space,
    seed: int,
    half_precision: bool = False,
) -> dict[str, Network | NetworkCopies]:
    """Networks with weights drawn from `seed`; see `nets.build_networks`."""
    built: dict[str, Network | NetworkCopies] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, net in nets.items():
            with chosen[name].located():
                network = chosen[name].network
                copies = [_build(network, net, observation) for _ in range(net.copies)]
            for each in copies:
                each.half_precision = half_precision
            built[name] = NetworkCopies(copies) if net.copies > 1 else copies[0]
    return built


def _build(network: NetworkConfig | ImportedNetwork, net: Net, observation: Space) -> Network:
    first, *others = inputs = net.inputs_of(observation)
    if isinstance(network, NetworkConfig):
        network.check(net, observation)
        body: Any = _BODIES[type(network)](network, inputs, net.heads)
    else:
        sizes = {name: head.size for name, head in net.heads.items() if not head.free}
        body = network.make(encoded_shape(first), sizes)
        _check(body, network.entry_point, inputs, net.heads)
    if net.noise:
        add_scales(body, net.noise)
    free = {name: head.size for name, head in net.heads.items() if head.free}
    pixels_together = isinstance(body, CNN) and channels_first(first)
    return Network(Encoder(first, pixels_together), others, body, free)


def _check(body: Any, entry_point: str, inputs: Sequence[Space], heads: Mapping[str, Head]) -> None:
    """The user's network must be a module that maps a batch to every head."""

    def wrong(what: str) -> InputError:
        return InputError(f"{entry_point}: {what}", path="network.entryPoint")

    if not isinstance(body, nn.Module):
        raise wrong(f"returned {type(body).__name__}, expected a torch.nn.Module")
    if any(p.dtype != torch.float32 for p in body.parameters()):
        raise wrong("has parameters that are not float32")
    rows = 2
    shape = encoded_shape(inputs[0])
    zeros = [torch.zeros(rows, *shape), *(torch.zeros(rows, encoded_size(s)) for s in inputs[1:])]
    training = body.training
    try:
        with torch.no_grad():
            outputs = body.eval()(*zeros)
    except AskedToEnd:
        raise
    except BaseException as error:
        raise wrong(f"raised on a batch of shape {[rows, *shape]}: {explain(error)}") from error
    body.train(training)
    for name, head in heads.items():
        if head.free:
            continue
        found = outputs.get(name) if isinstance(outputs, Mapping) else None
        if not isinstance(found, Tensor) or found.shape != (rows, head.size):
            got = list(found.shape) if isinstance(found, Tensor) else "nothing"
            raise wrong(f"must return a dict with {name!r} of shape [B, {head.size}], gave {got}")


def export(networks: Mapping[str, nn.Module], nets: Mapping[str, Net], copy: bool = True) -> Arrays:
    """The tensors that acting needs; see `nets.export`."""
    arrays: Arrays = {}
    for network, net in nets.items():
        module = networks[network]
        body = getattr(module, "body", None)
        unused = (
            body.unused(net.acts) if isinstance(body, MLP | CNN | Recurrent | Candidates) else ()
        )
        skipped = tuple(f"body.{name}" for name in unused)
        for name, tensor in module.state_dict().items() if net.acts else ():
            if not name.startswith(skipped):
                array = tensor.cpu().numpy()
                arrays[f"{network}{OF_NETWORK}{name}"] = array.copy() if copy else array
    return arrays
