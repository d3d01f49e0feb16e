"""Operators that start in no time: forked from a process that has imported all that they need."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

_SET_DEATH_SIGNAL = 1


def die_with_parent() -> None:
    """Have this process killed when its parent is gone, however that ended. Linux only."""
    if sys.platform == "linux":  # noqa: TID251
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


class Forked:
    """One forked process, seen as `subprocess.Popen` is; how it ended is not known."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            self.returncode = -signal.SIGKILL
        return self.returncode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or 60.0)
        while (ended := self.poll()) is None:
            assert time.monotonic() < deadline, f"process {self.pid} does not end"
            time.sleep(0.005)
        return ended


class Forks:
    """Forks operators; see `serving`."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests, self._answers = requests, answers

    def __call__(self, arguments: Sequence[str], log: Path) -> Forked:
        """An operator with this command line, its output appended to the log."""
        self._requests.write(json.dumps([list(arguments), str(log)]) + "\n")
        self._requests.flush()
        return Forked(int(self._answers.readline()))


@contextlib.contextmanager
def serving() -> Iterator[Forks]:
    """A process to fork from, for as long as the `with` lasts."""
    command = [sys.executable, "-m", "tests.controlplane.forks"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Forks(process.stdin, process.stdout)
        process.stdin.close()


def main() -> None:
    """Fork one operator for each line of standard input, and print its pid."""
    from rljob_operator.main import main as operate

    # Nobody waits for them: they are gone at once when they end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        arguments, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for descriptor in (1, 2):
                os.dup2(output, descriptor)
            os._exit(operate(arguments))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
