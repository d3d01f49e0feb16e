"""Measures what the parts of a job cost on this machine, in a few seconds.

Everything is what the roles themselves are made of: environment, engine, algorithm, sockets, buffer,
network and learner of the job. Processor time is measured apart from wall time, so that other programs
on the machine disturb little.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rljob import spec as specs
from rljob.algorithms import load_config, resolve_algorithm
from rljob.algorithms.base import Algorithm, Arrays, Learner, OnPolicy
from rljob.costs.exchange import Exchange
from rljob.costs.measured import Costs, Line, OnPolicyUse, ReplayUse, Work
from rljob.costs.meter import Meter
from rljob.costs.versions import Versions
from rljob.envs import Environments
from rljob.errors import InputError, RunError
from rljob.learner.batches import Batch
from rljob.learner.cores import usable_cores
from rljob.learner.training import device_of
from rljob.nets import Engine, build_engine, build_module, export
from rljob.plan import Plan
from rljob.rollout.collect import Collector
from rljob.rollout.loop import make_plan
from rljob.spec import RLJob

if TYPE_CHECKING:
    import torch

SECONDS = 5.0
"""How long is measured; what takes longer by itself is measured once."""
PATIENCE = 60.0
"""Seconds more after which it has failed."""
SIZES = (1, 4)
"""Segments in the batches whose updates are measured."""


@dataclass
class _Parts:
    """What a job is made of, in one process."""

    job: RLJob
    environments: Environments
    algorithm: Algorithm
    engine: Engine
    plan: Plan
    module: torch.nn.Module
    learner: Learner


def digest(job: RLJob) -> str:
    """Of all in a job that its costs depend on, but for the machine."""
    spec = job.spec
    parts = [spec.environment, spec.algorithm, spec.network, spec.learner]
    values = [part.model_dump(mode="json") for part in parts]
    rollout = spec.rollout
    more = [rollout.envs_per_replica, rollout.precision, spec.buffer.max_policy_lag, spec.strict]
    text = json.dumps([*values, *more, spec.buffer.samples_per_insert], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def calibrate(job: RLJob, threads: int) -> Costs:
    """Measure one job.

    Args:
        threads: of the learner's torch.

    Raises:
        InputError: when environment, algorithm or network cannot be used.
        RunError: when the environment fails.
    """
    try:
        with _parts(job, threads) as parts:
            return _measure(parts)
    except InputError as error:
        raise specs.locate(job, error) from None


@contextmanager
def _parts(job: RLJob, threads: int) -> Iterator[_Parts]:
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
        plan = make_plan(spec, spaces, algorithm)
        yield _Parts(job, environments, algorithm, engine, plan, module, learner)
    finally:
        torch.set_num_threads(before)
        environments.close()


def _measure(parts: _Parts) -> Costs:
    """Play all roles in turn, as one thread: each finds the processor's caches as it would, after others
    had them."""
    spec, plan = parts.job.spec, parts.plan
    lag = 0 if spec.strict else spec.buffer.max_policy_lag
    collecting, updates = Collecting(parts), {size: list[Work]() for size in SIZES}
    exchange = Exchange(plan, collecting.segment, spec.buffer.samples_per_insert, lag)
    versions = Versions(parts.module, parts.algorithm, parts.learner, parts.engine)
    with exchange, versions:
        collecting.collect()
        exchange.open()
        until, meters = time.monotonic() + SECONDS, exchange.meters
        while time.monotonic() < until or not (meters.segments and versions.count):
            if exchange.credited():
                collecting.collect()
                exchange.send()
            batch = exchange.take()
            if batch is not None:
                _train(parts, batch, updates, until)
                versions.publish()
            if time.monotonic() > until + PATIENCE:
                raise RunError("measuring failed: experience came to no learner")
    return Costs(
        job=digest(parts.job),
        cores=usable_cores(),
        length=plan.length,
        envs=plan.envs,
        valid=collecting.valid,
        strict=spec.strict,
        use=_use(parts, lag),
        segment_bytes=plan.layout.size,
        weights_bytes=versions.size,
        **collecting.work(),
        shipping=meters.shipping.work(meters.segments),
        applying=versions.applying,
        carrying=Work(
            cpu=max(0.0, meters.carrying.threads - meters.carrying.cpu) / meters.segments
        ),
        storing=meters.storing.work(meters.segments),
        delivering=meters.delivering.work(meters.deliveries),
        receiving=meters.receiving.work(meters.deliveries),
        updating=_line(updates, isinstance(parts.algorithm.data, OnPolicy)),
        publishing=versions.publishing,
        hop=statistics.median(meters.hops) if meters.hops else 0.0,
    )


def _train(parts: _Parts, batch: Batch, updates: dict[int, list[Work]], until: float) -> None:
    """Train on what came; on-policy, every other time on several of it side by side, as more rollouts
    would send. When the time is over, only what has not been measured at all."""
    size, taken = SIZES[0], updates[SIZES[0]]
    if taken and time.monotonic() > until:
        return
    quick = bool(taken) and taken[-1].seconds * SIZES[1] < SECONDS / 4
    if isinstance(parts.algorithm.data, OnPolicy) and quick:
        size = min(SIZES, key=lambda size: len(updates[size]))
    batches = batch.updates
    if size > 1:
        batches = [_side_by_side(arrays, size) for arrays in batches]
    done = 0
    with Meter() as meter:
        while done < len(batches) and (not done or time.monotonic() < until):
            parts.learner.update(batches[done], 0.5)
            done += 1
    updates[size].append(meter.wide_work(done))


def _side_by_side(arrays: Arrays, size: int) -> Arrays:
    return {name: np.concatenate([array] * size, axis=1) for name, array in arrays.items()}


def _line(updates: dict[int, list[Work]], on_policy: bool) -> Line:
    """From what two sizes take. Of one that takes long, nearly all grows with the batch."""
    found = {size: _typical(works) for size, works in updates.items() if works}
    small, nothing = found[SIZES[0]], Work(cpu=0.0)
    if not on_policy:
        return Line(fixed=small, each=nothing)
    if SIZES[1] not in found:
        return Line(fixed=Work(cpu=0.0, width=small.width), each=small)
    large, more = found[SIZES[1]], SIZES[1] - SIZES[0]
    each = Work(
        cpu=max(0.0, large.cpu - small.cpu) / more, wait=max(0.0, large.wait - small.wait) / more
    )
    fixed = Work(
        cpu=max(0.0, small.cpu - SIZES[0] * each.cpu),
        wait=max(0.0, small.wait - SIZES[0] * each.wait),
        width=small.width,
    )
    return Line(fixed=fixed, each=each)


def _typical(works: list[Work]) -> Work:
    """The mean, for a rate is made of all of them; without the tenth that took longest, such as the first,
    which finds nothing prepared."""
    most = max(1, len(works) - math.ceil(len(works) / 10))
    kept = sorted(works, key=lambda work: work.seconds)[:most]
    return Work(
        cpu=statistics.fmean(work.cpu for work in kept),
        wait=statistics.fmean(work.wait for work in kept),
        width=statistics.fmean(work.width for work in kept),
    )


class Collecting:
    """A rollout's environments and policy, stepped and timed.

    Attributes:
        segment: what was collected last; as much of it as there is time for, the rest made up.
    """

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        _, self.segment = parts.plan.layout.allocate()
        self._scalars = parts.learner.scalars(0.5, 0)
        first, begun = self._collector(1), time.monotonic()
        first.collect(self.segment, self._scalars, _nothing)
        taken = max(1e-6, time.monotonic() - begun)
        self._length = min(parts.plan.length, max(1, int(SECONDS / 4 / taken)))
        self._collected_by = self._collector(self._length)
        self._meter, self._count, self._valid = Meter(), 0, 0

    def _collector(self, length: int) -> Collector:
        parts = self._parts
        made = Collector([parts.environments], parts.engine, parts.algorithm, length)
        made.reset((parts.job.spec.seed or 0,))
        return made

    def collect(self) -> None:
        """Step."""
        valid = self.segment["valid"]
        with self._meter:
            self._collected_by.collect(self.segment, self._scalars, _nothing)
        self._count += 1
        self._valid += int(np.count_nonzero(valid[: self._length]))
        valid[self._length :] = True

    @property
    def _steps(self) -> int:
        return self._count * self._length

    @property
    def valid(self) -> float:
        """Share of steps that did not only reset."""
        return max(1, self._valid) / (self._steps * self._parts.plan.envs)

    def work(self) -> dict[str, Work]:
        """Of a step's parts, and of what else a segment takes.

        Waiting is the environment's, and so are threads that help; this thread's processor time is shared
        out as wall time was.
        """
        meter, collector = self._meter, self._collected_by
        idle = max(0.0, meter.wall - meter.cpu)
        stepping = max(0.0, collector.environment_seconds - idle)
        # Seconds in which others had the processor may be anywhere.
        all_of_it = max(meter.wall - idle, stepping + collector.acting_seconds, 1e-9)
        own = meter.cpu * stepping / all_of_it
        acting = meter.cpu * collector.acting_seconds / all_of_it
        helped = own + max(0.0, meter.threads - meter.cpu)
        computing = max(1e-9, own + idle - meter.wait)
        step = Work(cpu=helped, wait=meter.wait, width=max(1.0, helped / computing))
        return {
            "stepping": step.times(1 / self._steps),
            "acting": Work(cpu=acting / self._steps),
            "packing": Work(cpu=max(0.0, meter.cpu - own - acting) / self._count),
        }


def _use(parts: _Parts, lag: int) -> OnPolicyUse | ReplayUse:
    data = parts.algorithm.data
    if isinstance(data, OnPolicy):
        return OnPolicyUse(segments_per_batch=data.segments_per_batch or 0, max_policy_lag=lag)
    return ReplayUse(
        batch_size=data.batch_size,
        samples_per_insert=parts.job.spec.buffer.samples_per_insert or data.samples_per_insert,
        updates_per_publish=data.updates_per_publish,
    )


def _nothing() -> None: ...
