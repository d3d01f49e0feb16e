"""Checks the settings that a job gives its algorithm and network."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from rljob import spec
from rljob.algorithms import load_config, networks_of, remembering
from rljob.algorithms.base import AlgorithmConfig, Net, Rate
from rljob.algorithms.progress import Progress
from rljob.algorithms.schedule import Schedule
from rljob.errors import InputError
from rljob.nets.choice import (
    ImportedNetwork,
    check_built_in,
    check_memory,
    check_names,
    choose,
    unknown,
)
from rljob.spec import RLJob, RLJobSpec, StopSpec
from rljob.spec.invalid import checked


class OwnRate(AlgorithmConfig):
    """What `networks.NAME` sets beside the network itself."""

    learning_rate: Schedule[Rate]
    """Step size of the network's optimizer."""


def check_settings(job: RLJob) -> None:
    """Look at those of built-in ones; what is named by import path is up to the roles.

    Raises:
        InputError: with the place in the job's file.
    """
    try:
        nets = None
        if job.spec.algorithm.entry_point is None:
            config = load_config(job.spec.algorithm)
            check_schedules(config, job.spec.stop)
            nets = networks_of(job.spec.algorithm, config)
            check_names(job.spec.networks or {}, nets)
            if job.spec.init_from is not None:
                check_initial(job.spec.init_from.networks, nets)
        check_built_in(job.spec.network, job.spec.networks)
        if nets is not None:
            name = str(job.spec.algorithm.name)
            check_memory(job.spec.network, job.spec.networks, nets, name, remembering())
        own_rates(job.spec, nets)
    except InputError as error:
        raise spec.locate(job, error) from None


def check_initial(names: Collection[str] | None, nets: Collection[str]) -> None:
    """Refuse names of networks that the job's algorithm does not have.

    Args:
        names: `initFrom.networks`.
        nets: of the algorithm.

    Raises:
        InputError: with the path of the name.
    """
    if not nets:
        raise InputError("is not possible: the algorithm has no networks", path="initFrom")
    for index, name in enumerate(names or ()):
        if name not in nets:
            raise InputError(unknown(name, nets), path=f"initFrom.networks.{index}")


def check_schedules(
    config: AlgorithmConfig, stop: StopSpec, path: str = "algorithm.config"
) -> None:
    """Refuse a schedule of the job's own that stays at its first value until the job ends.

    Args:
        path: where the settings stand in the job.

    Raises:
        InputError: with the path of the setting.
    """
    for name, setting, schedule in _changing(config, path):
        if name not in config.model_fields_set:
            continue
        problem = ""
        if not schedule.by_steps and stop.measure is None:
            problem = (
                "stop gives no share of the job. Set stop.steps, stop.updates, stop.episodes or stop.duration, or give each phase "
                "steps"
            )
        elif schedule.by_steps and stop.steps is not None and schedule.still >= stop.steps:
            problem = f"its value changes after {schedule.still:,.0f} steps, and stop.steps is {stop.steps:,}"
        if problem:
            raise InputError(f"the schedule never changes: {problem}", path=setting)


def own_rates(spec: RLJobSpec, nets: Mapping[str, Net] | None) -> dict[str, OwnRate]:
    """The learning rates that the job gives to single networks, by name.

    Args:
        nets: of the algorithm; None where they are not known yet.

    Raises:
        InputError: a value is not allowed, or the algorithm gives that network no rate of its own, or as
            `check_schedules`.
    """
    found: dict[str, OwnRate] = {}
    for name, network in (spec.networks or {}).items():
        if network.learning_rate is None:
            continue
        if nets is not None and not (name in nets and nets[name].own_rate):
            raise InputError(
                "is not possible: the algorithm gives this network no learning rate of its own",
                path=f"networks.{name}.learningRate",
            )
        values = {"learningRate": network.learning_rate}
        found[name] = checked(OwnRate, values, path=f"networks.{name}", label=name)
        check_schedules(found[name], spec.stop, f"networks.{name}")
    return found


def settings_in_use(spec: RLJobSpec, nets: Mapping[str, Net]) -> dict[str, Any]:
    """The settings of a job's algorithm and of each of its networks, defaults included, as they stand in YAML.

    Args:
        nets: of the algorithm.
    """
    chosen = choose(spec.network, nets, spec.networks)
    return {
        "algorithm": _whole(load_config(spec.algorithm), spec.algorithm.config),
        "networks": {
            name: {"network": each.label, "config": _whole(each.network, _given(each.network))}
            for name, each in chosen.items()
        },
    }


def _given(network: object) -> Mapping[str, Any]:
    return network.config if isinstance(network, ImportedNetwork) else {}


def _whole(config: object, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """All values; those that the job gives where there is no model, or one of the user's that JSON cannot hold."""
    if not isinstance(config, BaseModel):
        return given
    try:
        return config.model_dump(mode="json", by_alias=True)
    except ValueError:
        return given


def unfinished_schedules(
    config: AlgorithmConfig, stop: StopSpec, path: str = "algorithm.config"
) -> Iterator[str]:
    """A sentence for each schedule, defaults included, that the job's steps end before its last value."""
    for _, setting, schedule in _changing(config, path):
        if schedule.by_steps and stop.steps is not None and schedule.length > stop.steps:
            last = schedule.at(Progress(stop.steps, 1.0))
            yield (
                f"{setting} takes {schedule.length:,.0f} steps to {schedule.phases[-1].to:g}, and stop.steps is "
                f"{stop.steps:,}: it ends at {last:.3g}"
            )


def _changing(config: AlgorithmConfig, path: str) -> Iterator[tuple[str, str, Schedule[float]]]:
    """Name, path in the job and schedule of each setting that changes while training."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Schedule) and value.phases:
            yield name, f"{path}.{field.alias}", value
