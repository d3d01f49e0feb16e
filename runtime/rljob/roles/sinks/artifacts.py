"""What a sink stores as files: the newest checkpoint now and then, and the report's page at the end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rljob.checkpoints.archive import Archive
from rljob.errors import RunError
from rljob.roles.sinks.base import Sink
from rljob.run_folder.names import CHECKPOINTS, JOB, LATEST

EVERY = 600.0
"""Seconds between two checkpoints, at least; the last one comes in any case."""
CHECKPOINT_FILE, PAGE_FILE = "checkpoint.tar", "report.html"
PAGE_SECONDS = 30.0
"""Longest time that the page may take: less than the sinks have at the end of a run."""
_PREFIX = ".files-"


class ArtifactFeed:
    """Stores the files of one run.

    Args:
        place: folder for temporary files, of this sink alone.
        stored: name of the checkpoint that was stored last; empty for none.
    """

    def __init__(
        self, folder: Path, place: Path, stored: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._place, self._clock = folder, place, clock
        self._tried = clock()
        self.stored = stored
        for left in place.glob(f"{_PREFIX}*"):
            # Of a process that was killed: each may be as large as a checkpoint.
            shutil.rmtree(left, ignore_errors=True)

    def due(self) -> bool:
        """Whether it is time for another checkpoint."""
        return self._clock() - self._tried >= EVERY

    def checkpoint(self, sink: Sink) -> None:
        """Store the newest checkpoint, if there is one that was not stored.

        Raises:
            RunError: it cannot be read.
            Exception: the sink cannot store it.
        """
        self._tried = self._clock()
        latest = self._folder / CHECKPOINTS / LATEST
        if not latest.exists() or (name := latest.resolve().name) == self.stored:
            return
        with self._temporary(CHECKPOINT_FILE) as path:
            archive = Archive.of(self._folder / CHECKPOINTS, self._folder / JOB)
            try:
                with path.open("wb") as file:
                    file.writelines(archive)
            finally:
                archive.close()
            sink.checkpoint(path)
        self.stored = name

    def page(self, sink: Sink) -> None:
        """Make the report's page of the run, and store it.

        Raises:
            RunError: it cannot be made.
            Exception: the sink cannot store it.
        """
        with self._temporary(PAGE_FILE) as path:
            # As a command: what shows runs is above the roles.
            command = [sys.executable, "-P", "-m", "rljob", "report", str(self._folder)]
            done = subprocess.run(
                [*command, "--out", str(path)],
                capture_output=True,
                text=True,
                timeout=PAGE_SECONDS,
                check=False,
            )
            if done.returncode:
                words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
                raise RunError(f"the report cannot be made: {words[-1]}")
            sink.page(path)

    @contextmanager
    def _temporary(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory(dir=self._place, prefix=_PREFIX) as folder:
            yield Path(folder, name)
