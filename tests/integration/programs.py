"""Programs beside a test; each ends with its block."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.runs import PATIENCE


@contextmanager
def python(*arguments: str, folder: Path, log: str) -> Iterator[subprocess.Popen[bytes]]:
    """Python with these arguments, in a folder; what it says is in the file `log` there."""
    with (folder / log).open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=file, stderr=file, cwd=folder
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()


@contextmanager
def rljob_command(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command; what it says is in the file with its name."""
    with python("-m", "rljob", *arguments, folder=folder, log=f"{arguments[0]}.log") as process:
        yield process
