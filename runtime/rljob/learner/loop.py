"""The learner process: addresses, torch, the buffer's welcome; then `training.Training`."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from rljob.errors import RunError
from rljob.health import Health
from rljob.learner.publish import Publisher
from rljob.learner.report import Reporter
from rljob.learner.saving import Saver
from rljob.learner.source import Opened, Source
from rljob.learner.training import Training
from rljob.metrics import LearnerMetrics
from rljob.role import RoleContext
from rljob.wire.endpoints import buffer_endpoints, weights_endpoint
from rljob.wire.watermark import Watermark

CHECKPOINTS = "checkpoints"
_LOG = logging.getLogger("rljob")


def main(context: RoleContext) -> None:
    """Run until the job's stop condition is reached, or until asked to stop.

    Raises:
        InputError: when algorithm or network cannot be used with the environment's spaces.
        RunError: when training cannot go on, for example because a loss is not finite.
    """
    metrics = LearnerMetrics()
    metrics.restarts.set(context.attempt)
    health, server = context.observe(metrics)
    malformed = logging.getLogger("rljob").warning
    publisher = Publisher(
        context.wire(lambda _, reason: malformed("message dropped: %s", reason)),
        weights_endpoint(context.learner),
        metrics,
    )
    wire = context.wire(lambda _, reason: malformed("message dropped: %s", reason))
    # Slow, and while it lasts the rollouts start up: so the addresses come first, torch second.
    _prepare_torch(context)
    saver = Saver(_checkpoint_folder(context), context.job.spec.checkpoint.keep, metrics)
    reporter = Reporter(context.folder, metrics)
    try:
        endpoint = wire.connect(buffer_endpoints(context.buffer).samples, context.name, "buffer")
        ahead = 0 if context.job.spec.strict else 1
        resuming = context.resume or context.attempt > 0
        snapshot = saver.newest() if resuming else None
        lineage = (
            context.started if snapshot is None else max(context.started, snapshot.lineage + 1)
        )
        source = Source(wire, endpoint, lineage, ahead, Watermark())
        if snapshot is not None:
            source.watermark = Watermark.from_json(snapshot.values["watermark"])
            source.version = snapshot.version
            source.restore = snapshot.values["replay"]
        opened = _wait_for_buffer(context, source, health)
        if opened is None:
            return
        training = Training(
            context, opened, source, lineage, publisher, saver, reporter, metrics, health
        )
        training.run(snapshot)
    finally:
        saver.close()
        reporter.close()
        publisher.close()
        wire.close()
        server.close()


def _checkpoint_folder(context: RoleContext) -> Path:
    """`checkpoints` in the role's folder; a link to `checkpoint.storage.path` when that is given.

    Raises:
        RunError: when the folder cannot be made.
    """
    folder = context.folder / CHECKPOINTS
    storage = context.job.spec.checkpoint.storage
    if storage is None or storage.path is None:
        return folder
    target = (context.folder / storage.path).resolve()
    try:
        target.mkdir(parents=True, exist_ok=True)
        if target != folder.resolve():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.symlink_to(target)
    except OSError as error:
        raise RunError(f"checkpoint.storage.path: {target}: {error.strerror}") from error
    return folder


def _prepare_torch(context: RoleContext) -> None:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # Threads beyond the free cores wait for each other at every operation.
    torch.set_num_threads(max(1, (cores or 1) - context.job.spec.rollout.replicas))
    torch.manual_seed(context.seed)
    if context.job.spec.strict:
        torch.use_deterministic_algorithms(True)


def _wait_for_buffer(context: RoleContext, source: Source, health: Health) -> Opened | None:
    while not context.stopping():
        opened = source.poll(time.monotonic())
        if opened is not None:
            if opened.problem and context.job.spec.strict:
                raise RunError(opened.problem)
            if opened.problem:
                _LOG.warning("going on with an empty buffer: %s", opened.problem)
            return opened
        source.wait()
        health.beat()
    return None
