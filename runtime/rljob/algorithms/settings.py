"""Checks the settings that a job gives its algorithm and network."""

from __future__ import annotations

from collections.abc import Iterator

from rljob import spec
from rljob.algorithms import load_config
from rljob.algorithms.base import AlgorithmConfig
from rljob.algorithms.progress import Progress
from rljob.algorithms.schedule import Schedule
from rljob.errors import InputError
from rljob.nets import resolve_network
from rljob.spec import RLJob, StopSpec


def check_settings(job: RLJob) -> None:
    """Look at those of built-in ones; what is named by import path is up to the roles.

    Raises:
        InputError: with the place in the job's file.
    """
    try:
        if job.spec.algorithm.entry_point is None:
            check_schedules(load_config(job.spec.algorithm), job.spec.stop)
        if job.spec.network.entry_point is None:
            resolve_network(job.spec.network)
    except InputError as error:
        raise spec.locate(job, error) from None


def check_schedules(config: AlgorithmConfig, stop: StopSpec) -> None:
    """Refuse a schedule of the job's own that stays at its first value until the job ends.

    Raises:
        InputError: with the path of the setting.
    """
    for name, setting, schedule in _changing(config):
        if name not in config.model_fields_set:
            continue
        problem = ""
        if not schedule.by_steps and stop.steps is None and stop.duration is None:
            problem = (
                "stop.meanReturn alone gives no share of the job. Set stop.steps or stop.duration, or give each phase "
                "steps"
            )
        elif schedule.by_steps and stop.steps is not None and schedule.still >= stop.steps:
            problem = f"its value changes after {schedule.still:,.0f} steps, and stop.steps is {stop.steps:,}"
        if problem:
            raise InputError(f"the schedule never changes: {problem}", path=setting)


def unfinished_schedules(config: AlgorithmConfig, stop: StopSpec) -> Iterator[str]:
    """A sentence for each schedule, defaults included, that the job's steps end before its last value."""
    for _, setting, schedule in _changing(config):
        if schedule.by_steps and stop.steps is not None and schedule.length > stop.steps:
            last = schedule.at(Progress(stop.steps, 1.0))
            yield (
                f"{setting} takes {schedule.length:,.0f} steps to {schedule.phases[-1].to:g}, and stop.steps is "
                f"{stop.steps:,}: it ends at {last:.3g}"
            )


def _changing(config: AlgorithmConfig) -> Iterator[tuple[str, str, Schedule[float]]]:
    """Name, path in the job and schedule of each setting that changes while training."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Schedule) and value.phases:
            yield name, f"algorithm.config.{field.alias}", value
