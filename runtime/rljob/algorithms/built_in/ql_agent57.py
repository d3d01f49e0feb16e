"""Agent57 (Badia et al. 2020, https://arxiv.org/abs/2003.13350) with tables in place of networks, after SRL's QL_agent57
(pocokhc/simple_distributed_rl, srl/algorithms/ql_agent57.py). There is no torch in it.

There is a family of policies, from one that wants rewards alone to one that looks for what is new. Each has a table of
rewards and one of novelty. For every episode a bandit chooses the policy that an environment acts by. As Q-learning does not
mind who acted, all policies learn from every transition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import model_validator

from rljob.algorithms.bandit import SlidingWindowUCB
from rljob.algorithms.base import (
    Acted,
    AlgorithmConfig,
    Arrays,
    Coefficient,
    Count,
    Learner,
    Net,
    Place,
    Policy,
    Positive,
    Progress,
    Rate,
    Replay,
    Schedule,
    SchedulePhase,
    Seen,
    Share,
    Update,
)
from rljob.algorithms.importance import importance_weights
from rljob.algorithms.masking import draw, forbid
from rljob.algorithms.novelty import NOVELTY, EpisodeNovelty
from rljob.algorithms.tables import GreedyTableActor, best_action, table_shape
from rljob.envs.spaces import Spaces


class QLAgent57Config(AlgorithmConfig):
    """Settings of QLAgent57 (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(0.1)
    """Share of the error by which an entry of a table is corrected."""
    policies: Count = 8
    """Size of the family; policy 0 wants rewards alone."""
    beta: Coefficient = 0.3
    """Weight of novelty in the last policy; that of the others goes up to it along a sigmoid."""
    gamma: Share = 0.997
    """Discount per environment step in policy 0; `1 - gamma` goes evenly in logarithms to that of the last one."""
    search_gamma: Share = 0.99
    """Discount per environment step in the last policy."""
    epsilon: Share = 0.4
    """Share of random actions in the first environment of the job."""
    epsilon_exponent: Coefficient = 7.0
    """The last environment has epsilon to the power of 1 more than this, and others lie evenly between in powers."""
    bandit_window: Count = 160
    """Episodes that an environment's bandit remembers; at least as many as policies."""
    bandit_epsilon: Share = 0.5
    """Share of the episodes whose policy is any."""
    bandit_bonus: Coefficient = 1.0
    """Weight of the bandit's confidence bound, in units of an episode's return."""
    lifelong_novelty: Positive = 5.0
    """Factor of the novelty of an observation at first; it falls to 1."""
    novelty_decay: Share = 0.999
    """Factor by which what it is above 1 falls, each time that a transition to the observation is learned from."""
    rollout_length: Count = 16
    """Environment steps in one segment."""
    batch_size: Count = 32
    """Transitions in one update."""
    min_size: Count = 500
    """Transitions stored before the first update."""
    samples_per_insert: Positive = 2.0
    """Transitions trained on for each stored transition."""
    updates_per_publish: Count = 8
    """Updates between two policy versions."""
    priority_exponent: Share = 0.6
    """0 samples uniformly, 1 in proportion to the error of policy 0."""
    importance_exponent: Schedule[Share] = Schedule(SchedulePhase(from_=0.4, to=1.0))
    """Correction of the sampling bias, 1 in full."""

    @model_validator(mode="after")
    def _the_bandit_remembers_every_policy(self) -> Self:
        if self.bandit_window < self.policies:
            raise ValueError(
                f"banditWindow ({self.bandit_window}) must not be below policies ({self.policies}): each of them is "
                "tried before any is preferred"
            )
        return self


class QLAgent57:
    """See the module; settings in `QLAgent57Config`."""

    Config: ClassVar[type[AlgorithmConfig]] = QLAgent57Config

    fields = (NOVELTY,)
    networks: ClassVar[Mapping[str, Net]] = {}

    def __init__(self, config: QLAgent57Config, spaces: Spaces) -> None:
        self.config, self.shape = config, (config.policies, *table_shape("QLAgent57", spaces))
        self.beta = weights_of_novelty(config.policies, config.beta)
        self.data = Replay(
            segment_length=config.rollout_length,
            batch_size=config.batch_size,
            min_size=config.min_size,
            samples_per_insert=config.samples_per_insert,
            priority_exponent=config.priority_exponent,
            updates_per_publish=config.updates_per_publish,
        )

    def actor(self, policy: Policy, place: Place) -> QLAgent57Actor:
        return QLAgent57Actor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> QLAgent57Learner:
        return QLAgent57Learner(self)


def weights_of_novelty(policies: int, most: float) -> np.ndarray:
    """`beta` of each policy as in Never Give Up: 0 of the first, `most` of the last, a sigmoid between. `[policies]`."""
    if policies == 1:
        return np.zeros(1)
    along = np.arange(policies)
    beta: np.ndarray = most / (
        1 + np.exp(-10 * (2 * along - (policies - 2)) / max(1, policies - 2))
    )
    beta[0], beta[-1] = 0.0, most
    return beta


def discounts(policies: int, first: float, last: float) -> np.ndarray:
    """Of each policy, `[policies]`: `1 - gamma` goes evenly in logarithms."""
    least = 1e-9
    return 1.0 - np.geomspace(max(least, 1.0 - first), max(least, 1.0 - last), policies)


class QLAgent57Actor(GreedyTableActor):
    """The acting half of QLAgent57."""

    kind: ClassVar[str] = "greedyTable"
    algorithm: QLAgent57

    def __init__(self, algorithm: QLAgent57, policy: Policy, place: Place) -> None:
        super().__init__(algorithm, policy, place)
        config, count = algorithm.config, place.count
        self._novelty = EpisodeNovelty(count)
        place_in_job = (place.first + np.arange(count)) / max(1, place.total - 1)
        self._epsilon = config.epsilon ** (1 + config.epsilon_exponent * place_in_job)
        self._bandits = [
            SlidingWindowUCB(
                config.policies,
                config.bandit_window,
                config.bandit_epsilon,
                config.bandit_bonus,
                self.rng,
            )
            for _ in range(count)
        ]
        # Of the episode that each environment is in: the policy, -1 before the first, and the return so far.
        self._chosen, self._return = np.full(count, -1), np.zeros(count)

    def act(self, seen: Seen) -> Acted:
        arrays, state = self.policy.arrays, seen.observation
        if self.place.greedy:
            return super().act(seen)
        self._return += seen.reward
        for env in np.flatnonzero(seen.begins):
            if self._chosen[env] >= 0:
                self._bandits[env].add(int(self._chosen[env]), float(self._return[env]))
            self._chosen[env], self._return[env] = self._bandits[env].choose(), 0.0
        chosen, beta = self._chosen, self.algorithm.beta[self._chosen, None]
        value = arrays["q"][chosen, state] + beta * arrays["interest"][chosen, state]
        explore = self.rng.random(len(state)) < self._epsilon
        any_action = draw(self.rng, value.shape, seen.mask)
        action = np.where(explore, any_action, best_action(value, self.rng, seen.mask))
        return Acted(action, kept={"begins": seen.begins})

    def finish(self, segment: Arrays) -> None:
        self._novelty.fill(segment)


class QLAgent57Learner(Learner):
    """The learning half of QLAgent57; draws no random numbers."""

    def __init__(self, algorithm: QLAgent57) -> None:
        config = self._config = algorithm.config
        self._q, self._interest = np.zeros(algorithm.shape), np.zeros(algorithm.shape)
        # Of each observation: how much newer it still is than what is well known.
        self._new = np.full(algorithm.shape[1], max(0.0, config.lifelong_novelty - 1.0))
        # Settings, and not part of the state.
        self._beta = tuple(algorithm.beta)
        self._gamma = tuple(discounts(config.policies, config.gamma, config.search_gamma))

    def update(self, batch: Arrays, progress: Progress) -> Update:
        config, q, interest = self._config, self._q, self._interest
        beta, gamma = np.array(self._beta), np.array(self._gamma)
        weight = importance_weights(batch, config.importance_exponent.at(progress))
        rates = config.learning_rate.at(progress) * weight
        every, masks = np.arange(config.policies), batch.get("next_mask")
        names = ("observation", "action", "next_observation", "reward", "terminated", "novelty")
        columns = (batch[name].tolist() for name in names)
        errors, curious = [], []
        # One after the other: several at once would correct an entry that they share too far.
        for row, transition in enumerate(zip(*columns, strict=True)):
            state, action, following, reward, terminated, new = transition
            found = new * (1.0 + self._new[following])
            self._new[following] *= config.novelty_decay
            # Each policy goes on with the action that it would take, in both of its tables.
            both = q[:, following] + beta[:, None] * interest[:, following]
            best = forbid(both, None if masks is None else masks[row]).argmax(-1)
            ahead = gamma * (not terminated)
            error = reward + ahead * q[every, following, best] - q[:, state, action]
            curiosity = (
                found + ahead * interest[every, following, best] - interest[:, state, action]
            )
            q[:, state, action] += rates[row] * error
            interest[:, state, action] += rates[row] * curiosity
            errors.append(abs(error[0]))
            curious.append(found)
        metrics = {"error": float(np.mean(errors)), "novelty": float(np.mean(curious))}
        return Update(metrics, np.array(errors, np.float32) + np.float32(1e-6))

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"q": self._q, "interest": self._interest}
