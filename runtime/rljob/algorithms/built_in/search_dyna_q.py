"""SearchDynaQ, of SRL (pocokhc/simple_distributed_rl, srl/algorithms/search_dynaq.py): Dyna-Q that searches for what is
new. There is no torch in it.

Two tables are learned from the same transitions and with the same model: `q` of rewards, and `interest` of novelty. Each
follows every transition as in Q-learning, and from time to time the whole model by value iteration. Rollouts act by both,
each brought to the range from 0 to 1, and prefer what was tried seldom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rljob.algorithms.base import (
    Acted,
    AlgorithmConfig,
    Arrays,
    Coefficient,
    Count,
    Learner,
    Net,
    OnPolicy,
    Place,
    Policy,
    Positive,
    Progress,
    Rate,
    Schedule,
    Seen,
    Share,
    Update,
)
from rljob.algorithms.masking import forbid
from rljob.algorithms.novelty import NOVELTY, EpisodeNovelty
from rljob.algorithms.table_model import TableModel
from rljob.algorithms.tables import GreedyTableActor, best_action, table_shape, transitions
from rljob.envs.spaces import Spaces


class SearchDynaQConfig(AlgorithmConfig):
    """Settings of SearchDynaQ (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(0.1)
    """Share of the error by which an entry of either table is corrected."""
    gamma: Share = 0.99
    """Discount of rewards per environment step."""
    search_gamma: Share = 0.9
    """Discount of novelty per environment step."""
    search_share: Schedule[Share] = Schedule(0.5)
    """Weight of novelty in rollouts; the rest is that of rewards."""
    search_greed: Share = 0.9
    """Chance of the best action in the policy whose novelty is learned; otherwise it takes any."""
    bonus: Coefficient = 0.1
    """Weight of the confidence bound by which actions that were tried seldom are preferred."""
    novelty_decay: Share = 0.999
    """Factor of an observation's novelty each time that it is left."""
    interest_rate: Rate = 0.1
    """Share by which the novelty that the model remembers of an observation follows what was found there."""
    planning_interval: Count = 10
    """Updates between two times that the tables follow the whole model."""
    planning_sweeps: Count = 100
    """Most sweeps of value iteration, each time."""
    planning_threshold: Positive = 1e-3
    """Value iteration ends when no entry changes by more."""
    rollout_length: Count = 16
    """Environment steps in one segment."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""


class SearchDynaQ:
    """See the module; settings in `SearchDynaQConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = SearchDynaQConfig

    fields = (NOVELTY,)
    networks: ClassVar[Mapping[str, Net]] = {}

    def __init__(self, config: SearchDynaQConfig, spaces: Spaces) -> None:
        self.config, self.shape = config, table_shape("SearchDynaQ", spaces)
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)

    def actor(self, policy: Policy, place: Place) -> SearchDynaQActor:
        return SearchDynaQActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> SearchDynaQLearner:
        return SearchDynaQLearner(self.config, self.shape)


class SearchDynaQActor(GreedyTableActor):
    """The acting half of SearchDynaQ."""

    kind: ClassVar[str] = "greedyTable"
    algorithm: SearchDynaQ

    def __init__(self, algorithm: SearchDynaQ, policy: Policy, place: Place) -> None:
        super().__init__(algorithm, policy, place)
        self._novelty = EpisodeNovelty(place.count)
        self._version: Mapping[str, np.ndarray] | None = None
        self._tried = np.zeros(algorithm.shape)

    def act(self, seen: Seen) -> Acted:
        arrays = self.policy.arrays
        if self.place.greedy:
            return super().act(seen)
        if arrays is not self._version:
            self._version, self._tried = arrays, arrays["tried"].copy()
        action = np.zeros(len(seen.observation), np.int64)
        # One after the other: what one environment tries, the next one has less need to try.
        for env, state in enumerate(seen.observation):
            mask = None if seen.mask is None else seen.mask[env][None]
            bound = self._bound(arrays["score"][state], self._tried[state])
            action[env] = best_action(bound[None], self.rng, mask)[0]
            self._tried[state, action[env]] += seen.valid[env]
        return Acted(action, kept={"begins": seen.begins})

    def _bound(self, score: np.ndarray, tried: np.ndarray) -> np.ndarray:
        """The score of each action and how much better it may be, `[actions]`; infinite before the first try."""
        total = np.log(max(1.0, tried.sum()))
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = self.algorithm.config.bonus * np.sqrt(2 * total / tried)
        return np.where(tried > 0, score + spread, np.inf)

    def finish(self, segment: Arrays) -> None:
        self._novelty.fill(segment)


class SearchDynaQLearner(Learner):
    """The learning half of SearchDynaQ; draws no random numbers.

    Args:
        shape: numbers of observations and of actions.
    """

    def __init__(self, config: SearchDynaQConfig, shape: tuple[int, int]) -> None:
        self._config, self._model = config, TableModel(*shape)
        self._q, self._interest = np.zeros(shape), np.zeros(shape)
        # Of each observation: how new it still is, and the novelty that was found there lately.
        self._new, self._found = np.ones(shape[0]), np.ones(shape[0])

    def update(self, batch: Arrays, progress: Progress) -> Update:
        config, model = self._config, self._model
        rate = config.learning_rate.at(progress)
        model.observe_masks(batch)
        errors, curious = [], []
        novelty = batch["novelty"][batch["valid"]].tolist()
        for transition, new in zip(transitions(batch), novelty, strict=True):
            state, action, following, reward, terminated = transition
            model.observe(*transition)
            found = new * self._new[following]
            self._found[following] += config.interest_rate * (found - self._found[following])
            self._new[state] *= config.novelty_decay
            curious.append(found)
            allowed, goes_on = model.allowed[following], not terminated
            ahead = goes_on * config.gamma * _value(self._q[following], allowed, 1.0)
            error = reward + ahead - self._q[state, action]
            self._q[state, action] += rate * error
            errors.append(abs(error))
            ahead = _value(self._interest[following], allowed, config.search_greed)
            target = found + goes_on * config.search_gamma * ahead
            self._interest[state, action] += rate * (target - self._interest[state, action])
        if not errors:
            return Update({})
        metrics = {
            "error": float(np.mean(errors)),
            "novelty": float(np.mean(curious)),
            "model_share": float(np.mean(model.tried > 0)),
        }
        if (progress.updates + 1) % config.planning_interval == 0:
            rows = model.rows()
            sweeps = self._plan(self._q, rows.reward, config.gamma, 1.0)
            found = self._found[rows.following]
            self._plan(self._interest, found, config.search_gamma, config.search_greed)
            metrics["planning_sweeps"] = float(sweeps)
        return Update(metrics)

    def _plan(self, table: np.ndarray, reward: np.ndarray, gamma: float, greed: float) -> int:
        """Value iteration in the model, in place; how many sweeps it took. There has to be a row.

        Args:
            reward: of each row of the model, `[M]`.
        """
        rows, tried = self._model.rows(), self._model.tried
        entry = rows.state, rows.action
        chance, goes_on = rows.times / tried[entry], gamma * (1.0 - rows.terminated)
        sweeps = 0
        for _ in range(self._config.planning_sweeps):
            value = _value(table, self._model.allowed, greed)
            planned = np.zeros_like(table)
            np.add.at(planned, entry, chance * (reward + goes_on * value[rows.following]))
            planned = np.where(tried > 0, planned, table)
            change = np.abs(planned - table).max()
            table[...] = planned
            sweeps += 1
            if change < self._config.planning_threshold:
                break
        return sweeps

    def publish(self, progress: Progress) -> dict[str, Any]:
        share, known = self._config.search_share.at(progress), self._model.tried > 0
        score = _within_1(self._interest, known)
        # Until rewards differ, novelty alone leads.
        if known.any() and np.ptp(self._q[known]) > 0:
            score = share * score + (1 - share) * _within_1(self._q, known)
        return {"q": self._q, "score": score, "tried": self._model.tried}


def _value(table: np.ndarray, allowed: np.ndarray, greed: float) -> np.ndarray:
    """What each state is worth, `[...]`, to a policy that takes the best action with probability `greed` and any
    otherwise.

    Args:
        table: `[..., actions]`.
        allowed: bool `[..., actions]`; others are never taken.
    """
    best = forbid(table, allowed).max(-1)
    mean = np.where(allowed, table, 0.0).sum(-1) / np.maximum(1, allowed.sum(-1))
    value: np.ndarray = greed * best + (1.0 - greed) * mean
    return value


def _within_1(table: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The table with its known entries moved and scaled to the range from 0 to 1; the same where they are equal."""
    if not known.any() or np.ptp(table[known]) == 0:
        return table
    scaled: np.ndarray = (table - table[known].min()) / np.ptp(table[known])
    return scaled
