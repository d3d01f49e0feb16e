"""What a job's networks consist of: layers and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rljob.nets.head import Net

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LayerSummary:
    """One module that has parameters of its own.

    Attributes:
        name: in the network, e.g. `body.heads.action`.
        kind: its class.
        shapes: of its parameters, by name.
        parameters: how many numbers these are.
    """

    name: str
    kind: str
    shapes: dict[str, list[int]]
    parameters: int


@dataclass(frozen=True)
class NetworkSummary:
    """One of the algorithm's networks.

    Attributes:
        acts: whether rollouts have it too.
        copies: independent networks of this form, in `parameters` and `layers` as well.
    """

    name: str
    acts: bool
    copies: int
    parameters: int
    layers: list[LayerSummary]

    def to_json(self) -> dict[str, Any]:
        layers = [vars(layer) for layer in self.layers]
        return {**vars(self), "layers": layers}


def summaries(
    modules: Mapping[str, nn.Module], nets: Mapping[str, Net]
) -> tuple[NetworkSummary, ...]:
    """Of each network, in the order of the algorithm."""
    return tuple(
        NetworkSummary(
            name,
            bool(net.acts),
            net.copies,
            sum(parameter.numel() for parameter in modules[name].parameters()),
            list(_layers(modules[name])),
        )
        for name, net in nets.items()
    )


def lines(found: NetworkSummary) -> Iterator[str]:
    """For people: a network and its layers."""
    copies = f", {found.copies} copies" if found.copies > 1 else ""
    learner = "" if found.acts else ", of the learner alone"
    yield f"{found.name}: {found.parameters:,} parameters{copies}{learner}"
    width = max((len(layer.name) for layer in found.layers), default=0)
    for layer in found.layers:
        shapes = ", ".join(f"{name} {shape}" for name, shape in layer.shapes.items())
        yield f"  {layer.name:<{width}}  {layer.kind:<12} {layer.parameters:>12,}  {shapes}"


def _layers(network: nn.Module) -> Iterator[LayerSummary]:
    for name, module in network.named_modules():
        own = {key: list(each.shape) for key, each in module.named_parameters(recurse=False)}
        if own:
            count = sum(each.numel() for each in module.parameters(recurse=False))
            yield LayerSummary(name, type(module).__name__, own, count)
