"""The learner's loop: take experience, update, publish; report and save on the way."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from rljob.algorithms import load_config, make_algorithm
from rljob.algorithms.acting_form import acting_form
from rljob.algorithms.answers import check_update, make_learner
from rljob.algorithms.base import Algorithm, Learner, Replay
from rljob.algorithms.initial_weights import load_initial
from rljob.algorithms.learned_networks import learned_networks
from rljob.algorithms.publishing import policy_arrays
from rljob.algorithms.saved_state import LearnerState
from rljob.algorithms.settings import check_schedules, settings_in_use
from rljob.checkpoints import policy
from rljob.checkpoints.checkpoint import Snapshot
from rljob.checkpoints.policy import BOUNDARY, PROGRESS
from rljob.envs.spaces import Arrays, Spaces, different, told_apart
from rljob.errors import InputError, RunError
from rljob.hooks import (
    CheckpointSaved,
    EpisodeEnded,
    EvaluationMade,
    TrainingEnded,
    TrainingStarted,
    UpdateMade,
)
from rljob.process.context import RoleContext
from rljob.process.multiples import Multiples
from rljob.process.trace import Trace
from rljob.roles.learner.batches import Batch, Batches
from rljob.roles.learner.episodes import EndedEpisodes
from rljob.roles.learner.hooks import Hooks
from rljob.roles.learner.progress import StopReached, StoredSteps, TrainingProgress
from rljob.roles.learner.publish_schedule import Publication
from rljob.roles.learner.report import RecordWriter
from rljob.roles.learner.saving import Saver
from rljob.roles.learner.source import ExperienceSource, Opened
from rljob.roles.learner.status import LearnerReporter
from rljob.roles.learner.weight_server import Publisher
from rljob.run_folder import json_files
from rljob.run_folder.episodes import EpisodePosition
from rljob.run_folder.names import RESULT
from rljob.run_folder.provenance import versions
from rljob.run_folder.record import SavedCheckpoint
from rljob.spec.status import EndReport
from rljob.telemetry.health import Health
from rljob.wire.weights import check_size

STRICT_BOUNDARY = 500
"""In strict mode: steps of each environment to the first boundary, a checkpoint from which a resumed
run is the same."""
STRICT_GROWTH = 0.25
"""In strict mode: share of all steps so far until the next boundary, if that is longer. A boundary
discards open episodes, so boundaries must become rarer: otherwise long episodes would never end."""
FIRST_SAVED_AFTER = 1.0
"""Seconds to the first checkpoint; the time doubles until it is `checkpoint.interval`."""
SNAPSHOT_SECONDS = 600.0
"""Seconds that the buffer may take to save its content."""
SNAPSHOT_SILENCE = 60.0
"""Seconds without an answer after which it is not waited for."""
_LOG = logging.getLogger("rljob")


class Training:
    """One life of the learner, from the first experience to the stop condition.

    Args:
        fresh: whether it starts at step 0, with the weights of `initFrom` if the job has that; otherwise `restore`
            follows.
    """

    def __init__(
        self,
        context: RoleContext,
        opened: Opened,
        source: ExperienceSource,
        publisher: Publisher,
        saver: Saver,
        reporter: RecordWriter,
        status: LearnerReporter,
        health: Health,
        hooks: Hooks,
        *,
        fresh: bool,
    ) -> None:
        spec = context.job.spec
        self._context, self._spec = context, spec
        self._opened = opened
        self._source, self._lineage = source, source.lineage
        self._publisher, self._saver = publisher, saver
        self._reporter, self._status = reporter, status
        self._health, self._hooks = health, hooks
        self._trace: Trace = context.tracer()
        spaces = Spaces.from_json(opened.plan.spaces)
        check_schedules(load_config(spec.algorithm), spec.stop)
        self._algorithm: Algorithm = make_algorithm(spec.algorithm, spaces)
        self._acting = acting_form(spec, self._algorithm, spaces)
        networks = learned_networks(spec, self._algorithm, spaces, context.seed)
        if fresh:
            load_initial(spec, self._algorithm, spaces, networks)
        self._networks = {
            name: network.to(device_of(spec.learner.device)) for name, network in networks.items()
        }
        self._learner: Learner = make_learner(self._algorithm, self._networks, context.seed)
        self._progress = TrainingProgress()
        self._stored = StoredSteps(opened.arena, opened.steps)
        self._saves = Multiples(spec.checkpoint)
        self._tells = spec.evaluation is not None and Multiples(spec.evaluation).any
        self._version = 0
        self._boundary, self._next_boundary = 0, self._boundary_ahead()
        self._batches = Batches(source, opened.plan, spec.rollout.replicas)
        self._saved_at = self._began = self._ticked = 0.0
        self._restored = self._fed = False
        self._heard = (0, 0)
        self._rows_end: EpisodePosition | None = None
        replay = isinstance(self._algorithm.data, Replay)
        self._publication = Publication(awaited=spec.strict or not replay)

    def run(self) -> EndReport:
        """Train until the stop condition is reached or the process is asked to stop; tells which."""
        self._reporter.start(
            self._progress, self._lag_bound(), self._opened.plan.info, self._rows_end
        )
        self._publish()
        if not self._restored:
            self._saver.save(self._snapshot())
        self._source.confirm(self._publication.published, time.monotonic())
        self._saved_at = self._began = self._ticked = time.monotonic()
        while self._reached() is None and not self._context.stopping():
            batch = self._next()
            if batch is not None:
                self._health.doing = "update"
                self._train(batch)
                self._tick(time.monotonic())
        return self._finish(self._reached())

    def _reached(self) -> StopReached | None:
        return self._progress.reached(self._spec.stop) or self._hooks.stop

    @property
    def settings(self) -> dict[str, Any]:
        """Of algorithm and networks, defaults included."""
        return settings_in_use(self._spec, self._algorithm.networks)

    def begin(self) -> None:
        """Tell the hooks that training starts.

        Raises:
            InputError: a hook's `on_start` raised, and nothing was trained yet.
        """
        context, progress = self._context, self._progress
        self._hooks.start(
            TrainingStarted(
                name=context.job.metadata.name,
                folder=context.folder.absolute(),
                seed=context.seed,
                resumed=self._restored,
                steps=progress.steps,
                updates=progress.updates,
                version=self._version,
            )
        )

    def _lag_bound(self) -> int | None:
        if isinstance(self._algorithm.data, Replay):
            return None
        return 0 if self._spec.strict else self._spec.buffer.max_policy_lag

    def _next(self) -> Batch | None:
        """Wait for the next batch; None when asked to stop or out of time meanwhile."""
        started, hooked = time.monotonic(), self._hooks.seconds
        self._health.doing = "data"
        while not (
            self._context.stopping()
            or self._hooks.stop
            or self._progress.out_of_time(self._spec.stop)
        ):
            self._health.beat()
            self._publisher.check()
            now = time.monotonic()
            self._source.poll(now)
            self._health.waits_for = "the buffer" if self._source.unreached(now) else ""
            batch = self._batches.next(self._version)
            # Set at once, so that a wait that never ends is visible.
            self._reporter.spent("data_wait", now - started - (self._hooks.seconds - hooked))
            started, hooked = now, self._hooks.seconds
            self._take_statistics()
            if batch is not None:
                return batch
            if self._publication.due(self._version, now, idle=True):
                self._publish()
            self._tick(now)
            self._source.wait()
        return None

    def _tick(self, now: float) -> None:
        # The time until rollouts are up is not spent training.
        if self._fed:
            self._progress.seconds += now - self._ticked
        self._ticked = now
        self._tell_hooks()
        if self._reporter.due(now):
            self._report(now)

    def _tell_hooks(self) -> None:
        """Of what happened beside this thread."""
        progress = self._progress
        for played in self._publisher.evaluations():
            self._status.evaluated(played)
            values = (played.version, played.mean, played.std, played.min, played.max)
            made = EvaluationMade(*values, played.episodes, progress.steps, progress.updates)
            self._hooks.call("on_evaluation", made)
        while self._saver.written:
            saved = self._saver.written.popleft()
            event = CheckpointSaved(saved.path, saved.version, saved.steps)
            self._hooks.call("on_checkpoint", event)

    def _take_statistics(self) -> None:
        replay = isinstance(self._algorithm.data, Replay)
        for statistics in self._source.statistics:
            stored = self._stored.more(statistics.arena, int(statistics.numbers["steps"]))
            self._fed = self._fed or stored > 0
            if replay:
                self._progress.steps += stored
            episodes = statistics.episodes
            steps = np.full(len(episodes), self._progress.steps, np.int64)
            if replay:
                steps = self._stored.then(self._progress.steps, episodes.stored)
            self._ended(episodes, steps)
            self._reporter.statistics(statistics.numbers, statistics.applications)
            self._heard = statistics.arena, statistics.first + len(episodes)
        self._source.statistics.clear()

    def _ended(self, episodes: EndedEpisodes, steps: np.ndarray) -> None:
        progress, before = self._progress, self._progress.episodes
        progress.ended(episodes.records)
        self._reporter.ended(steps, episodes)
        if progress.mean_return is None or not self._hooks.has("on_episode"):
            return
        rest = (progress.mean_return, progress.steps, progress.updates)
        for number, (value, length) in enumerate(episodes.records[:, :2].tolist(), before + 1):
            self._hooks.call("on_episode", EpisodeEnded(number, value, int(length), *rest))

    def _train(self, batch: Batch) -> None:
        self._fed = True
        made: list[dict[str, float]] = []
        started = time.monotonic()
        keys, priorities = [], []
        for arrays in batch.updates[: self._progress.updates_left(self._spec.stop)]:
            answer = self._learner.update(arrays, self._progress.at(self._spec.stop))
            update = check_update(self._learner, answer, arrays)
            if update.priorities is not None:
                keys.append(arrays["key"].reshape(-1))
                priorities.append(update.priorities.reshape(-1))
            self._progress.updates += 1
            samples = arrays["reward"].size
            self._reporter.updated(update.metrics, batch.lags, samples, batch.steps)
            made.append(update.metrics)
        self._check_finite(update.metrics)
        self._progress.steps += batch.steps
        trained = time.monotonic()
        self._reporter.spent("update", trained - started)
        self._version += 1
        if self._spec.strict and self._progress.steps >= self._next_boundary:
            self._boundary, self._next_boundary = self._version, self._boundary_ahead()
        if self._publication.due(self._version, trained):
            self._publish()
        if keys:
            self._source.reprioritise(np.concatenate(keys), np.concatenate(priorities))
        for origin in batch.segments:
            self._trace.event("consumed", *origin)
        self._source.trained(batch.segments)
        self._reporter.spent("publish", time.monotonic() - trained)
        # Before the confirmation: until then the buffer stands still in strict mode, and what it
        # saves belongs to exactly this version.
        self._save_if_due(time.monotonic())
        self._source.confirm(self._publication.published, time.monotonic())
        self._tell_updates(made)

    def _tell_updates(self, made: Sequence[Mapping[str, float]]) -> None:
        if not self._hooks.has("on_update"):
            return
        progress = self._progress
        rest = (progress.steps, self._version)
        for number, metrics in enumerate(made, progress.updates - len(made) + 1):
            values = MappingProxyType({name: float(value) for name, value in metrics.items()})
            self._hooks.call("on_update", UpdateMade(number, *rest, values, progress.mean_return))

    def _check_finite(self, metrics: dict[str, float]) -> None:
        """Count metrics that are NaN or infinite. They end training only if the policy is so too.

        Raises:
            RunError: a parameter of a network, or an array for acting, is NaN or infinite.
        """
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if not bad:
            return
        self._reporter.not_finite()
        if not self._finite():
            raise RunError(
                f"{', '.join(bad)} and weights of the policy became infinite or NaN in update "
                f"{self._progress.updates}; try a lower algorithm.config.learningRate, or look at the "
                "environment's rewards"
            )

    def _finite(self) -> bool:
        parameters = (p for network in self._networks.values() for p in network.parameters())
        # Not the exported weights: these hold a network's buffers, and the limit of an encoder is infinite.
        published = self._learner.publish(self._progress.at(self._spec.stop)).values()
        return all(bool(each.isfinite().all()) for each in parameters) and all(
            bool(np.isfinite(each).all()) for each in published
        )

    def _at_boundary(self) -> bool:
        return self._spec.strict and self._version == self._boundary

    def _boundary_ahead(self) -> int:
        return boundary_after(self._progress.steps, self._spec.rollout.envs_per_replica)

    def _save_if_due(self, now: float) -> None:
        # In strict mode only boundaries are saved: a run that goes on from one repeats what a run
        # that was never interrupted did there.
        if self._spec.strict:
            due = self._at_boundary()
        else:
            # Early on more often, so that a death in the first minute does not cost all of it.
            interval = min(self._spec.checkpoint.interval.seconds, self._saved_at - self._began)
            since = now - self._saved_at
            due = since >= max(FIRST_SAVED_AFTER, interval) and not self._saver.busy
            due = due or self._saves.passed(self._progress.steps, self._progress.updates)
        if due:
            self._saved_at = now
            self._saves.done(self._progress.steps, self._progress.updates)
            self._saver.save(self._snapshot())

    def _policy(self, copy: bool) -> Arrays:
        """What acting needs of this version."""
        arrays = policy_arrays(
            self._algorithm, self._networks, self._learner, self._progress.at(self._spec.stop), copy
        )
        if self._spec.strict:
            arrays[BOUNDARY] = np.asarray(self._boundary)
        if self._tells:
            arrays[PROGRESS] = np.array([self._progress.steps, self._progress.updates], np.int64)
        return arrays

    def _publish(self) -> None:
        self._publication.sent(self._version, time.monotonic())
        payload = policy.encode(self._policy(copy=False))
        check_size(len(payload))
        self._publisher.publish((self._lineage, self._version), payload)

    def _snapshot(self) -> Snapshot:
        started = time.monotonic()
        state = self._learner.state()
        values = {
            "learner": state.values,
            "progress": self._progress.to_json(),
            "watermark": self._source.watermark.to_json(),
            "arena": self._stored.arena,
            "stored": self._stored.seen,
            "boundary": self._boundary,
            "replay": self._save_replay(),
            "spaces": self._opened.plan.spaces,
            "heard": list(self._heard),
            "episodes": asdict(self._reporter.episodes),
            "hooks": self._hooks.state(),
            "acting": self._acting,
        }
        snapshot = Snapshot(
            self._version,
            self._lineage,
            self._policy(copy=True),
            state.arrays,
            values,
            self._progress.steps,
        )
        self._reporter.spent("checkpoint", time.monotonic() - started)
        return snapshot

    def _save_replay(self) -> dict[str, str]:
        """Have the buffer save its content, when the job wants that; what HELLO needs to go back."""
        if not self._spec.saves_replay or not isinstance(self._algorithm.data, Replay):
            return {}
        name = f"{self._version:012d}"
        began = now = time.monotonic()
        while (
            name not in self._source.snapshots
            and now - began < SNAPSHOT_SECONDS
            and not self._source.unreached(now, SNAPSHOT_SILENCE)
        ):
            self._health.beat()
            self._source.request_snapshot(name, self._spec.checkpoint.keep, now)
            self._source.wait()
            now = time.monotonic()
            self._source.poll(now)
        answer = self._source.snapshots.pop(name, {"problem": "the buffer did not answer"})
        if "sha256" not in answer:
            _LOG.warning("checkpoint %s has no replay content: %s", name, answer["problem"])
            return {}
        return {"restore": name, "sha256": str(answer["sha256"])}

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a checkpoint.

        Raises:
            InputError: it is of another algorithm or network, or of other spaces.
        """
        values = snapshot.values
        _check_same_spaces(values.get("spaces"), self._opened.plan.spaces)
        try:
            self._learner.load_state(LearnerState(snapshot.tensors, values["learner"]))
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            text = " ".join(str(error).split())[:300]
            raise InputError(
                f"the checkpoint of policy version {snapshot.version} does not fit this algorithm and "
                f"network: {type(error).__name__}: {text}",
                path="network",
            ) from error
        self._restored = True
        self._progress = TrainingProgress.from_json(values["progress"])
        self._saves.done(self._progress.steps, self._progress.updates)
        self._version, self._boundary = snapshot.version, values["boundary"]
        self._next_boundary = self._boundary_ahead()
        self._hooks.restore(values.get("hooks"))
        if values["arena"] == self._opened.arena:
            self._stored = StoredSteps(values["arena"], values["stored"])
        arena, episodes = values.get("heard", (0, 0))
        self._source.heard = self._heard = (arena, episodes)
        if "episodes" in values:
            self._rows_end = EpisodePosition(**values["episodes"])

    def _report(self, now: float) -> None:
        saved = self._saver.last
        checkpoint = None
        if saved is not None and self._saver.last_at is not None:
            checkpoint = SavedCheckpoint(
                policy_version=saved.version,
                step=saved.steps,
                path=str(saved.path),
                sha256=saved.sha256,
                time=self._saver.last_at,
            )
        failed = self._hooks.failures
        record = self._reporter.write(now, self._progress, self._version, checkpoint, failed)
        self._status.trains(record, saved)

    def _finish(self, reached: StopReached | None) -> EndReport:
        if self._publication.due(self._version, time.monotonic(), idle=True):
            self._publish()
        asked = self._spec.checkpoint.on_suspend and not self._spec.strict
        if reached is not None or asked:
            self._saver.save(self._snapshot())
        self._saver.finish()
        end = self._end(reached)
        self._tell_hooks()
        progress = self._progress
        counts = (progress.steps, progress.episodes, progress.updates, self._version)
        returns = (progress.mean_return, progress.best_return)
        outcome: Literal["Complete", "Interrupted"] = (
            "Interrupted" if reached is None else "Complete"
        )
        ended = TrainingEnded(outcome, end.reason, end.message, *counts, *returns)
        self._hooks.call("on_end", ended)
        self._report(time.monotonic())
        result = {
            "outcome": "Complete" if reached is not None else "Stopped",
            "reason": reached.reason if reached is not None else "Interrupted",
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
        if reached is not None and reached is self._hooks.stop:
            result["message"] = reached.text
        if self._hooks.failures is not None:
            result["hookFailures"] = asdict(self._hooks.failures)
        try:
            json_files.write(self._context.folder / RESULT, result)
        except OSError as error:
            _LOG.warning("%s cannot be written: %s", RESULT, error.strerror)
        _LOG.info("ended: %s", json.dumps({k: result[k] for k in ("outcome", "reason", "steps")}))
        return end

    def _end(self, reached: StopReached | None) -> EndReport:
        if reached is not None:
            return EndReport(outcome="Complete", reason=reached.reason, message=reached.text)
        progress = self._progress
        message = f"asked to stop after {progress.steps} steps"
        if self._saver.last is not None:
            message = f"{message}; the last checkpoint is {self._saver.last.path.name}"
        return EndReport(outcome="Interrupted", reason="Interrupted", message=message)


def _check_same_spaces(before: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """Compare the forms of the spaces with those in a checkpoint; older checkpoints have none."""
    if before is None:
        return
    old, new = Spaces.from_json(before), Spaces.from_json(now)
    for name in different(old, new):
        ours, theirs = told_apart(getattr(new, name), getattr(old, name))
        raise InputError(
            f"the {name}s of this environment are {ours}; those of the checkpoint are {theirs}",
            path="environment",
        )


def boundary_after(steps: int, environments: int) -> int:
    """Steps of all environments together at which a strict run that is at a boundary has the next."""
    return steps + max(STRICT_BOUNDARY * environments, int(STRICT_GROWTH * steps))


def device_of(name: str) -> str:
    """The device that a job's `learner.device` means here.

    Raises:
        InputError: with path `learner.device`, where this machine has no such device.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }[kind]
    if int(number or 0) >= count:
        found = f"{count} {kind} devices" if count else f"no {kind} device that torch can use"
        raise InputError(
            f"{name!r} is not allowed; this machine has {found}. Set auto or cpu",
            path="learner.device",
        )
    return name
