"""The learner's side of its sinks: starts their processes, reports failures, and lets them finish."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rljob.spec.sinks import SinkName

FINISH_SECONDS = 60.0
"""Time that all sinks together have to finish after the run has ended."""
HURRIED_SECONDS = 15.0
"""The same when the learner's own time is short."""
_LOG = logging.getLogger("rljob")


class Sinks:
    """The processes of a learner's sinks.

    Args:
        folder: the run's folder, with `job.yaml`.
        failed: called for each failure with the sink's name, in a thread.
    """

    def __init__(
        self, folder: Path, names: Sequence[SinkName], failed: Callable[[SinkName], None]
    ) -> None:
        self._failed = failed
        self._children = {name: _start(name, folder) for name in names}
        self._listeners = [
            threading.Thread(target=self._listen, args=item, name=f"rljob-{item[0]}", daemon=True)
            for item in self._children.items()
        ]
        for thread in self._listeners:
            thread.start()

    def close(self, hurried: bool = False) -> None:
        """Let each sink write its last records and end; kill those that take too long.

        Args:
            hurried: whether the learner was asked to stop, or failed and is to start again.
        """
        seconds = HURRIED_SECONDS if hurried else FINISH_SECONDS
        for child in self._children.values():
            assert child.stdin is not None
            with suppress(BrokenPipeError):
                child.stdin.close()
        deadline = time.monotonic() + seconds
        for name, child in self._children.items():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                self._tell(name, f"did not finish in {seconds:g} s", first=True)
        for thread in self._listeners:
            thread.join()

    def _listen(self, name: SinkName, child: subprocess.Popen[str]) -> None:
        """Runs until the sink has ended. The first failure is logged as a warning; all are counted."""
        assert child.stdout is not None
        first = True
        with child.stdout as lines:
            for line in lines:
                self._tell(name, line.strip(), first)
                first = False
        if child.wait() > 0:
            self._tell(name, f"its process ended with exit code {child.returncode}", first)

    def _tell(self, name: SinkName, what: str, first: bool) -> None:
        self._failed(name)
        if first:
            _LOG.warning("sink %s: %s; training continues, and the sink is retried", name, what)


def _start(name: SinkName, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "rljob.roles.sinks.process", name, str(folder)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, errors="replace"
    )
