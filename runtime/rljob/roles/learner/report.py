"""The learner's reports: `metrics.jsonl`, `episodes.csv`, and its Prometheus metrics."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rljob.errors import RunError
from rljob.process.hardware import HardwareMeter
from rljob.roles.learner.episodes import EndedEpisodes
from rljob.roles.learner.gpu import gpu_use
from rljob.roles.learner.progress import WINDOW_EPISODES, TrainingProgress
from rljob.run_folder import json_files
from rljob.run_folder.episodes import EpisodePosition, EpisodeTable
from rljob.run_folder.names import METRICS
from rljob.run_folder.record import HookFailures, Record, SavedCheckpoint
from rljob.telemetry.metrics import LEARNER_STAGES, LearnerMetrics
from rljob.wire.application_figures import ApplicationFigures

REPORT_EVERY = ((60.0, 0.25), (3600.0, 2.5), (math.inf, 5.0))
"""Seconds between two lines of `metrics.jsonl`, until so many seconds of a learner's life. A day has 18,000 lines, 14 MB."""
SHORTEST = 0.1
"""Seconds below which a rate is unreliable; the previous line's rate is used."""
RECENT_UPDATES = 200


class RecordWriter:
    """Aggregates updates and regularly writes a line.

    Args:
        longest: seconds between two lines, at most.
        device: `learner.device` of the job.
    """

    def __init__(
        self,
        folder: Path,
        metrics: LearnerMetrics,
        longest: float = math.inf,
        device: str = "auto",
    ) -> None:
        self._folder, self._metrics, self._longest = folder, metrics, longest
        self._device = device
        self._lag_bound: int | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._file = json_files.Appender(folder / METRICS)
        self._meter = HardwareMeter()
        self._table: EpisodeTable | None = None
        self._info: tuple[str, ...] = ()
        self._recent: deque[list[float]] = deque(maxlen=WINDOW_EPISODES)
        self._lags: deque[int] = deque(maxlen=RECENT_UPDATES)
        self._values: dict[str, float] = {}
        self._numbers: dict[str, float] = {}
        self._applications: tuple[dict[str, Any], ...] = ()
        self._before = (0, 0)
        self._rates = (0.0, 0.0)
        self._spent = dict.fromkeys(LEARNER_STAGES, 0.0)
        self._shares = dict(self._spent)
        self._started = self._last = time.monotonic()

    def statistics(
        self, numbers: dict[str, float], applications: Sequence[ApplicationFigures] = ()
    ) -> None:
        """Add the buffer's statistics."""
        self._numbers, self._applications = numbers, tuple(asdict(each) for each in applications)

    def ended(self, steps: np.ndarray, episodes: EndedEpisodes) -> None:
        """Record episodes.

        Args:
            steps: int64 `[E]`, environment steps of the run by then.
        """
        if self._table is not None:
            self._table.append(steps, episodes.versions, episodes.rollouts, episodes.records)
        self._recent.extend(episodes.records[-WINDOW_EPISODES:].tolist())

    @property
    def episodes(self) -> EpisodePosition:
        """The end of what is recorded of episodes."""
        return EpisodePosition() if self._table is None else self._table.position

    def spent(self, stage: str, seconds: float) -> None:
        """Count time that a stage of the loop took, one of `LEARNER_STAGES`."""
        self._spent[stage] += seconds
        self._metrics.seconds[stage].inc(seconds)

    def updated(self, values: dict[str, float], lags: list[int], samples: int, steps: int) -> None:
        """Take one update: what the algorithm reports, how old its experience was."""
        self._values = values
        self._lags.extend(lags)
        for lag in lags:
            self._metrics.policy_lag.observe(lag)
            if self._lag_bound is not None and lag > self._lag_bound:
                self._metrics.lag_above_bound.inc()
        self._metrics.updates.inc()
        self._metrics.samples.inc(samples)
        self._metrics.steps_consumed.inc(steps)

    def due(self, now: float) -> bool:
        every = next(each for until, each in REPORT_EVERY if now - self._started < until)
        return now - self._last >= min(every, self._longest)

    def write(
        self,
        now: float,
        progress: TrainingProgress,
        version: int,
        saved: SavedCheckpoint | None,
        failed: HookFailures | None = None,
    ) -> Record:
        """Write a line; returns it."""
        elapsed = now - self._last
        steps, updates = self._before
        if elapsed >= SHORTEST:
            self._rates = (
                round((progress.steps - steps) / elapsed, 1),
                round((progress.updates - updates) / elapsed, 1),
            )
            self._shares = {
                stage: round(min(1.0, seconds / elapsed), 4)
                for stage, seconds in self._spent.items()
            }
        lags = np.array(self._lags or [0])
        numbers = self._numbers
        record = Record(
            time=round(time.time(), 3),
            seconds=round(progress.seconds, 3),
            steps=progress.steps,
            episodes=progress.episodes,
            updates=progress.updates,
            mean_return=progress.mean_return,
            best_return=progress.best_return,
            steps_per_second=self._rates[0],
            updates_per_second=self._rates[1],
            policy_version=version,
            lag_p50=int(np.percentile(lags, 50)),
            lag_p95=int(np.percentile(lags, 95)),
            lag_bound=self._lag_bound,
            buffer_fill=round(numbers.get("fill", 0.0), 4),
            rollouts_ready=int(numbers.get("rollouts", 0)),
            applications_connected=int(numbers.get("applications", 0)),
            applications=self._applications,
            rollouts_waiting=round(numbers.get("rollouts_waiting", 0.0), 4),
            learner_waiting=self._shares["data_wait"],
            stages={s: share for s, share in self._shares.items() if s != "data_wait"},
            evicted=int(numbers.get("evicted", 0)),
            duplicates=int(numbers.get("duplicates", 0)),
            set_aside=int(numbers.get("set_aside", 0)),
            set_aside_last=round(numbers.get("set_aside_last", 0.0), 3),
            checkpoint=saved,
            **self._means(),
            hardware=self._hardware(),
            hook_failures=failed,
            metrics={name: round(value, 6) for name, value in self._values.items()},
        )
        self._file.write(record.to_json())
        self._expose(progress, version)
        self._before, self._last = (progress.steps, progress.updates), now
        self._spent = dict.fromkeys(LEARNER_STAGES, 0.0)
        return record

    def _hardware(self) -> dict[str, float]:
        """As in `Record`."""
        used, gpu = self._meter.measure(), gpu_use(self._device)
        told = {
            f"{role}.{name}": self._numbers[f"{role}_{name}"]
            for role in ("rollouts", "buffer")
            for name in ("cores", "memory")
            if f"{role}_{name}" in self._numbers
        }
        for gauge, name in (
            (self._metrics.gpu_memory, "gpuMemory"),
            (self._metrics.gpu_use, "gpuUse"),
        ):
            gauge.set(gpu.get(name, math.nan))
        own = {"cores": used.cores, "memory": used.memory, **gpu}
        return {**told, **{f"learner.{name}": value for name, value in own.items()}}

    def _means(self) -> dict[str, Any]:
        """Means over the recent episodes, as in `Record`."""
        names = ("mean_length", "mean_discounted_return", *self._info)
        columns = np.array(list(self._recent), np.float64).reshape(-1, 1 + len(names)).T[1:]
        known = zip(names, (each[~np.isnan(each)] for each in columns), strict=True)
        means = {name: round(float(each.mean()), 6) for name, each in known if len(each)}
        info = {name: means.pop(name) for name in self._info if name in means}
        return {**means, "info": info}

    def not_finite(self) -> None:
        """Count an update of which a metric is NaN or infinite."""
        self._metrics.not_finite.inc()

    def close(self) -> None:
        self._file.close()
        if self._table is not None:
            self._table.close()

    def start(
        self,
        progress: TrainingProgress,
        lag_bound: int | None,
        info: tuple[str, ...] = (),
        end: EpisodePosition | None = None,
    ) -> None:
        """Begin counting, from a resumed run's numbers.

        Args:
            lag_bound: versions that experience may be behind; None where nothing bounds it.
            info: keys of `environment.info`.
            end: what a checkpoint knows of the episodes' rows.

        Raises:
            RunError: the episodes' rows cannot be written.
        """
        try:
            self._table, self._info = EpisodeTable(self._folder, info, end), info
        except OSError as error:
            raise RunError(f"cannot write {error.filename}: {error.strerror}") from error
        self._lag_bound = lag_bound
        self._metrics.lag_bound.set(math.nan if lag_bound is None else lag_bound)
        self._before = (progress.steps, progress.updates)
        self._started = self._last = time.monotonic()

    def _expose(self, progress: TrainingProgress, version: int) -> None:
        metrics = self._metrics
        metrics.policy_version.set(version)
        for gauge, value in (
            (metrics.mean_return, progress.mean_return),
            (metrics.best_return, progress.best_return),
            (metrics.episode_return, progress.last_return),
            (metrics.episode_length, progress.last_length),
        ):
            if value is not None:
                gauge.set(value)
        for name, number in self._values.items():
            metrics.metric[name].set(number)
        if self._recent:
            metrics.episode_discounted_return.set(self._recent[-1][2])
            for name, number in zip(self._info, self._recent[-1][3:], strict=True):
                metrics.episode_info[name].set(number)
