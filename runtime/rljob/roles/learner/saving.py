"""Saves checkpoints during training: a snapshot is taken between updates and written by a thread."""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rljob.checkpoints import checkpoint
from rljob.checkpoints.checkpoint import Snapshot
from rljob.checkpoints.manifest import Checkpoint, newest_whole
from rljob.errors import InputError, RunError
from rljob.telemetry.metrics import LearnerMetrics

_LOG = logging.getLogger("rljob")


class Saver:
    """Writes one checkpoint at a time.

    Args:
        folder: of the checkpoints.
        keep: newest checkpoints that stay.

    Attributes:
        last: the newest saved checkpoint, if any.
        written: those that were saved and not yet taken from here, the oldest first.
    """

    def __init__(self, folder: Path, keep: int, metrics: LearnerMetrics) -> None:
        self._folder = folder
        self._keep = keep
        self._metrics = metrics
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="rljob-checkpoint")
        self._writing: Future[Checkpoint] | None = None
        self.written: deque[Checkpoint] = deque()
        self.last: Checkpoint | None = None
        self.last_at: float | None = None

    def newest(self) -> Snapshot | None:
        """The newest whole checkpoint; damaged ones are logged. None when there is no checkpoint.

        Raises:
            InputError: there are checkpoints, and all are damaged.
        """
        damaged: list[str] = []

        def refuse(message: str) -> None:
            _LOG.warning(message)
            damaged.append(message)

        found = newest_whole(self._folder, refuse)
        if found is None and damaged:
            raise InputError(
                f"no checkpoint can be resumed: {damaged[0]}; {len(damaged)} in {self._folder} are damaged. "
                "Restore one from a copy, or move the folder away to train from step 0"
            )
        if found is None:
            return None
        self.last, self.last_at = found, time.time()
        self._metrics.checkpoint_last_success.set(self.last_at)
        _LOG.info("resuming from %s", found.path)
        return checkpoint.load(found.path)

    @property
    def busy(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def save(self, snapshot: Snapshot) -> None:
        """Start writing; waits for the one before. One that failed is told and counted: the next may succeed."""
        try:
            self.finish()
        except RunError as error:
            self._metrics.checkpoint_failures.inc()
            _LOG.warning("training goes on without the last checkpoint: %s", error)
        self._writing = self._executor.submit(self._write, snapshot)

    def finish(self) -> None:
        """Wait for the checkpoint that is being written.

        Raises:
            RunError: when it could not be.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        try:
            self.finish()
        except RunError:
            _LOG.exception("the last checkpoint was not written")
        self._executor.shutdown()

    def _write(self, snapshot: Snapshot) -> Checkpoint:
        started = time.monotonic()
        saved = checkpoint.save(self._folder, snapshot, self._keep)
        self._metrics.checkpoint_duration.observe(time.monotonic() - started)
        self._metrics.checkpoints.inc()
        self.last, self.last_at = saved, time.time()
        self.written.append(saved)
        self._metrics.checkpoint_last_success.set(self.last_at)
        return saved
