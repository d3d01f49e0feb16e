"""`process.json`: the process that works on a run, for those who want it to stop."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rljob.errors import RunError
from rljob.run_folder import json_files
from rljob.run_folder.names import PROCESS


@contextmanager
def working_on(folder: Path) -> Iterator[None]:
    """Name this process in the folder, whose lock it holds, while the `with` lasts."""
    value = {"pid": os.getpid(), "host": platform.node()}
    # A full disk must not end a run.
    with suppress(OSError):
        json_files.write(folder / PROCESS, value)
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / PROCESS).unlink(missing_ok=True)


class UnknownProcess(RunError):
    """The folder does not say which process works on it."""


def tell(folder: Path, number: signal.Signals) -> bool:
    """Send a signal to the process that works on a run. Call it only while the folder is locked: then the file is that
    process's own. Returns whether there is that process.

    Raises:
        UnknownProcess: the folder does not say which process that is.
        RunError: it is on another machine, or another user's.
    """
    value = json_files.read(folder / PROCESS) or {}
    pid, host = value.get("pid"), value.get("host")
    if type(pid) is not int or pid <= 1:
        raise UnknownProcess(f"{folder} does not say which process works on it")
    if host != platform.node():
        raise RunError(f"the run in {folder} works on {host}: stop it there")
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise RunError(f"the run in {folder} is another user's: process {pid}") from None
    return True
