"""Networks: one description, a numpy engine for acting, a torch module for learning.

Nothing here imports torch until a torch network is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rljob.envs.spaces import Spaces
from rljob.errors import AskedToEnd, InputError
from rljob.nets.acting import ActingNetworks, Engine
from rljob.nets.cnn import CNNConfig, CNNEngine
from rljob.nets.gru import GRUConfig, GRUEngine
from rljob.nets.mlp import MLPConfig, MLPEngine
from rljob.nets.parts import Arrays, NetworkConfig
from rljob.spec.invalid import checked, nearest
from rljob.user_code.entry_point import load_entry_point
from rljob.user_code.failure import explain

if TYPE_CHECKING:
    import torch

    from rljob.nets.head import Net
    from rljob.nets.torch_nets import Network, NetworkCopies
    from rljob.spec.sections import NetworkSpec


BUILT_IN: dict[str, type[NetworkConfig]] = {"mlp": MLPConfig, "cnn": CNNConfig, "gru": GRUConfig}
"""Settings by name. `_ENGINES` has the acting side, `torch_nets` the learning side."""
_ENGINES: dict[type[NetworkConfig], Callable[..., Engine]] = {
    MLPConfig: MLPEngine,
    CNNConfig: CNNEngine,
    GRUConfig: GRUEngine,
}


@dataclass(frozen=True)
class ImportedNetwork:
    """A network of the user's own, from `network.entryPoint`.

    The factory is called with the shape of an encoded observation, the size of each output by name,
    and `network.config` as keyword arguments. It returns a `torch.nn.Module` that maps encoded
    observations, float32 `[B, *shape]`, to a dict with every output, `[B, size]`. A network with more
    inputs is called with those as well, encoded and flat, float32 `[B, size]` each.
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


def _resolve(spec: NetworkSpec, nets: Mapping[str, Net]) -> NetworkConfig | ImportedNetwork:
    """`resolve_network`, for these networks; InputError where they do not follow a memory that it has."""
    network = resolve_network(spec)
    remembers = isinstance(network, NetworkConfig) and network.remembers
    if remembers and not all(net.memory for net in nets.values()):
        others = [name for name, config in BUILT_IN.items() if not config.remembers]
        raise InputError(
            f"{spec.name} has a memory, which this algorithm does not learn with; allowed are {', '.join(others)}",
            path="network.name",
        )
    return network


def build_acting(
    spec: NetworkSpec, nets: Mapping[str, Net], spaces: Spaces, precision: str = "float32"
) -> ActingNetworks:
    """For acting: numpy for a built-in network in float32, else torch on one thread.

    Args:
        nets: of the algorithm; only those that act are built.
        precision: what they compute in, `rollout.precision`.

    Raises:
        InputError: as `resolve_network`, or because the user's network fails, or because the built-in
            one cannot use these observations, or torch is needed and not there.
    """
    acting = {name: net for name, net in nets.items() if net.acts}
    network = _resolve(spec, nets)
    if isinstance(network, NetworkConfig):
        if precision == "float32":
            make = _ENGINES[type(network)]
            return ActingNetworks(
                {
                    name: make(network, net.inputs_of(spaces.observation), net.heads, net.acts)
                    for name, net in acting.items()
                }
            )
        if network.remembers:
            raise InputError(
                f"{precision} is not possible with {spec.name}, which has a memory; allowed is float32",
                path="rollout.precision",
            )
        if find_spec("torch") is None:
            raise InputError(
                f'{precision} acts with torch, which is not installed; pip install "rljob[learner]"',
                path="rollout.precision",
            )
        # Of a built-in network, nothing else travels.
        acting = {
            name: replace(net, heads={head: net.heads[head] for head in net.acts})
            for name, net in acting.items()
        }
    if not acting:
        return ActingNetworks({})
    from rljob.nets import torch_nets

    modules: dict[str, Any] = dict(
        torch_nets.build(network, acting, spaces.observation, 0, precision == "bfloat16")
    )
    return ActingNetworks(
        {name: torch_nets.TorchEngine(modules[name], net.acts) for name, net in acting.items()}
    )


def build_networks(
    spec: NetworkSpec,
    nets: Mapping[str, Net],
    spaces: Spaces,
    seed: int,
    precision: str = "float32",
) -> dict[str, Network | NetworkCopies]:
    """For learning: torch modules from raw inputs `[B, ...]` to `{head: float32 [B, size]}`.

    Args:
        nets: of the algorithm; without any, torch is not imported.
        seed: of the weights.
        precision: what they compute in, `learner.precision`.

    Raises:
        InputError: as `build_acting`.
    """
    network = _resolve(spec, nets)
    if not nets:
        return {}
    from rljob.nets import torch_nets

    return torch_nets.build(network, nets, spaces.observation, seed, precision == "bfloat16")


def export(
    networks: Mapping[str, torch.nn.Module], nets: Mapping[str, Net], copy: bool = True
) -> Arrays:
    """The tensors that `ActingNetworks.load` takes.

    Args:
        copy: whether they stay as they are; else they may change with the next update.
    """
    if not networks:
        return {}
    from rljob.nets import torch_nets

    return torch_nets.export(networks, nets, copy)
