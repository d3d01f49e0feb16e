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
from contextlib import ExitStack

import numpy as np

from rljob import spec as specs
from rljob.algorithms.base import Arrays, OnPolicy
from rljob.errors import InputError, RunError
from rljob.plan.collecting import Collecting
from rljob.plan.companion import beside
from rljob.plan.exchange import Exchange
from rljob.plan.measured import Costs, Line, OnPolicyUse, ReplayUse, Work
from rljob.plan.meter import Meter
from rljob.plan.parts import Parts, parts_of
from rljob.plan.versions import Versions
from rljob.roles.learner.batches import Batch
from rljob.roles.learner.cores import usable_cores
from rljob.spec import RLJob

SECONDS = 5.0
"""How long is measured; what takes longer by itself is measured once."""
PATIENCE = 60.0
"""Seconds more after which it has failed."""
SIZES = (1, 4)
"""Segments in the batches whose updates are measured."""


def digest(job: RLJob) -> str:
    """Of all in a job that its costs depend on, but for the machine."""
    spec = job.spec
    parts = [spec.environment, spec.algorithm, spec.network, spec.learner]
    values = [part.model_dump(mode="json") for part in parts]
    rollout = spec.rollout
    more = [rollout.envs_per_replica, rollout.precision, spec.buffer.max_policy_lag, spec.strict]
    text = json.dumps([*values, *more, spec.buffer.samples_per_insert], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def calibrate(job: RLJob, threads: int, company: bool) -> Costs:
    """Measure one job.

    Args:
        threads: of the learner's torch.
        company: whether a rollout is at work beside what is measured, as in a job whose roles share a
            machine: each takes caches and memory from the others, and work needs more time of the
            processor.

    Raises:
        InputError: when environment, algorithm or network cannot be used.
        RunError: when the environment fails.
    """
    try:
        with ExitStack() as stack:
            parts = stack.enter_context(parts_of(job, threads))
            if company:
                stack.enter_context(beside(job))
            return _measure(parts)
    except InputError as error:
        raise specs.locate(job, error) from None


def _measure(parts: Parts) -> Costs:
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


def _train(parts: Parts, batch: Batch, updates: dict[int, list[Work]], until: float) -> None:
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
    """The mean, for a rate is made of all of them; without the first tenth, which finds nothing prepared."""
    kept = works[min(len(works) - 1, math.ceil(len(works) / 10)) :]
    return Work(
        cpu=statistics.fmean(work.cpu for work in kept),
        wait=statistics.fmean(work.wait for work in kept),
        width=statistics.fmean(work.width for work in kept),
    )


def _use(parts: Parts, lag: int) -> OnPolicyUse | ReplayUse:
    data = parts.algorithm.data
    if isinstance(data, OnPolicy):
        return OnPolicyUse(segments_per_batch=data.segments_per_batch or 0, max_policy_lag=lag)
    return ReplayUse(
        batch_size=data.batch_size,
        samples_per_insert=parts.job.spec.buffer.samples_per_insert or data.samples_per_insert,
        updates_per_publish=data.updates_per_publish,
    )
