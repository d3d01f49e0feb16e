"""Which network each of an algorithm's networks is: `spec.network`, and the differences in `spec.networks`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rljob.errors import AskedToEnd, InputError
from rljob.nets.configs import (
    CandidatesConfig,
    CNNConfig,
    GRUConfig,
    LSTMConfig,
    MLPConfig,
    NetworkConfig,
)
from rljob.spec.invalid import Invalid, checked, nearest
from rljob.user_code.entry_point import load_entry_point
from rljob.user_code.failure import explain

if TYPE_CHECKING:
    from rljob.nets.head import Net
    from rljob.spec.sections import NamedNetworkSpec, NetworkSpec

BUILT_IN: dict[str, type[NetworkConfig]] = {
    "mlp": MLPConfig,
    "cnn": CNNConfig,
    "gru": GRUConfig,
    "lstm": LSTMConfig,
    "candidates": CandidatesConfig,
}
"""Settings by name. `nets.engines` has the acting side, `torch_nets` the learning side."""


def built_in_name(network: NetworkConfig) -> str:
    """The name of a built-in network by its settings."""
    return next(name for name, kind in BUILT_IN.items() if kind is type(network))


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


@dataclass(frozen=True)
class ChosenNetwork:
    """What one of the algorithm's networks is.

    Attributes:
        network: its settings, or the user's factory.
        label: its name in the job, or its import path.
        path: where the job chooses it: `network`, or `networks.NAME`.
    """

    network: NetworkConfig | ImportedNetwork
    label: str
    path: str = "network"

    @contextmanager
    def located(self) -> Iterator[None]:
        """Errors about `network` are about the place where it was chosen."""
        try:
            yield
        except InputError as error:
            raise _moved(error, self.path) from error


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


def choose(
    spec: NetworkSpec, nets: Mapping[str, Net], named: Mapping[str, NamedNetworkSpec] | None
) -> dict[str, ChosenNetwork]:
    """The network that each of the algorithm's networks is.

    Args:
        spec: the job's `network`.
        nets: of the algorithm.
        named: the job's `networks`.

    Raises:
        InputError: as `resolve_network`, or `named` has a name that the algorithm does not have, or one of
            the networks has a memory that the algorithm does not follow.
    """
    named = named or {}
    check_names(named, nets)
    common = _resolve(spec, "network")
    chosen: dict[str, ChosenNetwork] = {}
    for name, net in nets.items():
        own = named.get(name)
        each = common if own is None else _resolve(own.of(spec), f"networks.{name}")
        if own is None and net.network is not None:
            each = ChosenNetwork(net.network, built_in_name(net.network))
        _check_memory(each, net)
        chosen[name] = each
    return chosen


def _check_memory(
    chosen: ChosenNetwork,
    net: Net,
    algorithm: str = "this algorithm",
    learning: Collection[str] = (),
) -> None:
    """Raises InputError: the network has a memory that the algorithm does not follow."""
    if not isinstance(chosen.network, NetworkConfig) or not chosen.network.remembers or net.memory:
        return
    others = ", ".join(name for name, config in BUILT_IN.items() if not config.remembers)
    known = f"; {', '.join(learning)} learn with it" if learning else ""
    raise InputError(
        f"{chosen.label} has a memory, which {algorithm} does not learn with; allowed are {others}{known}",
        path=f"{chosen.path}.name",
    )


def check_names(named: Collection[str], nets: Collection[str]) -> None:
    """Raises InputError: a name in the job's `networks` is that of no network of the algorithm."""
    for name in named:
        if name not in nets:
            raise InputError(unknown(name, nets), path=f"networks.{name}")


def unknown(name: str, nets: Collection[str]) -> str:
    """What to say of a name that is that of none of these networks."""
    near = nearest(name, list(nets))
    hint = f" Did you mean {near}?" if near else ""
    return f"unknown network of the algorithm.{hint} {which_networks(nets)}"


def which_networks(names: Collection[str]) -> str:
    """What networks an algorithm has, in words."""
    return f"It has the networks {', '.join(names)}" if names else "It has no networks"


def check_built_in(spec: NetworkSpec, named: Mapping[str, NamedNetworkSpec] | None) -> None:
    """Check all built-in networks of a job; what is named by import path is not imported.

    Raises:
        InputError: as `resolve_network`.
    """
    if spec.entry_point is None:
        _resolve(spec, "network")
    for name, own in (named or {}).items():
        whole = own.of(spec)
        if whole.entry_point is None:
            _resolve(whole, f"networks.{name}")


def check_memory(
    spec: NetworkSpec,
    named: Mapping[str, NamedNetworkSpec] | None,
    nets: Mapping[str, Net],
    algorithm: str,
    learning: Collection[str],
) -> None:
    """Refuse built-in networks with a memory that an algorithm does not follow.

    Args:
        nets: of the algorithm.
        algorithm: its name.
        learning: names of algorithms that follow one.

    Raises:
        InputError: as `choose`.
    """
    for name, net in nets.items():
        own = (named or {}).get(name)
        whole = spec if own is None else own.of(spec)
        if whole.entry_point is None and (own is not None or net.network is None):
            path = "network" if own is None else f"networks.{name}"
            _check_memory(_resolve(whole, path), net, algorithm, learning)


def _resolve(spec: NetworkSpec, path: str) -> ChosenNetwork:
    try:
        return ChosenNetwork(resolve_network(spec), str(spec.name or spec.entry_point), path)
    except InputError as error:
        raise _moved(error, path) from error


def _moved(error: InputError, path: str) -> InputError:
    """The same error, and `network` at the start of its path is `path`."""
    if isinstance(error, Invalid):
        return Invalid([_moved(problem, path) for problem in error.problems])
    first, dot, below = error.path.partition(".")
    if first != "network" or path == "network":
        return error
    return InputError(error.message, path=f"{path}{dot}{below}", file=error.file, line=error.line)
