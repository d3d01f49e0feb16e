"""Networks: one description, a numpy engine for acting, a torch module for learning.

Nothing here imports torch until a torch network is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from rljob.envs.spaces import Spaces
from rljob.errors import AskedToEnd, InputError
from rljob.nets.cnn import CNNConfig, CNNEngine
from rljob.nets.mlp import MLPConfig, MLPEngine
from rljob.nets.parts import Arrays, NetworkConfig
from rljob.spec.invalid import checked, nearest
from rljob.user_code.entry_point import load_entry_point
from rljob.user_code.failure import explain

if TYPE_CHECKING:
    import numpy as np
    import torch

    from rljob.nets.head import Head
    from rljob.nets.torch_nets import Network
    from rljob.spec.sections import NetworkSpec


class Engine(Protocol):
    """A policy version as a function: observations `[N, ...]` to `{head: float32 [N, size]}`.

    A result is valid until the next call.
    """

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Use these weights from the next call on; RunError when they do not fit."""
        ...

    def __call__(self, observation: np.ndarray) -> Arrays: ...


BUILT_IN: dict[str, type[NetworkConfig]] = {"mlp": MLPConfig, "cnn": CNNConfig}
"""Settings by name. `_ENGINES` has the acting side, `torch_nets` the learning side."""
_ENGINES: dict[type[NetworkConfig], Callable[..., Engine]] = {
    MLPConfig: MLPEngine,
    CNNConfig: CNNEngine,
}


@dataclass(frozen=True)
class ImportedNetwork:
    """A network of the user's own, from `network.entryPoint`.

    The factory is called with the shape of an encoded observation, the size of each output by name,
    and `network.config` as keyword arguments. It returns a `torch.nn.Module` that maps encoded
    observations, float32 `[B, *shape]`, to a dict with every output, `[B, size]`.
    """

    entry_point: str
    factory: Any
    config: Mapping[str, Any]

    def make(self, observation_shape: tuple[int, ...], heads: Mapping[str, int]) -> Any:
        """Call the factory; raises InputError with path `network` when it fails."""
        try:
            return self.factory(observation_shape, heads, **self.config)
        except AskedToEnd:
            raise
        except BaseException as error:
            raise InputError(
                f"{self.entry_point} raised {explain(error)}", path="network"
            ) from error


def resolve_network(spec: NetworkSpec) -> NetworkConfig | ImportedNetwork:
    """The network that a job names, its settings checked.

    Raises:
        InputError: unknown name or setting, or an import path that leads nowhere.
    """
    if spec.entry_point is not None:
        factory = load_entry_point(spec.entry_point, "network.entryPoint")
        return ImportedNetwork(spec.entry_point, factory, spec.config)
    name = spec.name or "mlp"
    if name not in BUILT_IN:
        near = nearest(name, list(BUILT_IN))
        hint = f" Did you mean {near}?" if near else ""
        known = ", ".join(BUILT_IN)
        raise InputError(f"unknown network {name}.{hint} Known: {known}", path="network.name")
    return checked(BUILT_IN[name], spec.config, path="network.config", label=name)


def build_engine(
    spec: NetworkSpec,
    spaces: Spaces,
    heads: Mapping[str, Head],
    acting_heads: Sequence[str],
    precision: str = "float32",
) -> Engine:
    """For acting: numpy for a built-in network in float32, else torch on one thread.

    Args:
        precision: what it computes in, `rollout.precision`.

    Raises:
        InputError: as `resolve_network`, or because the user's network fails, or because the built-in
            one cannot use these observations, or torch is needed and not there.
    """
    network = resolve_network(spec)
    if isinstance(network, NetworkConfig):
        if precision == "float32":
            return _ENGINES[type(network)](network, spaces, heads, acting_heads)
        if find_spec("torch") is None:
            raise InputError(
                f'{precision} acts with torch, which is not installed; pip install "rljob[learner]"',
                path="rollout.precision",
            )
        # Of a built-in network, nothing else travels.
        heads = {name: heads[name] for name in acting_heads}
    from rljob.nets import torch_nets

    module = torch_nets.build(network, spaces, heads, seed=0)
    module.half_precision = precision == "bfloat16"
    return torch_nets.TorchEngine(module, acting_heads)


def build_module(
    spec: NetworkSpec,
    spaces: Spaces,
    heads: Mapping[str, Head],
    seed: int,
    precision: str = "float32",
) -> Network:
    """For learning: a torch module from raw observations `[B, ...]` to `{head: float32 [B, size]}`.

    Args:
        seed: of the weights.
        precision: what it computes in, `learner.precision`.

    Raises:
        InputError: as `build_engine`.
    """
    from rljob.nets import torch_nets

    module = torch_nets.build(resolve_network(spec), spaces, heads, seed)
    module.half_precision = precision == "bfloat16"
    return module


def export(module: torch.nn.Module, acting_heads: Sequence[str], copy: bool = True) -> Arrays:
    """The tensors that `Engine.load` takes.

    Args:
        copy: whether they stay as they are; else they may change with the next update.
    """
    from rljob.nets import torch_nets

    return torch_nets.export(module, acting_heads, copy)
