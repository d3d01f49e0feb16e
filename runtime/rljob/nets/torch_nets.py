"""The networks that the learner trains, and acting with a network that only torch can run.

`Network` is encoder, body and free heads: raw observations `[B, ...]` to `{head: float32 [B, size]}`.
The body is one of rljob's own or what the user's `network.entryPoint` made; it sees encoded float32
observations `[B, *encoded_shape]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces, encode, encoded_shape
from rljob.errors import AskedToEnd, InputError, RunError
from rljob.nets.cnn import CNNConfig, channels_first
from rljob.nets.mlp import MLPConfig
from rljob.nets.parts import Arrays, NetworkConfig, Normalisation
from rljob.nets.torch_cnn import CNN
from rljob.nets.torch_mlp import MLP
from rljob.user_code.failure import explain

if TYPE_CHECKING:
    from rljob.nets import ImportedNetwork
    from rljob.nets.head import Head

_BODIES: dict[type[NetworkConfig], Callable[..., MLP | CNN]] = {MLPConfig: MLP, CNNConfig: CNN}


class Encoder(nn.Module):
    """`spaces.encode`, then `(x - mean) / std` within `±limit`; changes nothing until told.

    Args:
        spaces: whose observations are encoded.
        pixels_together: `[B, channels, height, width]` lies in memory as convolutions of a CPU like it:
            the channels of a pixel side by side.
    """

    mean: Tensor
    std: Tensor
    limit: Tensor

    def __init__(self, spaces: Spaces, pixels_together: bool = False) -> None:
        super().__init__()
        self._space = spaces.observation
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


class Network(nn.Module):
    """Raw observations `[B, ...]` to `{head: float32 [B, size]}`; free heads are its own.

    Attributes:
        half_precision: whether the body computes in bfloat16, with weights that stay float32.
    """

    def __init__(self, encoder: Encoder, body: nn.Module, free: Mapping[str, int]) -> None:
        super().__init__()
        self.half_precision = False
        self.encoder = encoder
        self.body = body
        self.free = nn.ParameterDict({name: torch.zeros(n) for name, n in free.items()})

    def forward(self, observation: Tensor) -> dict[str, Tensor]:
        x = self.encoder(observation)
        outputs: dict[str, Tensor]
        if self.half_precision:
            with torch.autocast(x.device.type, torch.bfloat16):
                outputs = {name: output.float() for name, output in self.body(x).items()}
        else:
            outputs = self.body(x)
        for name, values in self.free.items():
            outputs[name] = values.expand(len(observation), -1)
        return outputs


def build(
    network: NetworkConfig | ImportedNetwork,
    spaces: Spaces,
    heads: Mapping[str, Head],
    seed: int,
) -> Network:
    """A network with weights drawn from `seed`; see `nets.build_module`."""
    space = spaces.observation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(network, NetworkConfig):
            body: Any = _BODIES[type(network)](network, space, heads)
        else:
            sizes = {name: head.size for name, head in heads.items() if not head.free}
            body = network.make(encoded_shape(space), sizes)
            _check(body, network.entry_point, encoded_shape(space), heads)
        free = {name: head.size for name, head in heads.items() if head.free}
        pixels_together = isinstance(body, CNN) and channels_first(space)
        return Network(Encoder(spaces, pixels_together), body, free)


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


def export(module: nn.Module, acting_heads: Sequence[str], copy: bool = True) -> Arrays:
    """The tensors that an engine with these acting heads loads; see `nets.export`."""
    body = getattr(module, "body", None)
    unused = body.unused(acting_heads) if isinstance(body, MLP | CNN) else ()
    skipped = tuple(f"body.{name}" for name in unused)
    arrays = {
        name: tensor.cpu().numpy()
        for name, tensor in module.state_dict().items()
        if not name.startswith(skipped)
    }
    return {name: array.copy() for name, array in arrays.items()} if copy else arrays


class TorchEngine:
    """Acts with any torch network on one CPU thread, in its precision; the counterpart of the numpy engines."""

    def __init__(self, module: Network, acting_heads: Sequence[str]) -> None:
        torch.set_num_threads(1)
        self._module = module.eval().requires_grad_(False)
        if module.half_precision:
            # Else its weights would be converted at every call.
            module.body.to(torch.bfloat16)
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
