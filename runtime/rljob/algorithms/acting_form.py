"""What acting needs beside the arrays of a policy, as JSON: the kind of actor, and the acting networks.

With it a policy acts without its algorithm, its job and their settings. A checkpoint of a built-in algorithm with
built-in networks has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from rljob.algorithms.acting import Actor, Place, Policy
from rljob.algorithms.distributions import (
    DistributionActor,
    TabularDistributionActor,
    distribution_for,
)
from rljob.algorithms.soft_actions import SoftActor, soft_actions
from rljob.algorithms.squashed import SquashedActor
from rljob.algorithms.tables import GreedyTableActor, TableActor
from rljob.algorithms.value_actors import (
    AdvantageActor,
    AtomsActor,
    AtomValues,
    LevelsActor,
    QuantilesActor,
)
from rljob.envs.spaces import Space, Spaces, space_from_json, space_to_json
from rljob.nets.acting import ActingNetworks, Engine
from rljob.nets.engines import engine_of
from rljob.nets.head import Head, Net
from rljob.nets.noisy import NoisyEngine

if TYPE_CHECKING:
    from rljob.algorithms.base import Algorithm
    from rljob.spec.job import RLJobSpec

FORMAT = 1
MakeActor = Callable[[Policy, Place], Actor]
"""Makes the acting half for one group of environments."""

_OF_HEAD = ("size", "free", "trunk", "per_action")


@dataclass(frozen=True)
class _Kind:
    """One kind of actor.

    Attributes:
        actor: its class.
        settings: what it needs of the algorithm, as JSON values.
        algorithm: stands for the algorithm, from these settings.
    """

    actor: type[Actor]
    settings: Callable[[Any], dict[str, Any]]
    algorithm: Callable[[Mapping[str, Any], Spaces], Any]


def _config(**settings: Any) -> SimpleNamespace:
    """An algorithm of these settings whose environments all explore alike."""
    return SimpleNamespace(config=SimpleNamespace(epsilon_spread=0, **settings))


def _actions(spaces: Spaces) -> int:
    n: int = getattr(spaces.action, "n")  # noqa: B009
    return n


def _atoms(settings: Mapping[str, Any], spaces: Spaces) -> SimpleNamespace:
    made = _config()
    made.returns = AtomValues(_actions(spaces), **settings)
    return made


def _quantiles(settings: Mapping[str, Any], spaces: Spaces) -> SimpleNamespace:
    made = _config()
    made.shape = (_actions(spaces), settings["quantiles"])
    return made


KINDS: Mapping[str, _Kind] = {
    "distribution": _Kind(
        DistributionActor, lambda _: {}, lambda _, spaces: distribution_for(spaces.action)
    ),
    "tabularDistribution": _Kind(
        TabularDistributionActor, lambda _: {}, lambda _, spaces: distribution_for(spaces.action)
    ),
    "soft": _Kind(SoftActor, lambda _: {}, lambda _, spaces: soft_actions(spaces)),
    "squashed": _Kind(
        SquashedActor, lambda _: {}, lambda _, spaces: SimpleNamespace(shape=spaces.action.shape)
    ),
    "advantage": _Kind(
        AdvantageActor,
        lambda algorithm: {"dueling": algorithm.config.dueling},
        lambda settings, _: _config(**settings),
    ),
    "atoms": _Kind(AtomsActor, lambda algorithm: algorithm.returns.settings, _atoms),
    "quantiles": _Kind(
        QuantilesActor, lambda algorithm: {"quantiles": algorithm.shape[1]}, _quantiles
    ),
    "levels": _Kind(
        LevelsActor,
        lambda algorithm: {
            "value_quantiles": algorithm.config.value_quantiles,
            "cosines": algorithm.config.cosines,
        },
        lambda settings, _: _config(**settings),
    ),
    "table": _Kind(TableActor, lambda _: {}, lambda _, __: _config()),
    "greedyTable": _Kind(GreedyTableActor, lambda _: {}, lambda _, __: None),
}
"""By `Actor.kind`."""


def kind_of(algorithm: Algorithm, spaces: Spaces) -> dict[str, Any] | None:
    """The kind of actor that an algorithm has, with its settings; None where only the algorithm itself can act."""
    place = Place(1, np.random.default_rng(0), greedy=True)
    actor = algorithm.actor(Policy(ActingNetworks({}), 1), place)
    # A subclass may act otherwise, so the name is not inherited.
    kind = vars(type(actor)).get("kind", "")
    if kind not in KINDS:
        return None
    return {"kind": kind, **KINDS[kind].settings(actor.algorithm)}


def acting_form(spec: RLJobSpec, algorithm: Algorithm, spaces: Spaces) -> dict[str, Any] | None:
    """Of a job; None where its own code has to act.

    Args:
        algorithm: of the job.
        spaces: as the algorithm sees them.
    """
    from rljob.algorithms.registry import BUILT_IN
    from rljob.nets.choice import ImportedNetwork, built_in_name, choose

    if type(algorithm) not in BUILT_IN.values():
        return None
    actor = kind_of(algorithm, spaces)
    if actor is None:
        return None
    networks = {}
    chosen = choose(spec.network, algorithm.networks, spec.networks)
    for name, net in algorithm.networks.items():
        network = chosen[name].network
        if not net.acts:
            continue
        if isinstance(network, ImportedNetwork):
            return None
        networks[name] = {
            "network": built_in_name(network),
            "config": network.model_dump(),
            "heads": {
                head: {each: getattr(net.heads[head], each) for each in _OF_HEAD}
                for head in net.acts
            },
            "inputs": [space_to_json(space) for space in net.inputs],
            "noisy": net.noise > 0,
        }
    convert = spec.environment.convert
    converted = {"convert": convert.model_dump(exclude_none=True)} if convert is not None else {}
    return {"format": FORMAT, "actor": actor, "networks": networks, **converted}


def actor_maker(form: Mapping[str, Any], spaces: Spaces) -> MakeActor:
    """What makes the actors of such a policy.

    Raises:
        KeyError: the form is that of a newer rljob.
    """
    settings = dict(form["actor"])
    kind = KINDS[settings.pop("kind")]
    algorithm = kind.algorithm(settings, spaces)
    return lambda policy, place: kind.actor(algorithm, policy, place)


def acting_networks(form: Mapping[str, Any], spaces: Spaces) -> ActingNetworks:
    """The networks that act, in numpy; they have no weights yet.

    Raises:
        KeyError: as `actor_maker`.
    """
    return ActingNetworks({name: _engine(each, spaces) for name, each in form["networks"].items()})


def _engine(form: Mapping[str, Any], spaces: Spaces) -> Engine:
    make = engine_of(form["network"])
    config = SimpleNamespace(**form["config"])
    heads = {head: Head(**values) for head, values in form["heads"].items()}
    inputs: tuple[Space, ...] = tuple(map(space_from_json, form["inputs"]))
    net = Net(heads, acts=tuple(heads), inputs=inputs)
    engine = make(config, net.inputs_of(spaces.observation), heads, net.acts)
    return NoisyEngine(engine) if form["noisy"] else engine
