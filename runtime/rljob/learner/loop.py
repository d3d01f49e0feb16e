"""The learner process: take experience, update, publish; report and save on the way."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rljob.algorithms import load_config, resolve_algorithm
from rljob.algorithms.base import Algorithm, Arrays, Learner, LearnerState, Replay
from rljob.checkpoint import Snapshot
from rljob.errors import RunError
from rljob.health import Health
from rljob.learner.progress import Progress, StoredSteps
from rljob.learner.publish import Publisher
from rljob.learner.report import Reporter, versions, write_result
from rljob.learner.saving import Saver
from rljob.learner.source import Opened, Segment, Source
from rljob.metrics import LearnerMetrics
from rljob.nets import build_module, export
from rljob.plan import OnPolicyData
from rljob.policy import PolicyWeights
from rljob.role import RoleContext
from rljob.spaces import Spaces
from rljob.trace import Trace
from rljob.wire.arrays import unpack
from rljob.wire.endpoints import buffer_endpoints, weights_endpoint
from rljob.wire.watermark import Watermark

CHECKPOINTS = "checkpoints"
STRICT_BOUNDARY = 10
"""In strict mode: policy versions between two checkpoints, from which a resumed run is the same."""
SNAPSHOT_SECONDS = 60.0
"""How long the buffer may take to save its content."""
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
    saver = Saver(context.folder / CHECKPOINTS, context.job.spec.checkpoint.keep, metrics)
    reporter = Reporter(context.folder, metrics)
    try:
        endpoint = wire.connect(buffer_endpoints(context.buffer).samples, context.name, "buffer")
        ahead = 0 if context.job.spec.strict else 1
        resuming = context.resume or context.attempt > 0
        snapshot = saver.newest() if resuming else None
        lineage = context.started if snapshot is None else max(context.started, snapshot.lineage + 1)
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


@dataclass
class Batch:
    """Experience for one or more updates, until the next publication.

    Attributes:
        updates: each `[T, N, ...]` or `[B, ...]`, see `Learner.update`.
        lags: versions that each segment or delivery is behind.
        steps: environment steps that are trained on for the first time.
    """

    updates: list[Arrays]
    lags: list[int]
    steps: int
    segments: list[tuple[int, int, int]] = field(default_factory=list)


class Training:
    """One life of the learner, from the first experience to the stop condition."""

    def __init__(
        self,
        context: RoleContext,
        opened: Opened,
        source: Source,
        lineage: int,
        publisher: Publisher,
        saver: Saver,
        reporter: Reporter,
        metrics: LearnerMetrics,
        health: Health,
    ) -> None:
        spec = context.job.spec
        self._context, self._spec = context, spec
        self._plan, self._opened = opened.plan, opened
        self._source, self._lineage = source, lineage
        self._publisher, self._saver, self._reporter = publisher, saver, reporter
        self._metrics, self._health = metrics, health
        self._trace: Trace = context.tracer()
        spaces = Spaces.from_json(opened.plan.spaces)
        algorithm_class = resolve_algorithm(spec.algorithm)
        self._algorithm: Algorithm = algorithm_class(load_config(spec.algorithm), spaces)
        module = build_module(spec.network, spaces, self._algorithm.heads, context.seed)
        self._module = module.to(_device(spec.learner.device))
        self._learner: Learner = self._algorithm.learner(self._module, context.seed)
        self._progress = Progress()
        self._stored = StoredSteps(opened.arena, opened.steps)
        self._version = 0
        self._boundary = 0
        self._taken: list[Segment] = []
        self._saved_at = 0.0

    def run(self, snapshot: Snapshot | None) -> None:
        """Train until the stop condition is reached or the process is asked to stop."""
        if snapshot is not None:
            self._restore(snapshot)
        self._reporter.start(self._progress, self._lag_bound())
        self._publish()
        if snapshot is None:
            self._saver.save(self._snapshot())
        self._source.confirm(self._version, time.monotonic())
        self._saved_at = reported_from = time.monotonic()
        reason = self._progress.reached(self._spec.stop)
        while not reason and not self._context.stopping():
            batch = self._next()
            if batch is None:
                break
            self._train(batch)
            now = time.monotonic()
            self._progress.seconds += now - reported_from
            reported_from = now
            reason = self._progress.reached(self._spec.stop)
            if self._reporter.due(now):
                self._report(now)
        self._finish(reason)

    def _lag_bound(self) -> int | None:
        if isinstance(self._algorithm.data, Replay):
            return None
        return 0 if self._spec.strict else self._spec.buffer.max_policy_lag

    def _next(self) -> Batch | None:
        """Wait for the next batch; None when asked to stop meanwhile."""
        started = time.monotonic()
        while not self._context.stopping():
            self._health.beat()
            now = time.monotonic()
            self._source.poll(now)
            batch = self._assemble()
            self._take_statistics()
            if batch is not None:
                self._reporter.waited(now - started)
                return batch
            if self._reporter.due(now):
                self._progress.seconds += 0.0
                self._report(now)
            self._source.wait()
        return None

    def _assemble(self) -> Batch | None:
        data = self._plan.data
        while (message := self._source.take()) is not None:
            if not isinstance(data, OnPolicyData):
                arrays = unpack(message.payload)
                count = len(arrays["reward"])
                updates = [{name: a[k] for name, a in arrays.items()} for k in range(count)]
                return Batch(updates, [max(0, self._version - message.header.version)], 0)
            segment = self._source.segment(message)
            if segment is not None:
                self._taken.append(segment)
            if len(self._taken) == data.segments_per_batch:
                return self._batch()
        return None

    def _batch(self) -> Batch:
        taken, self._taken = self._taken, []
        # By origin, not by arrival: the same segments make the same batch.
        taken.sort(key=lambda segment: segment.origin)
        if len(taken) == 1:
            arrays = taken[0].arrays
        else:
            arrays = {
                name: np.concatenate([segment.arrays[name] for segment in taken], axis=1)
                for name in taken[0].arrays
            }
        lags = [self._version - segment.version for segment in taken]
        steps = int(np.count_nonzero(arrays["valid"]))
        return Batch([arrays], lags, steps, [segment.origin for segment in taken])

    def _take_statistics(self) -> None:
        replay = isinstance(self._algorithm.data, Replay)
        for statistics in self._source.statistics:
            stored = self._stored.more(statistics.arena, int(statistics.numbers["steps"]))
            if replay:
                self._progress.steps += stored
            self._progress.ended(statistics.episodes)
            self._reporter.statistics(statistics.numbers)
        self._source.statistics.clear()

    def _train(self, batch: Batch) -> None:
        started = time.monotonic()
        share = self._progress.share(self._spec.stop)
        keys, priorities = [], []
        for arrays in batch.updates:
            update = self._learner.update(arrays, share)
            if update.priorities is not None:
                keys.append(arrays["key"].reshape(-1))
                priorities.append(update.priorities.reshape(-1))
            self._progress.updates += 1
            samples = arrays["reward"].size
            self._reporter.updated(update.metrics, batch.lags, samples, batch.steps)
        _check_finite(update.metrics, self._progress.updates)
        self._progress.steps += batch.steps
        trained = time.monotonic()
        self._metrics.seconds["update"].inc(trained - started)
        self._version += 1
        if self._at_boundary():
            self._boundary = self._version
        self._publish()
        if keys:
            self._source.reprioritise(np.concatenate(keys), np.concatenate(priorities))
        for origin in batch.segments:
            self._trace.event("consumed", *origin)
        self._source.trained(batch.segments)
        self._metrics.seconds["publish"].inc(time.monotonic() - trained)
        # Before the confirmation: until then the buffer stands still in strict mode, and what it
        # saves belongs to exactly this version.
        self._save_if_due(time.monotonic())
        self._source.confirm(self._version, time.monotonic())

    def _at_boundary(self) -> bool:
        return self._spec.strict and self._version % STRICT_BOUNDARY == 0

    def _save_if_due(self, now: float) -> None:
        # In strict mode only boundaries are saved: a run that goes on from one repeats what a run
        # that was never interrupted did there.
        if self._spec.strict:
            due = self._at_boundary()
        else:
            since = now - self._saved_at
            due = since >= self._spec.checkpoint.interval.seconds and not self._saver.busy
        if due:
            self._saved_at = now
            self._saver.save(self._snapshot())

    def _weights(self) -> PolicyWeights:
        tensors = export(self._module, self._algorithm.acting_heads)
        share = self._progress.share(self._spec.stop)
        scalars = self._learner.scalars(share, self._progress.steps)
        if self._spec.strict:
            scalars = {**scalars, "boundary": float(self._boundary)}
        return PolicyWeights(tensors, scalars)

    def _publish(self) -> None:
        self._publisher.publish((self._lineage, self._version), self._weights().encode())

    def _snapshot(self) -> Snapshot:
        started = time.monotonic()
        weights, state = self._weights(), self._learner.state()
        values = {
            "learner": state.values,
            "progress": self._progress.to_json(),
            "watermark": self._source.watermark.to_json(),
            "arena": self._stored.arena,
            "stored": self._stored.seen,
            "boundary": self._boundary,
            "replay": self._save_replay(),
        }
        snapshot = Snapshot(
            self._version,
            self._lineage,
            {name: array.copy() for name, array in weights.tensors.items()},
            weights.metadata(),
            {name: tensor.detach().cpu().numpy().copy() for name, tensor in state.tensors.items()},
            values,
            self._progress.steps,
        )
        self._metrics.seconds["checkpoint"].inc(time.monotonic() - started)
        return snapshot

    def _save_replay(self) -> dict[str, str]:
        """Have the buffer save its content, when the job wants that; what HELLO needs to go back."""
        wanted = self._spec.checkpoint.replay or self._spec.strict
        if not wanted or not isinstance(self._algorithm.data, Replay):
            return {}
        name = f"{self._version:012d}"
        self._source.request_snapshot(name, self._spec.checkpoint.keep)
        deadline = time.monotonic() + SNAPSHOT_SECONDS
        while name not in self._source.snapshots and time.monotonic() < deadline:
            self._health.beat()
            self._source.wait()
            self._source.poll(time.monotonic())
        answer = self._source.snapshots.pop(name, {"problem": "the buffer did not answer"})
        if "sha256" not in answer:
            _LOG.warning("checkpoint %s has no replay content: %s", name, answer["problem"])
            return {}
        return {"restore": name, "sha256": str(answer["sha256"])}

    def _restore(self, snapshot: Snapshot) -> None:
        import torch

        values = snapshot.values
        tensors = {name: torch.from_numpy(a.copy()) for name, a in snapshot.tensors.items()}
        self._learner.load_state(LearnerState(tensors, values["learner"]))
        self._progress = Progress.from_json(values["progress"])
        self._version, self._boundary = snapshot.version, values["boundary"]
        if values["arena"] == self._opened.arena:
            self._stored = StoredSteps(values["arena"], values["stored"])

    def _report(self, now: float) -> None:
        saved = self._saver.last
        checkpoint: dict[str, Any] | None = None
        if saved is not None and self._saver.last_at is not None:
            checkpoint = {
                "policyVersion": saved.version,
                "step": saved.steps,
                "path": str(saved.path),
                "sha256": saved.sha256,
                "time": self._saver.last_at,
            }
        self._reporter.write(now, self._progress, self._version, checkpoint)

    def _finish(self, reason: str) -> None:
        if not self._spec.strict or reason:
            self._saver.save(self._snapshot())
        self._saver.finish()
        self._report(time.monotonic())
        progress = self._progress
        result = {
            "outcome": "Complete" if reason else "Stopped",
            "reason": reason or "Interrupted",
            "meanReturn": progress.mean_return,
            "bestReturn": progress.best_return,
            "steps": progress.steps,
            "episodes": progress.episodes,
            "updates": progress.updates,
            "seconds": round(progress.seconds, 3),
            "policyVersion": self._version,
            "seed": self._context.seed,
            "versions": versions(),
        }
        write_result(self._context.folder, result)
        _LOG.info("ended: %s", json.dumps({k: result[k] for k in ("outcome", "reason", "steps")}))


def _check_finite(metrics: dict[str, float], updates: int) -> None:
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise RunError(
            f"{', '.join(bad)} became infinite or NaN in update {updates}; "
            "try a lower algorithm.config.learningRate, or look at the environment's rewards"
        )


def _device(name: str) -> str:
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
