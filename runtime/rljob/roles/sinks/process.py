"""The process of one sink: `python -m rljob.roles.sinks.process NAME FOLDER`, started by the learner.

It follows the run's files until its standard input is closed, also by the death of the learner. Then it
writes the last records and ends. It writes one line for each failure to its standard output.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from rljob import spec
from rljob.roles.sinks.artifacts import ArtifactFeed
from rljob.roles.sinks.base import Opening, Sink
from rljob.roles.sinks.following import Cursor, RecordFollower
from rljob.roles.sinks.scalars import settings
from rljob.run_folder import json_files
from rljob.run_folder.names import JOB, RESULT
from rljob.spec import RLJob
from rljob.spec.sinks import SinkName

EVERY = 1.0
"""Seconds between two reads of the files."""
AGAIN_AFTER = (5.0, 60.0)
"""Seconds until the retry after the first failure, and the longest such time."""
PLACES = "sinks"
NICENESS = 10


def main(name: SinkName, folder: Path, told: IO[str], ended: Callable[[float], bool]) -> None:
    """Run until asked to end.

    Args:
        told: receives one line for each failure.
        ended: waits for the given seconds; returns whether to end.
    """
    (folder / PLACES).mkdir(exist_ok=True)
    with (folder / PLACES / f"{name}.lock").open("w") as lock:
        # A sink of an earlier life of the learner may still be running.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _SinkFeed(name, folder, told).run(ended)


class _SinkFeed:
    """Writes new records to the sink; opens it at the first record."""

    def __init__(self, name: SinkName, folder: Path, told: IO[str]) -> None:
        self._name, self._folder, self._told = name, folder, told
        self._path = folder / PLACES / f"{name}.json"
        self._place = Cursor.load(self._path)
        self._following = RecordFollower(folder, self._place)
        own = folder / PLACES / name
        own.mkdir(exist_ok=True)
        self._artifacts = ArtifactFeed(folder, own, self._place.checkpoint)
        self._stores = self._repeats = False
        self._sink: Sink | None = None
        self._delay = 0.0

    def run(self, ended: Callable[[float], bool]) -> None:
        over = False
        while not over:
            over = ended(max(EVERY, self._delay))
            self._try(self._bring)
            if not over and self._repeats and self._artifacts.due():
                self._try(self._keep)
        # A process that wrote nothing leaves the end of the run as it was recorded before.
        if self._sink is not None and not self._delay:
            self._end(self._sink)

    def _try(self, what: Callable[[], None]) -> None:
        try:
            what()
            self._delay = 0.0
        except Exception as error:  # Libraries may raise anything.
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._told.write(f"{type(error).__name__}: {lines[0]}\n")
            self._told.flush()
            first, most = AGAIN_AFTER
            self._delay = min(most, max(first, 2 * self._delay))

    def _bring(self) -> None:
        points, offsets = self._following.new()
        if not points:
            return
        if self._sink is None:
            name = self._folder.resolve().name
            # By now the learner has accepted the job and written it.
            job = spec.load(self._folder / JOB)
            dumped = job.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
            opening = Opening(self._folder, name, settings(dumped), self._place.run, points[0].step)
            self._sink = open_sink(self._name, job, opening)
            self._stores = stores_artifacts(self._name, job)
            self._repeats = self._stores and not grows(self._name, job)
            self._place.run = self._sink.run
            self._place.save(self._path)
        self._sink.add(points)
        self._place.offsets = offsets
        self._place.save(self._path)

    def _keep(self) -> None:
        """Store the newest checkpoint."""
        assert self._sink is not None
        self._artifacts.checkpoint(self._sink)
        self._place.checkpoint = self._artifacts.stored
        self._place.save(self._path)

    def _end(self, sink: Sink) -> None:
        result = json_files.read(self._folder / RESULT)
        if result is not None:  # Otherwise the learner died, and the next one continues.
            # First of all: a process that takes too long is killed.
            self._try(partial(sink.finish, result))
            if self._stores:
                self._try(self._keep)
                self._try(partial(self._artifacts.page, sink))
        self._try(sink.close)


def stores_artifacts(name: SinkName, job: RLJob) -> bool:
    """Whether the job wants this sink to store checkpoints and the report."""
    sink = getattr(job.spec.sinks, name)
    return getattr(sink, "artifacts", False) is not False


def grows(name: SinkName, job: RLJob) -> bool:
    """Whether each checkpoint that this sink stores takes room in the run's folder for good: offline, Weights & Biases
    keeps a copy of every one until a person sends them."""
    wandb = job.spec.sinks.wandb
    return name == "wandb" and wandb is not None and wandb.mode == "offline"


def open_sink(name: SinkName, job: RLJob, opening: Opening) -> Sink:
    """The sink that the job describes."""
    sinks = job.spec.sinks
    if name == "tensorboard":
        from rljob.roles.sinks.tensorboard import TensorBoard

        return TensorBoard(opening)
    if name == "mlflow":
        from rljob.roles.sinks.mlflow import Mlflow

        assert sinks.mlflow is not None
        return Mlflow(opening, sinks.mlflow)
    from rljob.roles.sinks.wandb import Wandb

    assert sinks.wandb is not None
    return Wandb(opening, sinks.wandb)


def _start() -> None:
    name, folder = sys.argv[1:]
    # A stop signal is for the learner. It closes our standard input after its last line.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    logging.basicConfig(level=logging.WARNING)
    # Output that libraries print must not be read as a failure.
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def ended(seconds: float) -> bool:
        ready, _, _ = select.select([0], [], [], seconds)
        return bool(ready)

    main(name, Path(folder).absolute(), told, ended)  # type: ignore[arg-type]


if __name__ == "__main__":
    _start()
