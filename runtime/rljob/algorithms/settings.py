"""Checks the settings that a job gives its algorithm and network."""

from __future__ import annotations

from rljob import spec
from rljob.algorithms import load_config
from rljob.algorithms.base import AlgorithmConfig
from rljob.errors import InputError
from rljob.nets import resolve_network
from rljob.spec import RLJob


def check_settings(job: RLJob) -> None:
    """Look at those of built-in ones; what is named by import path is up to the roles.

    Raises:
        InputError: with the place in the job's file.
    """
    try:
        if job.spec.algorithm.entry_point is None:
            config = load_config(job.spec.algorithm)
            _check_schedule(job, config)
        if job.spec.network.entry_point is None:
            resolve_network(job.spec.network)
    except InputError as error:
        raise spec.locate(job, error) from None


def _check_schedule(job: RLJob, config: AlgorithmConfig) -> None:
    """A schedule follows the share of steps or time that is used; the mean return gives none."""
    stop = job.spec.stop
    linear = getattr(config, "learning_rate_schedule", "constant") == "linear"
    if linear and stop.steps is None and stop.duration is None:
        raise InputError(
            "'linear' is not allowed with stop.meanReturn alone; the learning rate falls with stop.steps or "
            "stop.duration. Set one of them, or 'constant'",
            path="algorithm.config.learningRateSchedule",
        )
