"""The learner process: binds addresses, loads torch, waits for the buffer, then runs `training.Training`."""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rljob import spec
from rljob.algorithms import resolve_algorithm, uses_torch
from rljob.algorithms.recorded_discount import recorded_discount
from rljob.errors import AskedToEnd, RunError
from rljob.process import downloads
from rljob.process.context import RoleContext
from rljob.roles.learner.final_evaluation import evaluated
from rljob.roles.learner.hooks import Hooks
from rljob.roles.learner.progress import TrainingProgress
from rljob.roles.learner.report import RecordWriter
from rljob.roles.learner.saving import Saver
from rljob.roles.learner.source import ExperienceSource, Opened
from rljob.roles.learner.status import LearnerReporter
from rljob.roles.learner.training import Training, device_of
from rljob.roles.learner.weight_server import Publisher
from rljob.roles.sinks import check as check_sinks
from rljob.roles.sinks.children import Sinks
from rljob.run_folder import provenance
from rljob.run_folder.names import CHECKPOINTS, JOB, RESULT
from rljob.run_folder.write_whole import write_whole
from rljob.spec.status import EndReport
from rljob.system import usable_cores
from rljob.telemetry.health import Health
from rljob.telemetry.metrics import LearnerMetrics
from rljob.telemetry.pages import Answer
from rljob.telemetry.role_state import FIRST_APPLICATION
from rljob.user_code.hooks import load_hooks
from rljob.wire.endpoints import buffer_endpoints, weights_endpoint
from rljob.wire.sockets import Client
from rljob.wire.watermark import Watermark

_LOG = logging.getLogger("rljob")


def main(context: RoleContext) -> EndReport:
    """Run until the job's stop condition is reached, or until asked to stop; tells which.

    Raises:
        AskedToEnd: asked to stop before there was anything to save.
        InputError: when algorithm or network cannot be used with the environment's spaces.
        RunError: when training cannot go on, for example because a loss is not finite.
    """
    check_sinks(context.job.spec.sinks)
    metrics = LearnerMetrics()
    metrics.restarts.set(context.attempt)
    if not context.job.spec.strict:
        metrics.checkpoint_interval.set(context.job.spec.checkpoint.interval.seconds)
    with ExitStack() as stack:
        private = {
            "/checkpoint": lambda: downloads.checkpoint(
                context.folder / CHECKPOINTS, context.folder / JOB
            ),
            "/records": lambda: downloads.records(context.folder),
        }
        guarded = {"/status": lambda: _status_page(context)}
        health, server = context.observe(metrics, guarded, private)
        stack.callback(server.close)
        context.announce(server)

        def rejected(_: Client, reason: str) -> None:
            metrics.messages_rejected[reason].inc()

        publisher = Publisher(context.wire(rejected), weights_endpoint(context.learner), metrics)
        stack.callback(publisher.close)
        wire = context.wire(rejected)
        stack.callback(wire.close)
        # Importing torch is slow and the rollouts start meanwhile: addresses are bound before it.
        with context.stop.at_once():
            wanted = context.job.spec.hooks
            user = None if wanted is None else load_hooks(wanted)
            torch = uses_torch(resolve_algorithm(context.job.spec.algorithm))
            if torch:
                _prepare_torch(context)
        saver = Saver(_checkpoint_folder(context), context.job.spec.checkpoint.keep, metrics)
        stack.callback(saver.close)
        names = context.job.spec.sinks.wanted
        # Sinks end after the last record.
        sinks = Sinks(context.folder, names, lambda n: metrics.sink_failures[n].inc())
        stack.push(lambda kind, *_: sinks.close(hurried=kind is not None or context.stopping()))
        asked = context.job.spec
        longest = asked.stall.timeout.seconds / 3
        reporter = RecordWriter(context.folder, metrics, longest, asked.learner.device)
        stack.callback(reporter.close)
        snapshot = saver.newest() if context.resume or context.attempt > 0 else None
        status = LearnerReporter(context)
        samples = wire.connect(buffer_endpoints(context.buffer).samples, context.name, "buffer")
        metrics.links.add("samples", samples.traffic)
        source = ExperienceSource(
            wire,
            samples,
            context.started if snapshot is None else max(context.started, snapshot.lineage + 1),
            0 if context.job.spec.strict else 1,
            context.job.spec.rollout.replicas,
            metrics,
            same_machine=context.buffer.startswith("ipc://"),
        )
        progress = TrainingProgress()
        if snapshot is not None:
            progress = TrainingProgress.from_json(snapshot.values["progress"])
            source.watermark = Watermark.from_json(snapshot.values["watermark"])
            source.version = snapshot.version
            source.restore = snapshot.values["replay"]
        status.starts(progress, saver.last)
        opened = _wait_for_buffer(context, source, health)
        health.waits_for = ""
        hooks = Hooks(
            user,
            metrics,
            health,
            lambda seconds: reporter.spent("hooks", seconds),
            strict=context.job.spec.strict,
        )
        parts = (opened, source, publisher, saver, reporter, status, health, hooks)
        training = Training(context, *parts, fresh=snapshot is None)
        if snapshot is not None:
            training.restore(snapshot)
        training.begin()
        # From here on the job is accepted. A job that was refused has changed no file.
        _write_job(context)
        device = device_of(context.job.spec.learner.device) if torch else "cpu"
        _write_provenance(context, device, training.settings)
        (context.folder / RESULT).unlink(missing_ok=True)
        end = training.run()
        return evaluated(context, health, end) if context.evaluates else end


def _status_page(context: RoleContext) -> Answer:
    if context.report is None:
        return Answer.text(503, "the learner is starting")
    report = context.report.model_dump(mode="json", by_alias=True, exclude_none=True)
    return Answer.of(200, "application/json", json.dumps(report).encode() + b"\n")


def _write_job(context: RoleContext) -> None:
    """Write the job beside its checkpoints, which do not name the environment.

    Raises:
        RunError: when the folder cannot be written.
    """
    path, text = context.folder / JOB, spec.dump(context.job)
    try:
        context.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def _write_provenance(context: RoleContext, device: str, settings: dict[str, Any]) -> None:
    """Write the provenance of the result: settings, software and machine.

    Raises:
        RunError: when the folder cannot be written.
    """
    archive = context.job.spec.code_archive
    code = archive.model_dump(by_alias=True, exclude_none=True) if archive is not None else None
    try:
        values = provenance.of(context.seed, device, usable_cores(), settings, code)
        discount, source = recorded_discount(context.job.spec)
        text = f"{discount:g}, of {source}" if source else f"{discount:g}"
        provenance.write(context.folder, {**values, "discountOfReturns": text})
    except OSError as error:
        raise RunError(f"cannot write {error.filename}: {error.strerror}") from error


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

    if context.threads is not None:
        torch.set_num_threads(context.threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        # Threads beyond the free cores wait for each other at every operation.
        torch.set_num_threads(usable_cores())
    torch.manual_seed(context.seed)
    if context.job.spec.strict:
        torch.use_deterministic_algorithms(True)


def _wait_for_buffer(context: RoleContext, source: ExperienceSource, health: Health) -> Opened:
    played = context.job.spec.environment.played
    health.waits_for = "the buffer" if played else FIRST_APPLICATION
    while True:
        if context.stopping():
            raise AskedToEnd
        opened = source.poll(time.monotonic())
        if opened is not None:
            if opened.problem and context.job.spec.strict:
                raise RunError(opened.problem)
            if opened.problem:
                _LOG.warning("continuing with an empty buffer: %s", opened.problem)
            return opened
        source.wait()
        health.beat()
