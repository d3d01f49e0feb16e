"""Environments, networks and algorithm of a job, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rljob.algorithms import load_config, resolve_algorithm
from rljob.algorithms.base import Algorithm, AlgorithmConfig, Learner
from rljob.algorithms.settings import check_schedules
from rljob.envs.vector import Environments
from rljob.nets import Engine, build_engine, build_module, export
from rljob.roles.learner.training import device_of
from rljob.spec import RLJob
from rljob.wire.experience import ExperienceFormat

if TYPE_CHECKING:
    import torch


@dataclass
class JobParts:
    """The objects that rollout and learner of the job use."""

    job: RLJob
    environments: Environments
    config: AlgorithmConfig
    algorithm: Algorithm
    engine: Engine
    plan: ExperienceFormat
    module: torch.nn.Module
    learner: Learner


@contextmanager
def job_parts(job: RLJob, threads: int) -> Iterator[JobParts]:
    """Build the parts; close the environments at the end.

    Args:
        threads: of torch.

    Raises:
        InputError: when environment, algorithm or network cannot be used.
    """
    import torch

    spec, before, seed = job.spec, torch.get_num_threads(), job.spec.seed or 0
    environments = Environments(spec.environment, spec.rollout.envs_per_replica)
    torch.set_num_threads(threads)
    try:
        spaces = environments.spaces
        config = load_config(spec.algorithm)
        check_schedules(config, spec.stop)
        algorithm = resolve_algorithm(spec.algorithm)(config, spaces)
        heads, acting = algorithm.heads, algorithm.acting_heads
        engine = build_engine(spec.network, spaces, heads, acting, spec.rollout.precision)
        module = build_module(spec.network, spaces, heads, seed, spec.learner.precision)
        engine.load(export(module, acting))
        module = module.to(device_of(spec.learner.device))
        learner = algorithm.learner(module, seed)
        envs = spec.rollout.envs_per_replica
        plan = ExperienceFormat.of(algorithm.data, algorithm.fields, envs, spaces)
        yield JobParts(job, environments, config, algorithm, engine, plan, module, learner)
    finally:
        torch.set_num_threads(before)
        environments.close()
