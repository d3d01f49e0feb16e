"""Collects one segment: the policy acts, the environments step, results are written in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np

from rljob.algorithms.base import Algorithm, Arrays
from rljob.envs.values import problem
from rljob.envs.vector import Environments, EpisodeStatistics
from rljob.errors import RunError
from rljob.nets import Engine

Idle = Callable[[], None]


class Collector:
    """Fills segments in place.

    Args:
        groups: environments, side by side in a segment. If a group steps asynchronously, actions
            for the next group are computed meanwhile.
        length: `T`, steps in a segment.

    Attributes:
        environment_seconds, acting_seconds: time spent so far, without stepping that overlaps acting.
    """

    def __init__(
        self,
        groups: Sequence[Environments],
        engine: Engine,
        algorithm: Algorithm,
        length: int,
    ) -> None:
        bounds = accumulate((group.count for group in groups), initial=0)
        self._groups = [
            (group, slice(start, end))
            for group, (start, end) in zip(groups, pairwise(bounds), strict=True)
        ]
        self._engine = engine
        self._algorithm = algorithm
        self._length = length
        self._spaces = groups[0].spaces
        self._count = sum(group.count for group in groups)
        self._statistics = EpisodeStatistics(self._count)
        self._observation: np.ndarray | None = None
        self._rng = np.random.default_rng()
        self.environment_seconds = 0.0
        self.acting_seconds = 0.0

    def reset(self, seed: tuple[int, ...] | None) -> None:
        """Begin new episodes; a seed determines everything that follows."""
        sequence = np.random.SeedSequence(seed)
        self._rng = np.random.default_rng(sequence)
        seeds: list[int | None] = [None] * len(self._groups)
        if seed is not None:
            seeds = [int(each) for each in sequence.generate_state(len(seeds), np.uint32)]
        started = [
            group.reset(start).copy() for (group, _), start in zip(self._groups, seeds, strict=True)
        ]
        self._observation = np.concatenate(started)
        self._statistics = EpisodeStatistics(self._count)

    def collect(
        self, segment: Arrays, scalars: Mapping[str, float], between_steps: Idle
    ) -> np.ndarray:
        """Step `T` times.

        Args:
            segment: arrays `[T, N, ...]`, `observation` `[T + 1, N, ...]`; overwritten.
            scalars: acting values of the policy version.
            between_steps: called after each step, for work that cannot wait until the segment's end.

        Returns:
            Return and length of the episodes that ended: float64 `[E, 2]`.

        Raises:
            RunError: an environment raised, or returned values that are not in its space or not finite.
        """
        assert self._observation is not None
        engine, algorithm, rng, length = self._engine, self._algorithm, self._rng, self._length
        observation = segment["observation"]
        observation[0] = self._observation
        groups = [
            (group, {name: array[:, rows] for name, array in segment.items()})
            for group, rows in self._groups
        ]
        clock = time.perf_counter
        acting = stepping = 0.0
        for t in range(length + 1):
            for group, part in groups:
                # The result of step t - 1, which ran while actions for the other groups were computed.
                if t > 0:
                    before = clock()
                    step = group.receive()
                    stepping += clock() - before
                    part["observation"][t] = step.observation
                    part["reward"][t - 1] = step.reward
                    part["terminated"][t - 1] = step.terminated
                    part["truncated"][t - 1] = step.truncated
                if t < length:
                    part["valid"][t] = group.valid
                    before = clock()
                    acted = algorithm.act(engine(part["observation"][t]), rng, scalars)
                    part["action"][t] = acted.action
                    for name, values in acted.extras.items():
                        part[name][t] = values
                    between = clock()
                    group.send(acted.action)
                    acting += between - before
                    stepping += clock() - between
            if t > 0:
                between_steps()
        self._observation = observation[length].copy()
        self.acting_seconds += acting
        self.environment_seconds += stepping
        found = problem({"observation": observation, "reward": segment["reward"]}, self._spaces)
        if found:
            raise RunError(found)
        algorithm.finish(segment)
        ended = segment["terminated"] | segment["truncated"]
        return self._statistics.update(segment["reward"], ended, segment["valid"])
