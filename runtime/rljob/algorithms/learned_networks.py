"""The networks that a learner gets, each with the learning rate that the job gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rljob.algorithms.base import Algorithm
from rljob.algorithms.settings import own_rates
from rljob.nets import build_networks
from rljob.spec import RLJobSpec

if TYPE_CHECKING:
    from rljob.envs.spaces import Spaces
    from rljob.nets.torch_nets import Network, NetworkCopies


def learned_networks(
    spec: RLJobSpec, algorithm: Algorithm, spaces: Spaces, seed: int
) -> dict[str, Network | NetworkCopies]:
    """What `Algorithm.learner` takes.

    Raises:
        InputError: as `build_networks` and `own_rates`.
    """
    nets = algorithm.networks
    rates = own_rates(spec, nets)
    precision = spec.learner.precision
    built = build_networks(spec.network, nets, spaces, seed, precision, spec.networks)
    for name, rate in rates.items():
        built[name].learning_rate = rate.learning_rate
    return built
