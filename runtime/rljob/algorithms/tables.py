"""What algorithms with tables share: which spaces they take, and how they act. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from rljob.algorithms.acting import Acted, ActionScores, Actor, Seen
from rljob.algorithms.epsilon_greedy import epsilons
from rljob.algorithms.masking import draw, forbid, hide
from rljob.envs.spaces import Arrays, DiscreteSpace, Space, Spaces
from rljob.errors import InputError


def states_of(algorithm: str, space: Space) -> int:
    """Number of observations.

    Args:
        algorithm: its name, for the message.

    Raises:
        InputError: with path `environment`, where they are not Discrete.
    """
    return _choices(algorithm, "observation", space)


def table_shape(algorithm: str, spaces: Spaces) -> tuple[int, int]:
    """Numbers of observations and of actions.

    Raises:
        InputError: as `states_of`, also for the actions.
    """
    return states_of(algorithm, spaces.observation), _choices(algorithm, "action", spaces.action)


def _choices(algorithm: str, role: str, space: Space) -> int:
    if not isinstance(space, DiscreteSpace):
        raise InputError(
            f"{algorithm} needs Discrete {role}s and cannot use {space}; environment.convert.{role} can make them "
            "discrete, and PPO can use them",
            path="environment",
        )
    return space.n


def best_action(
    values: np.ndarray, rng: np.random.Generator, mask: np.ndarray | None = None
) -> np.ndarray:
    """For each of `N` rows the allowed action of the largest value, int64 `[N]`.

    Of equal ones, any: in an empty table the first would always win.

    Args:
        values: `[N, K]`.
        mask: bool `[N, K]`; None allows all.
    """
    allowed = forbid(values, mask)
    return draw(rng, values.shape, allowed == allowed.max(-1, keepdims=True))


def transitions(batch: Arrays) -> Iterator[tuple[int, int, int, float, bool]]:
    """Observation, action, following observation, reward and whether it terminated the episode: those of a batch of
    segments in the order in which they happened."""
    valid, seen = batch["valid"], batch["observation"]
    columns = (seen[:-1], batch["action"], seen[1:], batch["reward"], batch["terminated"])
    yield from zip(*(column[valid].tolist() for column in columns), strict=True)


class TableActor(Actor):
    """Acts epsilon-greedily by the published table `q`, `[states, actions]`, and the number `epsilon`.

    The algorithm's `config` has an `epsilon_spread`.
    """

    kind: ClassVar[str] = "table"

    def act(self, seen: Seen) -> Acted:
        q = self.policy.arrays["q"][seen.observation]
        best = best_action(q, self.rng, seen.mask)
        if self.place.greedy:
            return Acted(best, scores=ActionScores("value", hide(q, seen.mask)))
        spread = self.algorithm.config.epsilon_spread
        epsilon = epsilons(self.policy.arrays["epsilon"], self.place, spread)
        explore = self.rng.random(len(q)) < epsilon
        return Acted(np.where(explore, draw(self.rng, q.shape, seen.mask), best))


class GreedyTableActor(Actor):
    """Takes the best action by the published table `q`: `[states, actions]`, or the first of several of these."""

    kind: ClassVar[str] = "greedyTable"

    def act(self, seen: Seen) -> Acted:
        table = self.policy.arrays["q"]
        q = (table[0] if table.ndim == 3 else table)[seen.observation]
        best = best_action(q, self.rng, seen.mask)
        return Acted(best, scores=ActionScores("value", hide(q, seen.mask)))
