"""Compares two policies, or one with random actions, in episodes that begin alike."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rljob.algorithms.base import Algorithm
from rljob.errors import InputError
from rljob.nets.acting import ActingNetworks
from rljob.roles.evaluator.play import (
    MOST_ENVIRONMENTS,
    GreedyEpisodes,
    acting,
    environments_for,
    find,
    play,
)
from rljob.roles.evaluator.random_play import AtRandom
from rljob.spec import RLJob
from rljob.spec.invalid import show

RANDOM = "random"
"""In place of a run: actions at random."""


@dataclass(frozen=True)
class Comparison:
    """Two policies in the same episodes.

    Attributes:
        first, second: greedy episodes of each; the n-th of both began with the same seed.
        difference: mean of the returns of the first minus those of the second.
        standard_error: of the difference, from the differences of the single episodes.
        episodes: of each.
        seed: with which the comparison repeats.
    """

    first: GreedyEpisodes
    second: GreedyEpisodes
    difference: float
    standard_error: float
    episodes: int
    seed: int


class RunWithFolder(Protocol):
    """What has the folder of a run, such as `rljob.Result`."""

    @property
    def folder(self) -> Path: ...


@dataclass(frozen=True)
class _Player:
    """A policy; random actions where there is none."""

    job: RLJob
    tensors: Any = None

    def play(self, episodes: int, seeds: np.ndarray) -> GreedyEpisodes:
        """Each seed begins as many episodes as are played side by side."""
        environments = environments_for(self.job, episodes)
        try:
            algorithm: Algorithm
            if self.tensors is None:
                # Its actions are the environment's own.
                algorithm, networks = (
                    AtRandom(AtRandom.Config(), environments.spaces),
                    ActingNetworks({}),
                )
            else:
                algorithm, networks = acting(self.job, environments)
                networks.load(self.tensors)
            rounds, left = [], episodes
            most = environments.count // environments.spaces.agents
            for seed in seeds.tolist():
                together = min(most, left)
                rounds.append(play(environments, networks, algorithm, together, seed))
                left -= together
        finally:
            environments.close()
        return GreedyEpisodes.of(
            np.concatenate([one.returns for one in rounds]),
            np.concatenate([one.lengths for one in rounds]),
            sum(one.seconds for one in rounds),
            sum(one.cut for one in rounds),
        )


def compare(
    first: str | Path | RunWithFolder,
    second: str | Path | RunWithFolder = RANDOM,
    *,
    episodes: int = 100,
    seed: int | None = None,
) -> Comparison:
    """Play greedy episodes of two policies in the same environments.

    Pairs of episodes begin with the same seed, so that what differs between them is the policy: fewer episodes
    tell a difference than of policies that are played apart.

    Args:
        first: a run's folder, its checkpoints folder, one checkpoint, or the `Result` of a run.
        second: another one, or `random`: actions at random in the first one's environment.
        episodes: of each, 2 or more.
        seed: of the episodes, from 0 to 2**32 - 1; drawn and told when absent.

    Raises:
        InputError: there is no policy, or the two were trained in different environments.
        RunError: an environment failed, or a return is not finite.
    """
    if type(episodes) is not int or episodes < 2:
        raise InputError(
            f"episodes: {show(episodes)} is not allowed; a whole number from 2, for a standard error"
        )
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**32):
        raise InputError(f"seed: {show(seed)} is not allowed; a whole number from 0 to 4294967295")
    first, second = _folder(first), _folder(second)
    job, policy = find(Path(first))
    players = [_Player(job, policy.tensors)]
    if str(second) == RANDOM:
        players.append(_Player(_unconverted(job)))
    else:
        other, saved = find(Path(second))
        _check_same(job, other, first, second)
        players.append(_Player(other, saved.tensors))
    chosen = secrets.randbelow(2**32) if seed is None else seed
    rounds = -(-episodes // MOST_ENVIRONMENTS)
    seeds = np.random.SeedSequence(chosen).generate_state(rounds)
    ours, theirs = (player.play(episodes, seeds) for player in players)
    apart = ours.returns - theirs.returns
    error = float(apart.std(ddof=1)) / math.sqrt(episodes)
    return Comparison(ours, theirs, float(apart.mean()), error, episodes, chosen)


def _folder(run: str | Path | RunWithFolder) -> str | Path:
    found = run if isinstance(run, str | Path) else getattr(run, "folder", None)
    if not isinstance(found, str | Path):
        raise InputError(
            f"{show(run)} is no run; give its folder as a text or a Path, or its Result"
        )
    return found


def _unconverted(job: RLJob) -> RLJob:
    environment = job.spec.environment.model_copy(update={"convert": None})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"environment": environment})})


def _check_same(job: RLJob, other: RLJob, first: str | Path, second: str | Path) -> None:
    """Refuse policies of different environments; what their algorithms made of the spaces may differ."""
    kept = {"id", "entry_point", "kwargs", "max_episode_steps"}
    ours, theirs = (
        each.spec.environment.model_dump(by_alias=True, include=kept, exclude_defaults=True)
        for each in (job, other)
    )
    if ours != theirs:
        raise InputError(
            f"the environment of {second} is {show(theirs)}; that of {first} is {show(ours)}. Only policies of the "
            "same environment can be compared"
        )
