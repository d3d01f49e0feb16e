"""Algorithms by name or by import path, and their settings checked; nothing here imports torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from typing import Any, cast

from rljob.algorithms.base import Algorithm, AlgorithmConfig, Field, Net, OnPolicy, Replay
from rljob.algorithms.built_in.a2c import A2C
from rljob.algorithms.built_in.appo import APPO
from rljob.algorithms.built_in.c51 import C51
from rljob.algorithms.built_in.ddpg import DDPG
from rljob.algorithms.built_in.dqn import DQN
from rljob.algorithms.built_in.dyna_q import DynaQ
from rljob.algorithms.built_in.impala import IMPALA
from rljob.algorithms.built_in.iqn import IQN
from rljob.algorithms.built_in.ppo import PPO
from rljob.algorithms.built_in.q_learning import QLearning
from rljob.algorithms.built_in.ql_agent57 import QLAgent57
from rljob.algorithms.built_in.qr_dqn import QRDQN
from rljob.algorithms.built_in.r2d2 import R2D2
from rljob.algorithms.built_in.reinforce import REINFORCE
from rljob.algorithms.built_in.sac import SAC
from rljob.algorithms.built_in.search_dyna_q import SearchDynaQ
from rljob.algorithms.built_in.td3 import TD3
from rljob.algorithms.built_in.trpo import TRPO
from rljob.algorithms.built_in.vanilla_policy import VanillaPolicy
from rljob.algorithms.other_names import other_name
from rljob.algorithms.renamed import renamed
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, Spaces
from rljob.errors import InputError
from rljob.spec.invalid import Invalid, checked, nearest
from rljob.spec.sections import AlgorithmSpec
from rljob.user_code.entry_point import load_entry_point
from rljob.user_code.failure import rethrow

BUILT_IN: dict[str, type[Algorithm]] = {
    "PPO": PPO,
    "TRPO": TRPO,
    "A2C": A2C,
    "REINFORCE": REINFORCE,
    "IMPALA": IMPALA,
    "APPO": APPO,
    "DQN": DQN,
    "C51": C51,
    "QRDQN": QRDQN,
    "IQN": IQN,
    "R2D2": R2D2,
    "SAC": SAC,
    "TD3": TD3,
    "DDPG": DDPG,
    "QLearning": QLearning,
    "DynaQ": DynaQ,
    "VanillaPolicy": VanillaPolicy,
    "SearchDynaQ": SearchDynaQ,
    "QLAgent57": QLAgent57,
}

EXAMPLES: Mapping[str, Space] = {
    "Discrete": DiscreteSpace(2),
    "MultiDiscrete": MultiDiscreteSpace((2, 2)),
    "Box": BoxSpace((2,), low=-1, high=1),
}
"""One space of each kind."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NEEDED = ("Config", "actor", "learner")
_DECLARED: dict[str, tuple[type, ...]] = {
    "data": (OnPolicy, Replay),
    "networks": (Mapping,),
    "fields": (tuple, list),
}


def resolve_algorithm(spec: AlgorithmSpec) -> type[Algorithm]:
    """The class that a job names.

    Raises:
        InputError: an unknown name, an import path that leads nowhere, or a class that is no Algorithm.
    """
    if spec.entry_point is None:
        name = spec.name or ""
        if name not in BUILT_IN:
            if (known_as := other_name(name)) is not None:
                raise InputError(
                    f"{name} is no name here. {known_as.sentence}", path="algorithm.name"
                )
            near = nearest(name, list(BUILT_IN))
            hint = f" Did you mean {near}?" if near else ""
            known = ", ".join(BUILT_IN)
            raise InputError(
                f"unknown algorithm {name}.{hint} Known: {known}", path="algorithm.name"
            )
        return BUILT_IN[name]
    found: Any = load_entry_point(spec.entry_point, "algorithm.entryPoint")
    missing = [name for name in _NEEDED if not hasattr(found, name)]
    config = getattr(found, "Config", None)
    problem = ""
    if not isinstance(found, type):
        problem = "is not a class"
    elif missing:
        problem = f"lacks {', '.join(missing)}"
    elif not (isinstance(config, type) and issubclass(config, AlgorithmConfig)):
        problem = "has a Config that is not a subclass of rljob.algorithms.base.AlgorithmConfig"
    if problem:
        raise InputError(
            f"{spec.entry_point} {problem}; see rljob.algorithms.base.Algorithm",
            path="algorithm.entryPoint",
        )
    return cast("type[Algorithm]", found)


def uses_torch(algorithm: type[Algorithm]) -> bool:
    """Whether its learner needs torch; not where the class itself says that it has no networks."""
    return getattr(algorithm, "networks", None) != {}


def needs_torch(spec: AlgorithmSpec) -> bool:
    """Whether a job's learner may need torch; True of every import path, which is not imported here."""
    return spec.entry_point is not None or uses_torch(resolve_algorithm(spec))


def fitting(spaces: Spaces) -> tuple[str, ...]:
    """Names of the built-in algorithms that can use these spaces."""
    return tuple(name for name, algorithm in BUILT_IN.items() if _fits(algorithm, spaces))


def networks_of(spec: AlgorithmSpec, config: AlgorithmConfig) -> Mapping[str, Net]:
    """The networks of a built-in algorithm, whose names are the same for all spaces.

    Raises:
        InputError: as `resolve_algorithm`.
    """
    algorithm = resolve_algorithm(spec)
    for observation, action in product(EXAMPLES.values(), repeat=2):
        try:
            return algorithm(config, Spaces(observation, action)).networks
        except InputError:
            continue
    raise ValueError(f"{spec.name} takes no spaces of EXAMPLES")


def remembering() -> tuple[str, ...]:
    """Names of the built-in algorithms that learn with a network that has a memory."""
    configs = {name: algorithm.Config() for name, algorithm in BUILT_IN.items()}
    nets = {name: networks_of(AlgorithmSpec(name=name), config) for name, config in configs.items()}
    return tuple(name for name, each in nets.items() if any(net.memory for net in each.values()))


def _fits(algorithm: type[Algorithm], spaces: Spaces) -> bool:
    try:
        algorithm(algorithm.Config(), spaces)
    except InputError:
        return False
    return True


def make_algorithm(spec: AlgorithmSpec, spaces: Spaces) -> Algorithm:
    """The algorithm of a job, for an environment with these spaces.

    Raises:
        InputError: as `load_config`; where it cannot use the spaces, or has not what roles read of it.
    """
    made, config = resolve_algorithm(spec), load_config(spec)
    try:
        algorithm = made(config, spaces)
    except BaseException as error:
        rethrow(f"{spec.entry_point or spec.name} raised", error)
    for name, kinds in _DECLARED.items():
        value = getattr(algorithm, name, None)
        if not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            message = f"{spec.entry_point} has the {name} {value!r:.80}, expected {expected}"
            raise InputError(message, path="algorithm.entryPoint")
    _check_parts(spec, algorithm)
    return algorithm


def _check_parts(spec: AlgorithmSpec, algorithm: Any) -> None:
    """Raises InputError unless each network and field is what it must be; names become names of tensors and files."""
    for name, network in algorithm.networks.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise InputError(
                f"{spec.entry_point} has a network with the name {name!r:.80}, expected a letter, then letters, "
                "digits, - or _",
                path="algorithm.entryPoint",
            )
        if not isinstance(network, Net):
            raise InputError(
                f"{spec.entry_point} has the network {name} {network!r:.80}, expected a Net",
                path="algorithm.entryPoint",
            )
    for field in algorithm.fields:
        if not isinstance(field, Field):
            raise InputError(
                f"{spec.entry_point} has the field {field!r:.80}, expected a Field",
                path="algorithm.entryPoint",
            )


def load_config(spec: AlgorithmSpec) -> AlgorithmConfig:
    """The algorithm's settings, checked.

    Raises:
        InputError: with path `algorithm.config.<setting>`, or as `resolve_algorithm`.
    """
    algorithm = resolve_algorithm(spec)
    label = spec.name or algorithm.__name__
    defaults = {str(each.alias): each.default for each in algorithm.Config.model_fields.values()}
    problems = [
        InputError(message, path=f"algorithm.config.{name}")
        for name, message in renamed(spec.config, defaults)
    ]
    if problems:
        raise Invalid(problems)
    return checked(algorithm.Config, spec.config, path="algorithm.config", label=label)
