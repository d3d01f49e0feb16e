"""Collects one segment: the policy acts, the environments step, results are written in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from rljob.algorithms.acting_group import ActingGroup, kept_arrays
from rljob.algorithms.answers import check_acted
from rljob.algorithms.base import Algorithm, Arrays, Place
from rljob.envs.episodes import EpisodeStatistics
from rljob.envs.teams import of_teams
from rljob.envs.values import problem
from rljob.envs.vector import Environments
from rljob.errors import RunError
from rljob.nets.acting import ActingNetworks

Idle = Callable[[], None]


@dataclass
class _Group:
    """Environments, their columns in a segment, and what acts for them."""

    environments: Environments
    rows: slice
    acting: ActingGroup


class Collector:
    """Fills segments in place.

    Args:
        groups: environments, side by side in a segment. If a group steps asynchronously, actions
            for the next group are computed meanwhile. Environments of several agents are one group.
        networks: the newest policy version, for all groups.
        length: `T`, steps in a segment.
        first: number of the first of these environments among all of the job.
        total: environments of the job; by default these.
        discount: of the discounted returns.

    Attributes:
        environment_seconds, acting_seconds: time spent so far, without stepping that overlaps acting.
    """

    def __init__(
        self,
        groups: Sequence[Environments],
        networks: ActingNetworks,
        algorithm: Algorithm,
        length: int,
        first: int = 0,
        total: int | None = None,
        discount: float = 1.0,
    ) -> None:
        bounds = accumulate((group.count for group in groups), initial=0)
        self._environments = [
            (group, slice(start, end))
            for group, (start, end) in zip(groups, pairwise(bounds), strict=True)
        ]
        self._networks = networks
        self._algorithm = algorithm
        self._length = length
        self._spaces = groups[0].spaces
        self._count = sum(group.count for group in groups)
        self._agents = self._spaces.agents
        self._discount = discount
        self._statistics = EpisodeStatistics(self._count // self._agents, discount)
        self._first, self._total = first, total or self._count
        self._groups: list[_Group] = []
        self._observation: np.ndarray | None = None
        self.environment_seconds = 0.0
        self.acting_seconds = 0.0

    def reset(self, seed: tuple[int, ...] | None) -> None:
        """Begin new episodes; a seed determines everything that follows."""
        sequence = np.random.SeedSequence(seed)
        rng = np.random.default_rng(sequence)
        self._groups = []
        for environments, rows in self._environments:
            first, games = self._first + rows.start, environments.games
            place = Place(environments.count, rng, first, self._total, games=games)
            acting = ActingGroup(self._algorithm, self._networks, place)
            self._groups.append(_Group(environments, rows, acting))
        seeds: list[int | None] = [None] * len(self._groups)
        if seed is not None:
            seeds = [int(each) for each in sequence.generate_state(len(seeds), np.uint32)]
        started = [
            group.environments.reset(start).copy()
            for group, start in zip(self._groups, seeds, strict=True)
        ]
        self._observation = np.concatenate(started)
        self._statistics = EpisodeStatistics(self._count // self._agents, self._discount)

    def collect(self, segment: Arrays, between_steps: Idle) -> np.ndarray:
        """Step `T` times.

        Args:
            segment: arrays `[T, N, ...]`, `observation` and `mask` `[T + 1, N, ...]`, `state`
                `[T + 1, N / agents, ...]`; overwritten.
            between_steps: called after each step, for work that cannot wait until the segment's end.

        Returns:
            Return, length and discounted return of the episodes that ended, and the numbers of `environment.info`:
            float64 `[E, 3 + names]`. Those of several agents are the team's, see `rljob.envs.teams`.

        Raises:
            RunError: an environment raised, or returned values that are not in its space or not finite.
        """
        assert self._observation is not None
        length = self._length
        observation = segment["observation"]
        observation[0] = self._observation
        groups = [
            (group, {name: array[:, group.rows] for name, array in segment.items()})
            for group in self._groups
        ]
        # Rows from one whose memory is kept to the next.
        every = length // len(segment["core"]) if "core" in segment else 0
        has_state = "state" in segment
        kept: list[Arrays] = [{} for _ in groups]
        infos: list[list[float]] = []
        clock = time.perf_counter
        acting = stepping = 0.0
        for t in range(length + 1):
            for (group, part), aside in zip(groups, kept, strict=True):
                # The result of step t - 1, which ran while actions for the other groups were computed.
                if t > 0:
                    before = clock()
                    step = group.environments.receive()
                    stepping += clock() - before
                    part["observation"][t] = step.observation
                    part["reward"][t - 1] = group.acting.reward = step.reward
                    part["terminated"][t - 1] = step.terminated
                    part["truncated"][t - 1] = step.truncated
                    if group.environments.info is not None:
                        infos += group.environments.info.take()
                mask = None
                if group.environments.mask is not None:
                    mask = part["mask"][t]
                    mask[:] = group.environments.mask
                if has_state:
                    part["state"][t] = group.environments.state
                if t < length:
                    part["valid"][t] = valid = group.environments.valid
                    before = clock()
                    core = part["core"][t // every] if every and t % every == 0 else None
                    acted = group.acting.act(part["observation"][t], valid, mask, core)
                    if t == 0:
                        row = {name: array[0] for name, array in part.items()}
                        check_acted(group.acting.name, acted, row)
                        aside.update(kept_arrays(acted, length))
                    part["action"][t] = acted.action
                    for name, values in acted.extras.items():
                        part[name][t] = values
                    for name, values in acted.kept.items():
                        aside[name][t] = values
                    between = clock()
                    group.environments.send(acted.action)
                    acting += between - before
                    stepping += clock() - between
            if t > 0:
                between_steps()
        self._observation = observation[length].copy()
        self.acting_seconds += acting
        self.environment_seconds += stepping
        checked: Arrays = {
            n: segment[n] for n in ("observation", "action", "reward", "state") if n in segment
        }
        found = problem(checked, self._spaces)
        if found:
            raise RunError(found)
        for (group, part), aside in zip(groups, kept, strict=True):
            group.acting.finish({**part, **aside})
        ended = segment["terminated"] | segment["truncated"]
        rows = of_teams(segment["reward"], ended, segment["valid"], self._agents)
        episodes = self._statistics.update(*rows)
        return np.concatenate([episodes, infos], axis=1) if infos else episodes
