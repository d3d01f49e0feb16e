"""What a job is made of, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rljob.algorithms import load_config, resolve_algorithm
from rljob.algorithms.base import Algorithm, Learner
from rljob.envs.vector import Environments
from rljob.nets import Engine, build_engine, build_module, export
from rljob.roles.learner.training import device_of
from rljob.spec import RLJob
from rljob.wire.experience import ExperienceFormat

if TYPE_CHECKING:
    import torch


@dataclass
class Parts:
    """The very environments, networks and algorithm that the roles would have."""

    job: RLJob
    environments: Environments
    algorithm: Algorithm
    engine: Engine
    plan: ExperienceFormat
    module: torch.nn.Module
    learner: Learner


@contextmanager
def parts_of(job: RLJob, threads: int) -> Iterator[Parts]:
    import torch

    spec, before = job.spec, torch.get_num_threads()
    environments = Environments(spec.environment, spec.rollout.envs_per_replica)
    torch.set_num_threads(threads)
    try:
        spaces = environments.spaces
        algorithm: Algorithm = resolve_algorithm(spec.algorithm)(
            load_config(spec.algorithm), spaces
        )
        engine = build_engine(
            spec.network,
            spaces,
            algorithm.heads,
            algorithm.acting_heads,
            spec.rollout.precision,
        )
        seed, precision = spec.seed or 0, spec.learner.precision
        module = build_module(spec.network, spaces, algorithm.heads, seed, precision)
        engine.load(export(module, algorithm.acting_heads))
        module = module.to(device_of(spec.learner.device))
        learner = algorithm.learner(module, spec.seed or 0)
        plan = ExperienceFormat.of(
            algorithm.data, algorithm.fields, spec.rollout.envs_per_replica, spaces
        )
        yield Parts(job, environments, algorithm, engine, plan, module, learner)
    finally:
        torch.set_num_threads(before)
        environments.close()
