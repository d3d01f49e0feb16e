"""Acts for one group of environments that are stepped together."""

from __future__ import annotations

import numpy as np

from rljob.algorithms.answers import make_actor
from rljob.algorithms.base import Acted, Algorithm, Place, Policy, Seen
from rljob.envs.spaces import Arrays
from rljob.nets.acting import ActingNetworks


def kept_arrays(acted: Acted, length: int) -> Arrays:
    """Arrays `[length, N, ...]` for what acting keeps for `Actor.finish`, by its first answer."""
    return {name: np.zeros((length, *each.shape), each.dtype) for name, each in acted.kept.items()}


class ActingGroup:
    """An actor, its memory, and what it is told next; for environments whose episodes all begin anew.

    Attributes:
        reward: float32 `[N]`, of the last step; whoever steps the environments sets it.
        name: of the actor's class.
    """

    def __init__(self, algorithm: Algorithm, networks: ActingNetworks, place: Place) -> None:
        self._policy = Policy(networks, place.count)
        self._actor = make_actor(algorithm, self._policy, place)
        self.name = type(self._actor).__name__
        self._begins = np.ones(place.count, np.bool_)
        self.reward = np.zeros(place.count, np.float32)

    def act(
        self,
        observation: np.ndarray,
        valid: np.ndarray,
        mask: np.ndarray | None,
        core: np.ndarray | None = None,
    ) -> Acted:
        """Choose the next actions.

        Args:
            observation: `[N, ...]`, as stored.
            valid: bool `[N]`, False where the next step only resets, or an agent is over.
            mask: bool `[N, K]`, which actions are allowed; None where the environments do not tell.
            core: takes the memory before them, float32 `[N, core_size]`.
        """
        self._policy.forget(self._begins)
        if core is not None:
            core[...] = self._policy.core
        # An agent that is over while others go on begins nothing.
        begins = self._begins & valid
        acted = self._actor.act(Seen(observation, begins, valid, self.reward, mask))
        # A row that only resets is followed by the first of an episode.
        self._begins = ~valid
        return acted

    def begin(self) -> None:
        """Begin an episode in every environment with the next call, whatever came before."""
        self._begins = np.ones_like(self._begins)
        self.reward = np.zeros_like(self.reward)

    def change_to(self, networks: ActingNetworks) -> None:
        """Act with another policy version from the next call on."""
        self._policy.change_to(networks)

    def finish(self, segment: Arrays) -> None:
        """See `Actor.finish`."""
        self._actor.finish(segment)
