"""Plays greedy episodes of a policy and returns their returns and lengths."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rljob import spec
from rljob.algorithms import make_algorithm
from rljob.algorithms.acting_group import ActingGroup
from rljob.algorithms.base import Acted, Algorithm, Place
from rljob.checkpoints import checkpoint
from rljob.envs.teams import of_teams
from rljob.envs.vector import Environments, Step
from rljob.errors import InputError, RunError
from rljob.nets import build_acting
from rljob.nets.acting import ActingNetworks
from rljob.run_folder import modules
from rljob.run_folder.names import JOB
from rljob.spec import RLJob
from rljob.user_code.generators import seed_global_generators

MOST_ENVIRONMENTS = 16
"""Largest number of environments that are stepped as one batch."""
MOST_STEPS = 100_000
"""Steps after which an episode is cut off. Atari games, for comparison, end after 27,000."""
MOST_SECONDS = 600.0
"""Time after which all episodes are cut off."""


@dataclass(frozen=True)
class GreedyEpisodes:
    """Undiscounted returns of greedy episodes.

    Attributes:
        mean, std, min, max: of `returns`; `std` is the population standard deviation.
        returns: float64 `[E]`, those of one environment after those of another.
        lengths: int64 `[E]`, in environment steps.
        seconds: time spent playing.
        cut: episodes that were cut off; their returns are those up to there.
    """

    mean: float
    std: float
    min: float
    max: float
    episodes: int
    returns: np.ndarray
    lengths: np.ndarray
    seconds: float
    cut: int = 0

    @classmethod
    def of(
        cls, returns: np.ndarray, lengths: np.ndarray, seconds: float, cut: int = 0
    ) -> GreedyEpisodes:
        """Raises RunError when a return is infinite or not a number."""
        if not np.isfinite(returns).all():
            raise RunError(
                "the return of an episode is infinite or NaN; check the environment's rewards"
            )
        return cls(
            float(returns.mean()),
            float(returns.std()),
            float(returns.min()),
            float(returns.max()),
            len(returns),
            returns,
            lengths,
            seconds,
            cut,
        )

    @property
    def cut_text(self) -> str:
        """What to say of episodes that were cut off; empty without any."""
        if not self.cut:
            return ""
        return (
            f"{self.cut} of {self.episodes} episodes did not end by themselves and were cut off after "
            f"{int(self.lengths.max()):,} steps; give the environment a time limit (environment.maxEpisodeSteps)"
        )


class Interrupted(Exception):
    """Playing was stopped before the last episode ended."""


def environments_for(job: RLJob, episodes: int) -> Environments:
    """As many environments as one batch needs; InputError when they cannot be made."""
    return Environments(job.spec.environment, min(episodes, MOST_ENVIRONMENTS))


def acting(job: RLJob, environments: Environments) -> tuple[Algorithm, ActingNetworks]:
    """The algorithm and the networks that choose actions; the networks have no weights yet.

    Raises:
        InputError: when algorithm or network cannot be used with the environment's spaces.
    """
    algorithm = make_algorithm(job.spec.algorithm, environments.spaces)
    networks = build_acting(
        job.spec.network, algorithm.networks, environments.spaces, named=job.spec.networks
    )
    return algorithm, networks


class GreedyActing:
    """Begins new episodes, chooses greedy actions in them, and sees what follows.

    Args:
        seed: of the environments and of the policy; None takes fresh entropy.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        networks: ActingNetworks,
        environments: Environments,
        seed: int | None,
    ) -> None:
        count = environments.count
        self._environments = environments
        rng, games = np.random.default_rng(seed), environments.games
        place = Place(count, rng, total=count, greedy=True, games=games)
        self._acting = ActingGroup(algorithm, networks, place)
        self._observation = environments.reset(seed)

    def act(self) -> Acted:
        """The next actions."""
        environments = self._environments
        return self._acting.act(self._observation, environments.valid, environments.mask)

    def step(self, acted: Acted) -> Step:
        """Take them."""
        step = self._environments.step(acted.action)
        self._observation, self._acting.reward = step.observation, step.reward
        return step


def play(
    environments: Environments,
    networks: ActingNetworks,
    algorithm: Algorithm,
    episodes: int,
    seed: int | None,
    stopping: Callable[[], bool] = lambda: False,
    most_steps: int = MOST_STEPS,
    most_seconds: float = MOST_SECONDS,
) -> GreedyEpisodes:
    """Play `episodes` greedy episodes, or fewer when they do not end.

    The number of episodes of each environment is fixed beforehand. Counting the episodes that end
    first would prefer short ones. Of several agents, return and length are the team's, see `rljob.envs.teams`.

    Args:
        networks: of the policy version.
        seed: of the environments and of the policy; None takes fresh entropy.
        stopping: called before each step.
        most_steps: once an episode has so many steps, all open ones are cut off and no other is begun.
        most_seconds: the same after this time.

    Raises:
        Interrupted: `stopping` returned True.
        RunError: an environment failed, or a return is not finite.
    """
    started = time.perf_counter()
    agents = environments.spaces.agents
    count = environments.count // agents
    quota = np.full(count, episodes // count)
    quota[: episodes % count] += 1
    current, lengths = np.zeros(count), np.zeros(count, np.int64)
    finished: list[tuple[int, float, int]] = []
    seed_global_generators(None if seed is None else (seed,))
    greedy = GreedyActing(algorithm, networks, environments, seed)
    cut = 0
    while quota.any():
        if stopping():
            raise Interrupted
        open_lengths = lengths[quota > 0]
        late = time.perf_counter() - started > most_seconds and open_lengths.all()
        if late or open_lengths.max() >= most_steps:
            left = np.flatnonzero((quota > 0) & (lengths > 0))
            finished += [
                (index, float(current[index]), int(lengths[index])) for index in left.tolist()
            ]
            cut = len(left)
            break
        valid = environments.valid
        step = greedy.step(greedy.act())
        reward, ended, valid = of_teams(step.reward, step.ended, valid, agents)
        current[valid] += reward[valid]
        lengths[valid] += 1
        for index in np.flatnonzero(ended & valid):
            if quota[index]:
                quota[index] -= 1
                finished.append((int(index), float(current[index]), int(lengths[index])))
            current[index], lengths[index] = 0.0, 0
    seconds = time.perf_counter() - started
    # In an order that does not depend on which end first.
    finished.sort(key=lambda episode: episode[0])
    returns, steps = (
        np.array([e[1] for e in finished]),
        np.array([e[2] for e in finished], np.int64),
    )
    return GreedyEpisodes.of(returns, steps, seconds, cut)


def evaluate_run(path: Path, episodes: int, seed: int | None = None) -> GreedyEpisodes:
    """Play greedy episodes of a trained policy; see `find`, `evaluate`."""
    return evaluate(*find(path), episodes, seed)


def find(path: Path) -> tuple[RLJob, checkpoint.SavedPolicy]:
    """The newest policy in a run's folder, in its checkpoints or in one checkpoint, with its job.

    Adds the folders of the job's modules to the import path.

    Raises:
        InputError: when there is no policy, or no `job.yaml` in the run's folder.
        RunError: when `path` is a damaged checkpoint.
    """
    policy = checkpoint.load_policy(path)
    file = modules.job_file(path)
    if file is None:
        raise InputError(
            f"no {JOB} in {path} or above it; a policy alone does not name its environment. "
            "Give the run's folder"
        )
    sys.path[:0] = modules.search_path(file.parent)
    return spec.load(file), policy


def evaluate(
    job: RLJob, policy: checkpoint.SavedPolicy, episodes: int, seed: int | None = None
) -> GreedyEpisodes:
    """Play greedy episodes of this policy in new environments; raises as `play` and `acting`."""
    environments = environments_for(job, episodes)
    try:
        algorithm, networks = acting(job, environments)
        networks.load(policy.tensors)
        return play(environments, networks, algorithm, episodes, seed)
    finally:
        environments.close()
