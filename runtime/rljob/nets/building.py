"""Networks: one description, a numpy engine for acting, a torch module for learning.

Nothing here imports torch until a torch network is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rljob.envs.spaces import Spaces
from rljob.errors import InputError
from rljob.nets.acting import ActingNetworks, Engine
from rljob.nets.choice import BUILT_IN as BUILT_IN
from rljob.nets.choice import ChosenNetwork, built_in_name, choose
from rljob.nets.choice import resolve_network as resolve_network
from rljob.nets.configs import NetworkConfig
from rljob.nets.engines import engine_of
from rljob.nets.noisy import NoisyEngine
from rljob.nets.parts import Arrays

if TYPE_CHECKING:
    import torch

    from rljob.nets.head import Net
    from rljob.nets.torch_nets import Network, NetworkCopies
    from rljob.spec.sections import NamedNetworkSpec, NetworkSpec


def build_acting(
    spec: NetworkSpec,
    nets: Mapping[str, Net],
    spaces: Spaces,
    precision: str = "float32",
    named: Mapping[str, NamedNetworkSpec] | None = None,
) -> ActingNetworks:
    """For acting: numpy for a built-in network in float32, else torch on one thread.

    Args:
        spec: the job's `network`.
        nets: of the algorithm; only those that act are built.
        precision: what they compute in, `rollout.precision`.
        named: the job's `networks`.

    Raises:
        InputError: as `choose`, or because the user's network fails, or because the built-in
            one cannot use these observations, or torch is needed and not there.
    """
    chosen = choose(spec, nets, named)
    engines: dict[str, Engine] = {}
    for name, net in nets.items():
        if net.acts:
            with chosen[name].located():
                engine = _engine(chosen[name], net, spaces, precision)
                engines[name] = NoisyEngine(engine) if net.noise else engine
    return ActingNetworks(engines)


def _engine(chosen: ChosenNetwork, net: Net, spaces: Spaces, precision: str) -> Engine:
    network = chosen.network
    if isinstance(network, NetworkConfig):
        if precision == "float32":
            network.check(net, spaces.observation)
            make = engine_of(built_in_name(network))
            return make(network, net.inputs_of(spaces.observation), net.heads, net.acts)
        if network.remembers:
            raise _only_float32(chosen, precision, "rollout.precision")
        if find_spec("torch") is None:
            raise InputError(
                f'{precision} acts with torch, which is not installed; pip install "rljob[learner]"',
                path="rollout.precision",
            )
        # Of a built-in network, nothing else travels.
        net = replace(net, heads={head: net.heads[head] for head in net.acts})
    from rljob.nets import torch_nets
    from rljob.nets.torch_engine import TorchEngine

    one = {"net": chosen}, {"net": net}
    module: Any = torch_nets.build(*one, spaces.observation, 0, precision == "bfloat16")["net"]
    return TorchEngine(module, net.acts)


def _remembers(chosen: ChosenNetwork) -> bool:
    return isinstance(chosen.network, NetworkConfig) and chosen.network.remembers


def _only_float32(chosen: ChosenNetwork, precision: str, path: str) -> InputError:
    return InputError(
        f"{precision} is not possible with {chosen.label}, which has a memory; allowed is float32",
        path=path,
    )


def build_networks(
    spec: NetworkSpec,
    nets: Mapping[str, Net],
    spaces: Spaces,
    seed: int,
    precision: str = "float32",
    named: Mapping[str, NamedNetworkSpec] | None = None,
) -> dict[str, Network | NetworkCopies]:
    """For learning: torch modules from raw inputs `[B, ...]` to `{head: float32 [B, size]}`.

    Args:
        spec: the job's `network`.
        nets: of the algorithm; without any, torch is not imported.
        seed: of the weights.
        precision: what they compute in, `learner.precision`.
        named: the job's `networks`.

    Raises:
        InputError: as `build_acting`.
    """
    chosen = choose(spec, nets, named)
    if not nets:
        return {}
    for each in chosen.values():
        if precision != "float32" and _remembers(each):
            raise _only_float32(each, precision, "learner.precision")
    from rljob.nets import torch_nets

    return torch_nets.build(chosen, nets, spaces.observation, seed, precision == "bfloat16")


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
