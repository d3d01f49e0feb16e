"""Measures what the parts of a job cost on this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from rljob import spec as specs
from rljob.errors import InputError, RunError
from rljob.plan.collecting import MeasuredCollecting
from rljob.plan.costs import Costs, Work
from rljob.plan.job_parts import HALFWAY, JobParts, job_parts
from rljob.plan.meter import Meter
from rljob.plan.transport import MeasuredTransport
from rljob.roles.learner.batches import Batch
from rljob.spec import RLJob
from rljob.spec.experience import OnPolicy

SECONDS = 5.0
"""Duration of measuring. Each part is measured once even if it takes longer."""
PATIENCE = 30.0
"""Seconds without experience at the learner after which measuring has failed."""
SMALL, LARGE = 1, 4
"""Segments in the batches whose updates are measured."""
_BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"
Updates = dict[int, list[Work]]


def measure(job: RLJob, threads: int, shared: bool) -> Costs:
    """Measure the parts of one job.

    Args:
        threads: of the learner's torch.
        shared: whether the roles share the machine. Then another core is kept busy meanwhile, because work takes
            more processor time beside other work.

    Raises:
        InputError: when environment, algorithm or network cannot be used.
        RunError: when the environment fails.
    """
    try:
        with job_parts(job, threads) as parts:
            if not shared:
                return _measure(parts)
            with _busy_core():
                return _measure(parts)
    except InputError as error:
        raise specs.locate(job, error) from None


@contextmanager
def _busy_core() -> Iterator[None]:
    """Compute in another process; it also ends when this one does."""
    process = subprocess.Popen([sys.executable, "-S", "-c", _BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _measure(parts: JobParts) -> Costs:
    """Run all parts in turn in one thread: each finds the caches as the others left them, as in a job."""
    on_policy = isinstance(parts.algorithm.data, OnPolicy)
    collecting, updates = MeasuredCollecting(parts), Updates({SMALL: [], LARGE: []})
    with ExitStack() as stack:
        transport = MeasuredTransport(parts, collecting.segment, stack)
        heard = time.monotonic()
        until = heard + SECONDS
        while time.monotonic() < until or not transport.versions:
            if transport.credited():
                collecting.collect()
                transport.send()
                heard = time.monotonic()
            batch = transport.take()
            if batch is not None:
                _train(parts, batch, updates, on_policy)
                transport.publish()
            elif time.monotonic() > heard + PATIENCE:
                raise RunError("measuring failed: no experience reached the learner")
        works = transport.works()
    stepping, acting = collecting.shares
    update, update_per_segment = fit_updates(updates, on_policy)
    per_version, updates_per_version, alternating = _version(parts, collecting.segment_steps)
    return Costs(
        length=parts.plan.length,
        envs=parts.plan.envs,
        segment_steps=collecting.segment_steps,
        on_policy=on_policy,
        alternating=alternating,
        segments_per_version=per_version,
        updates_per_version=updates_per_version,
        collecting=collecting.work,
        stepping_share=stepping,
        acting_share=acting,
        update=update,
        update_per_segment=update_per_segment,
        **works,
    )


def _version(parts: JobParts, segment_steps: float) -> tuple[float, int, bool]:
    """Segments and updates for one version, and whether collecting and training take turns."""
    data, buffer, strict = parts.algorithm.data, parts.job.spec.buffer, parts.job.spec.strict
    if isinstance(data, OnPolicy):
        return data.segments_per_batch or 0, 1, strict or buffer.max_policy_lag == 0
    ratio = buffer.samples_per_insert or data.samples_per_insert
    return data.samples / ratio / segment_steps, data.updates_per_publish, strict


def _train(parts: JobParts, batch: Batch, updates: Updates, on_policy: bool) -> None:
    """Train on the batch. On-policy, every second batch is large: the segment several times."""
    size = LARGE if on_policy and len(updates[SMALL]) > len(updates[LARGE]) else SMALL
    with Meter() as meter:
        for arrays in batch.updates:
            if size > SMALL:
                arrays = {name: np.concatenate([a] * size, axis=1) for name, a in arrays.items()}
            parts.learner.update(arrays, HALFWAY)
    updates[size].append(meter.process_work(len(batch.updates)))


def fit_updates(updates: Updates, on_policy: bool) -> tuple[Work, Work]:
    """An update's fixed part, and its part for each segment. Without large batches all of it is the latter."""
    small, more = _mean(updates[SMALL]), LARGE - SMALL
    if not on_policy or not updates[LARGE]:
        return (Work(), small) if on_policy else (small, Work())
    large = _mean(updates[LARGE])
    cpu, seconds = large.cpu - small.cpu, large.seconds - small.seconds
    each = Work(max(0.0, cpu) / more, max(0.0, seconds) / more)
    return Work(max(0.0, small.cpu - each.cpu), max(0.0, small.seconds - each.seconds)), each


def _mean(works: list[Work]) -> Work:
    """Without the first, which includes preparations that are made once."""
    kept = works[1:] or works
    return sum(kept, Work()) * (1 / len(kept))
