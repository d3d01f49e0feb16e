"""Environments, networks and algorithm of a job, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rljob.algorithms import load_config, make_algorithm, uses_torch
from rljob.algorithms.answers import make_learner
from rljob.algorithms.base import Algorithm, AlgorithmConfig, Learner, Progress
from rljob.algorithms.initial_weights import load_initial
from rljob.algorithms.learned_networks import learned_networks
from rljob.algorithms.publishing import policy_arrays
from rljob.algorithms.settings import check_schedules
from rljob.envs.spaces import Arrays
from rljob.envs.vector import Environments
from rljob.nets import build_acting
from rljob.nets.acting import ActingNetworks
from rljob.roles.learner.training import device_of
from rljob.spec import RLJob
from rljob.wire.experience import ExperienceFormat

if TYPE_CHECKING:
    import torch


HALFWAY = Progress(steps=0, share=0.5)
"""For what is measured: the middle of training."""


@dataclass
class JobParts:
    """The objects that rollout and learner of the job use."""

    job: RLJob
    environments: Environments
    config: AlgorithmConfig
    algorithm: Algorithm
    networks: ActingNetworks
    plan: ExperienceFormat
    modules: dict[str, torch.nn.Module]
    learner: Learner

    def policy(self, progress: Progress) -> Arrays:
        """What the learner publishes now."""
        return policy_arrays(self.algorithm, self.modules, self.learner, progress, copy=True)


@contextmanager
def job_parts(job: RLJob, threads: int) -> Iterator[JobParts]:
    """Build the parts; close the environments at the end.

    Args:
        threads: of torch.

    Raises:
        InputError: when environment, algorithm or network cannot be used.
    """
    spec, seed = job.spec, job.spec.seed or 0
    with ExitStack() as stack:
        environments = Environments(spec.environment, spec.rollout.envs_per_replica, info=True)
        stack.callback(environments.close)
        spaces = environments.spaces
        config = load_config(spec.algorithm)
        check_schedules(config, spec.stop)
        algorithm = make_algorithm(spec.algorithm, spaces)
        modules: dict[str, torch.nn.Module] = {}
        nets = algorithm.networks
        networks = build_acting(spec.network, nets, spaces, spec.rollout.precision, spec.networks)
        if uses_torch(type(algorithm)):
            stack.enter_context(_torch_threads(threads))
            built = learned_networks(spec, algorithm, spaces, seed)
            load_initial(spec, algorithm, spaces, built)
            device = device_of(spec.learner.device)
            modules = {name: each.to(device) for name, each in built.items()}
        learner = make_learner(algorithm, modules, seed)
        envs = spec.rollout.envs_per_replica
        plan = ExperienceFormat.of(
            algorithm.data,
            algorithm.fields,
            envs,
            spaces,
            networks.core_size,
            spec.environment.info or (),
        )
        parts = JobParts(job, environments, config, algorithm, networks, plan, modules, learner)
        networks.load(parts.policy(Progress(0, 0.0)))
        yield parts


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
