"""Runs a job's environment, network and algorithm for some seconds, without training, and tells what it saw."""

from __future__ import annotations

import json
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rljob import spec as specs
from rljob.algorithms.answers import check_update
from rljob.algorithms.base import Arrays, Progress, Replay
from rljob.algorithms.settings import own_rates, unfinished_schedules
from rljob.envs.spaces import BoxSpace, Space, encoded_shape
from rljob.errors import InputError, RunError
from rljob.nets.acting import OF_NETWORK
from rljob.plan.job_parts import JobParts, job_parts
from rljob.plan.listed_agents import ListedAgents
from rljob.plan.networks import NetworkSummary, summaries
from rljob.plan.transport import MeasuredTransport
from rljob.process.memory import memory_limit
from rljob.roles.buffer.store import StoreSettings, check_memory, slots_for
from rljob.roles.rollout.collect import Collector
from rljob.spec import RLJob
from rljob.user_code.failure import explain
from rljob.user_code.hooks import load_hooks

SECONDS = 3.0
"""Time for which the environments are played; at least one segment is."""
PATIENCE = 30.0
"""Seconds without experience at the learner after which the trial has failed."""
LARGE = 100.0
"""Size of observations above which a network learns badly."""


@dataclass
class JobTrial:
    """What was seen.

    Attributes:
        vectorised: whether the environment's own vector form is used.
        observation, action: the spaces.
        masked: whether the environment tells which actions are allowed.
        agents: of one environment.
        state: the space of the whole environment's state, which the learner reads; empty where it tells none.
        network_input: shape of one observation as the network gets it, float32.
        parameters: numbers that the learner trains.
        networks: what they are in.
        hooks: methods of the job's hooks that the learner calls.
        returns, lengths: of the episodes that ended.
        metrics: of the one update that was made.
        warnings: what may be meant, but often is not.
    """

    environments: int
    vectorised: bool
    observation: str
    action: str
    network_input: tuple[int, ...]
    parameters: int
    masked: bool = False
    agents: int = 1
    state: str = ""
    networks: tuple[NetworkSummary, ...] = ()
    hooks: tuple[str, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "environments": self.environments,
            "vectorised": self.vectorised,
            "observation": self.observation,
            "action": self.action,
            "masked": self.masked,
            "agents": self.agents,
            "state": self.state or None,
            "networkInput": list(self.network_input),
            "parameters": self.parameters,
            "networks": [one.to_json() for one in self.networks],
            "hooks": list(self.hooks),
            "steps": self.steps,
            "stepsPerSecond": round(self.steps / max(self.seconds, 1e-9), 1),
            "episodes": len(self.returns),
            "meanReturn": float(np.mean(self.returns)) if self.returns else None,
            "meanLength": float(np.mean(self.lengths)) if self.lengths else None,
            "metrics": self.metrics,
            "warnings": self.warnings,
        }


def try_out(job: RLJob) -> JobTrial:
    """Make everything that rollout and learner use, play for `SECONDS`, and make one update.

    Raises:
        InputError: environment, algorithm or network cannot be used.
        RunError: user code raised, or returned values that are not in their space.
    """
    try:
        wanted = job.spec.hooks
        hooks = () if wanted is None else tuple(load_hooks(wanted).methods)
        with job_parts(job, threads=1) as parts:
            return _try_out(parts, hooks)
    except InputError as error:
        raise specs.locate(job, error) from None


def _try_out(parts: JobParts, hooks: tuple[str, ...]) -> JobTrial:
    environments = parts.environments
    spaces = environments.spaces
    trial = JobTrial(
        environments.count // spaces.agents,
        environments.vectorised,
        _told(spaces.observation, environments.own_spaces.observation),
        _told(spaces.action, environments.own_spaces.action),
        encoded_shape(spaces.observation),
        sum(p.numel() for module in parts.modules.values() for p in module.parameters()),
        spaces.masked,
        spaces.agents,
        "" if spaces.state is None else str(spaces.state),
        summaries(parts.modules, parts.algorithm.networks) if parts.modules else (),
        hooks=hooks,
    )
    if "on_evaluation" in hooks and parts.job.spec.evaluation is None:
        trial.warnings.append(
            "hooks.entryPoint has on_evaluation, and the job has no evaluation: it is never called"
        )
    _check_buffer(parts)
    first = environments.reset(0).copy()
    if not np.array_equal(first, environments.reset(0), equal_nan=True):
        trial.warnings.append(
            "reset(seed=0) gave different observations twice: a run with a seed cannot be repeated. Draw random "
            "numbers from self.np_random, and call super().reset(seed=seed)"
        )
    _, segment = parts.plan.layout.allocate()
    collector = Collector([parts.environments], parts.networks, parts.algorithm, parts.plan.length)
    _play(parts, trial, collector, segment)
    trial.metrics = _update(parts, collector, segment)
    _save(parts)
    spec = parts.job.spec
    trial.warnings += unfinished_schedules(parts.config, spec.stop)
    for name, rate in own_rates(spec, parts.algorithm.networks).items():
        trial.warnings += unfinished_schedules(rate, spec.stop, f"networks.{name}")
    odd = [name for name, value in trial.metrics.items() if not math.isfinite(value)]
    if odd:
        trial.warnings.append(f"{', '.join(odd)} of the update: not finite")
    return trial


def _told(space: Space, own: Space) -> str:
    return str(space) if space is own else f"{space}, converted from {own}"


def _check_buffer(parts: JobParts) -> None:
    """Raises InputError where the job's experience does not fit into this machine's memory."""
    spec = parts.job.spec
    settings = StoreSettings.of(spec, 0, memory_limit())
    batch = parts.plan.segments_per_batch(spec.rollout.replicas)
    check_memory(parts.plan, slots_for(parts.plan, batch, settings), settings)


def _play(parts: JobParts, trial: JobTrial, collector: Collector, segment: Arrays) -> None:
    """Collect segments; `segment` has the last one."""
    collector.reset((0,))
    seen = _ValueRanges(parts.environments.spaces.observation)
    listed = ListedAgents(parts.environments)
    began = time.monotonic()
    while trial.steps == 0 or time.monotonic() - began < SECONDS:
        episodes = collector.collect(segment, listed.look)
        trial.returns += episodes[:, 0].tolist()
        trial.lengths += episodes[:, 1].astype(int).tolist()
        trial.steps += int(np.count_nonzero(segment["valid"]))
        seen.add(segment)
    trial.seconds = time.monotonic() - began
    if not trial.returns:
        trial.warnings.append(
            f"no episode ended within {trial.steps // parts.environments.count:,} steps of each environment: give it a "
            "time limit (environment.maxEpisodeSteps) if it has no natural end"
        )
    trial.warnings += seen.warnings()
    trial.warnings += listed.found


class _ValueRanges:
    """Ranges of the values."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._rewards = (math.inf, -math.inf)
        self._observations = (math.inf, -math.inf)
        self._outside = self._count = 0

    def add(self, segment: Arrays) -> None:
        reward, observation = segment["reward"][segment["valid"]], segment["observation"]
        self._rewards = _wider(self._rewards, reward)
        self._observations = _wider(self._observations, observation)
        if isinstance(self._space, BoxSpace):
            low, high = self._space.bounds()
            outside = (observation < low) | (observation > high)
            self._outside += int(outside.any(axis=tuple(range(2, outside.ndim))).sum())
            self._count += observation.shape[0] * observation.shape[1]

    def warnings(self) -> list[str]:
        found = []
        if self._outside:
            found.append(
                f"{self._outside / self._count:.1%} of the observations are outside the bounds of {self._space}"
            )
        low, high = self._observations
        if low == high:
            found.append(f"every number of every observation was {low:g}")
        image = isinstance(self._space, BoxSpace) and self._space.image
        if isinstance(self._space, BoxSpace) and not image and max(-low, high) > LARGE:
            found.append(
                f"observations reach from {low:g} to {high:g}: networks learn better from numbers near 1"
            )
        if self._rewards[0] == self._rewards[1] == 0:
            found.append("every reward was 0")
        return found


def _wider(known: tuple[float, float], values: np.ndarray) -> tuple[float, float]:
    if not values.size:
        return known
    return min(known[0], float(values.min())), max(known[1], float(values.max()))


def _save(parts: JobParts) -> None:
    """Save the learner and load it again, as a checkpoint and a resumed run do.

    Raises:
        RunError: what its attributes hold cannot be saved.
    """
    try:
        state = parts.learner.state()
        json.dumps(state.values)
        parts.learner.load_state(state)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"the learner cannot be saved: {explain(error)}") from error


def _check_weights(parts: JobParts) -> None:
    """Raises RunError where an update left a weight NaN or infinite, or NaN in what is published."""
    for name, array in parts.policy(Progress(0, 0.0)).items():
        # Not the weights: of a network's buffers the limit of an encoder is infinite.
        if OF_NETWORK not in name and np.isnan(array).any():
            raise RunError(f"after one update the learner publishes NaN in {name}")
    for name, module in parts.modules.items():
        for weight, value in module.named_parameters():
            if not value.isfinite().all():
                raise RunError(
                    f"after one update {weight} of the network {name} is NaN or infinite"
                )


def _update(parts: JobParts, collector: Collector, segment: Arrays) -> dict[str, float]:
    """One update, with experience that went through a buffer: `segment`, or new ones if sequences go on over several."""
    data = parts.algorithm.data
    anew = isinstance(data, Replay) and data.length > 1
    if anew:
        collector.reset((0,))
    with ExitStack() as stack:
        transport = MeasuredTransport(parts, segment, stack)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if transport.credited():
                if anew:
                    collector.collect(segment, lambda: None)
                transport.send()
            batch = transport.take()
            if batch is not None:
                update = [
                    check_update(
                        parts.learner, parts.learner.update(arrays, Progress(0, 0.0)), arrays
                    )
                    for arrays in batch.updates
                ][-1]
                _check_weights(parts)
                return {name: float(value) for name, value in update.metrics.items()}
    raise RunError("the trial failed: no experience reached the learner")
