"""One segment: the policy acts, the environments answer, everything lands in its final place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from rljob.algorithms.base import Algorithm, Arrays
from rljob.envs import Environments, EpisodeStatistics, check_finite
from rljob.nets import Engine

Idle = Callable[[], None]


class Collector:
    """Fills segments in place.

    Args:
        length: `T`, steps in a segment.

    Attributes:
        environment_seconds, acting_seconds: spent so far.
    """

    def __init__(
        self,
        environments: Environments,
        engine: Engine,
        algorithm: Algorithm,
        length: int,
        count: int,
    ) -> None:
        self._environments = environments
        self._engine = engine
        self._algorithm = algorithm
        self._length = length
        self._statistics = EpisodeStatistics(count)
        self._count = count
        self._observation: np.ndarray | None = None
        self._rng = np.random.default_rng()
        self.environment_seconds = 0.0
        self.acting_seconds = 0.0

    def reset(self, seed: tuple[int, ...] | None) -> None:
        """Begin new episodes; with a seed, everything that follows is determined by it."""
        sequence = np.random.SeedSequence(seed)
        self._rng = np.random.default_rng(sequence)
        start = None if seed is None else int(sequence.generate_state(1, np.uint32)[0])
        self._observation = self._environments.reset(start)
        self._statistics = EpisodeStatistics(self._count)

    def collect(
        self, segment: Arrays, scalars: Mapping[str, float], between_steps: Idle
    ) -> np.ndarray:
        """Step `T` times.

        Args:
            segment: arrays `[T, N, ...]`, `observation` `[T + 1, N, ...]`; overwritten.
            scalars: acting values of the policy version.
            between_steps: called after each step, for what cannot wait until the segment's end.

        Returns:
            Episodes that ended: float64 `[E, 2]` of return and length.

        Raises:
            RunError: when an environment returns what is not finite.
        """
        assert self._observation is not None
        environments, engine, algorithm = self._environments, self._engine, self._algorithm
        observation = segment["observation"]
        observation[0] = self._observation
        clock = time.perf_counter
        acting = stepping = 0.0
        for t in range(self._length):
            segment["valid"][t] = environments.valid
            before = clock()
            acted = algorithm.act(engine(observation[t]), self._rng, scalars)
            segment["action"][t] = acted.action
            for name, values in acted.extras.items():
                segment[name][t] = values
            between = clock()
            step = environments.step(acted.action)
            after = clock()
            acting += between - before
            stepping += after - between
            observation[t + 1] = step.observation
            segment["reward"][t] = step.reward
            segment["terminated"][t] = step.terminated
            segment["truncated"][t] = step.truncated
            between_steps()
        self._observation = observation[self._length].copy()
        self.acting_seconds += acting
        self.environment_seconds += stepping
        check_finite(observation, segment["reward"])
        algorithm.finish(segment)
        ended = segment["terminated"] | segment["truncated"]
        return self._statistics.update(segment["reward"], ended, segment["valid"])
