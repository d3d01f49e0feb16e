"""The networks that an algorithm asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rljob.envs.spaces import Space

if TYPE_CHECKING:
    from rljob.nets.configs import NetworkConfig


@dataclass(frozen=True)
class Head:
    """One output of a network, `[B, size]`.

    Args:
        size: number of values.
        gain: scale of the orthogonal initialisation of its last layer.
        free: a learned vector that does not depend on the observation (e.g. a log standard deviation).
        per_action: whether it is one value for each action of a Discrete space, in their order. The network
            `candidates` then has a score of candidate `k` for action `k`.
        trunk: heads that name the same trunk share their hidden layers; by default a head has its own.
    """

    size: int
    gain: float = 1.0
    free: bool = False
    trunk: str = ""
    per_action: bool = False


@dataclass(frozen=True)
class Net:
    """One network: what goes in, what comes out, and who uses it.

    Args:
        heads: outputs by name.
        acts: names of the heads that acting needs; empty for a network that only the learner has.
        inputs: spaces of its inputs, in the order of its arguments; by default the observation.
        copies: independent networks that are called as one; outputs then are `[copies, B, size]`.
        memory: whether the learner follows a memory along time (`Network.unroll`); without, a network that
            has one is refused.
        own_rate: whether the learner asks the network for its learning rate (`network.rate`); without, a job
            that sets `networks.NAME.learningRate` is refused.
        noise: of a noisy network, the scale of its noise at the start, times the root of a layer's inputs; see
            `nets.noisy`. 0 is none.
        network: what it is where the job's `networks` do not name it; by default the job's `network`.
    """

    heads: Mapping[str, Head]
    acts: tuple[str, ...] = ()
    inputs: tuple[Space, ...] = ()
    copies: int = 1
    memory: bool = False
    own_rate: bool = False
    noise: float = 0.0
    network: NetworkConfig | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.acts if name not in self.heads]
        if unknown:
            raise ValueError(
                f"acts names {unknown[0]!r}, which is none of the heads {', '.join(self.heads)}"
            )
        if self.copies > 1 and self.acts:
            raise ValueError("a network of several copies cannot act")
        if self.copies > 1 and self.noise:
            raise ValueError("a network of several copies cannot be noisy")

    def inputs_of(self, observation: Space) -> tuple[Space, ...]:
        """Spaces of its inputs where observations are of this space."""
        return self.inputs or (observation,)
