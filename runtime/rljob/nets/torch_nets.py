"""The networks that the learner trains, and acting with a network that only torch can run.

`Network` is encoder, body and free heads: raw observations `[B, ...]` to `{head: float32 [B, size]}`.
The body is rljob's own MLP or what the user's `network.entryPoint` made; it sees encoded float32
observations `[B, *encoded_shape]`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rljob.errors import InputError, RunError
from rljob.nets.mlp import Arrays, MLPConfig, group_by_trunk
from rljob.spaces import BoxSpace, DiscreteSpace, Spaces, encoded_shape, encoded_size

if TYPE_CHECKING:
    from rljob.algorithms.base import Head
    from rljob.nets import ImportedNetwork


class Encoder(nn.Module):
    """`spaces.encode`, then `(x - mean) / std` within `±limit`; changes nothing until told."""

    mean: Tensor
    std: Tensor
    limit: Tensor

    def __init__(self, spaces: Spaces) -> None:
        super().__init__()
        self._space = spaces.observation
        shape = encoded_shape(self._space)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self.register_buffer("limit", torch.tensor(torch.inf))

    def normalise(self, mean: np.ndarray, std: np.ndarray, limit: float) -> None:
        """Subtract `mean`, divide by `std` (both `[*encoded_shape]`), keep within `±limit`."""
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(std))
        self.limit.fill_(limit)

    def forward(self, observation: Tensor) -> Tensor:
        x = (_encode(self._space, observation) - self.mean) / self.std
        return x.clamp(-self.limit, self.limit)


def _encode(space: Any, observation: Tensor) -> Tensor:
    if isinstance(space, BoxSpace):
        x = observation.float()
        return x / 255 if space.image else x
    if isinstance(space, DiscreteSpace):
        return nn.functional.one_hot(observation.long(), space.n).float()
    parts = observation.long().unbind(-1)
    one_hot = [nn.functional.one_hot(p, n) for p, n in zip(parts, space.nvec, strict=True)]
    return torch.cat(one_hot, dim=-1).float()


class _Tanh(torch.autograd.Function):
    """tanh computed by numpy, which needs a tenth of the time of torch's on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.from_numpy(np.tanh(x.numpy()))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradients[0], y)  # type: ignore[no-any-return]


def _tanh(x: Tensor) -> Tensor:
    if x.device.type == "cpu" and x.dtype == torch.float32:
        return _Tanh.apply(x)  # type: ignore[no-any-return]
    return torch.tanh(x)


class MLP(nn.Module):
    """Trunks of hidden layers with heads on them; orthogonal weights, zero biases."""

    def __init__(self, config: MLPConfig, inputs: int, heads: Mapping[str, Head]) -> None:
        super().__init__()
        self.groups = group_by_trunk(heads, config.shared)
        self._activate = _tanh if config.activation == "tanh" else torch.relu
        widths = (inputs, *config.hidden)
        self.trunks = nn.ModuleDict(
            {
                trunk: nn.ModuleList(
                    _linear(fan_in, out, 2**0.5) for fan_in, out in itertools.pairwise(widths)
                )
                for trunk in self.groups
            }
        )
        # Plain lists: indexing a ModuleDict costs more than a small layer.
        self._layers = {trunk: list(layers.children()) for trunk, layers in self.trunks.items()}
        self.heads = nn.ModuleDict(
            {
                name: _linear(widths[-1], heads[name].size, heads[name].gain)
                for names in self.groups.values()
                for name in names
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = x.reshape(len(x), -1)
        outputs = {}
        for trunk, names in self.groups.items():
            h = x
            for layer in self._layers[trunk]:
                h = self._activate(layer(h))
            for name in names:
                outputs[name] = self.heads[name](h)
        return outputs


def _linear(fan_in: int, out: int, gain: float) -> nn.Linear:
    layer = nn.Linear(fan_in, out)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Network(nn.Module):
    """Raw observations `[B, ...]` to `{head: float32 [B, size]}`; free heads are its own."""

    def __init__(self, encoder: Encoder, body: nn.Module, free: Mapping[str, int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.body = body
        self.free = nn.ParameterDict({name: torch.zeros(n) for name, n in free.items()})

    def forward(self, observation: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.body(self.encoder(observation))
        for name, values in self.free.items():
            outputs[name] = values.expand(len(observation), -1)
        return outputs


def build(
    network: MLPConfig | ImportedNetwork, spaces: Spaces, heads: Mapping[str, Head], seed: int
) -> Network:
    """A network with weights drawn from `seed`; see `nets.build_module`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(network, MLPConfig):
            body: Any = MLP(network, encoded_size(spaces.observation), heads)
        else:
            body = network.make(
                encoded_shape(spaces.observation),
                {name: head.size for name, head in heads.items() if not head.free},
            )
            _check(body, network.entry_point, encoded_shape(spaces.observation), heads)
        free = {name: head.size for name, head in heads.items() if head.free}
        return Network(Encoder(spaces), body, free)


def _check(body: Any, entry_point: str, shape: tuple[int, ...], heads: Mapping[str, Head]) -> None:
    """The user's network must be a module that maps a batch to every head."""

    def wrong(what: str) -> InputError:
        return InputError(f"{entry_point}: {what}", path="network.entryPoint")

    if not isinstance(body, nn.Module):
        raise wrong(f"returned {type(body).__name__}, expected a torch.nn.Module")
    if any(p.dtype != torch.float32 for p in body.parameters()):
        raise wrong("has parameters that are not float32")
    rows = 2
    training = body.training
    try:
        with torch.no_grad():
            outputs = body.eval()(torch.zeros(rows, *shape))
    except Exception as error:
        raise wrong(f"failed on a batch of shape {[rows, *shape]}: {error}") from error
    body.train(training)
    for name, head in heads.items():
        if head.free:
            continue
        found = outputs.get(name) if isinstance(outputs, Mapping) else None
        if not isinstance(found, Tensor) or found.shape != (rows, head.size):
            got = list(found.shape) if isinstance(found, Tensor) else "nothing"
            raise wrong(f"must return a dict with {name!r} of shape [B, {head.size}], gave {got}")


def export(module: nn.Module, acting_heads: Sequence[str]) -> Arrays:
    """Copies of the tensors that an engine with these acting heads loads."""
    unused: tuple[str, ...] = ()
    body = getattr(module, "body", None)
    if isinstance(body, MLP):
        for trunk, names in body.groups.items():
            if not set(names) & set(acting_heads):
                unused += (f"body.trunks.{trunk}.",)
            unused += tuple(f"body.heads.{name}." for name in names if name not in acting_heads)
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in module.state_dict().items()
        if not name.startswith(unused)
    }


class TorchEngine:
    """Acts with any torch network on one CPU thread; the counterpart of `NumpyEngine`."""

    def __init__(self, module: Network, acting_heads: Sequence[str]) -> None:
        torch.set_num_threads(1)
        self._module = module.eval().requires_grad_(False)
        self._heads = tuple(acting_heads)

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Use these weights from the next call on.

        Raises:
            RunError: naming tensors that are missing, unknown, or of the wrong shape.
        """
        try:
            self._module.load_state_dict(
                {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
            )
        except RuntimeError as error:
            raise RunError(f"weights do not fit the network: {error}") from error

    def __call__(self, observation: np.ndarray) -> Arrays:
        with torch.inference_mode():
            outputs = self._module(torch.from_numpy(observation))
        return {name: outputs[name].numpy() for name in self._heads}
