"""The temporary folder of a run: sockets, ports and end reports of its roles."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from rljob.errors import RunError
from rljob.system import MAX_SOCKET_PATH_BYTES

PREFIX = "rljob-"
_LOCK = "lock"
_LONGEST_SOCKET = f"/{PREFIX}12345678/buffer.experience"
_YOUNG_SECONDS = 60.0
"""Age below which a folder may be one whose run has not locked it yet."""


def make() -> tuple[Path, int]:
    """A new folder that only this user can enter, and the descriptor that locks it.

    Each process that holds the descriptor keeps the folder. Folders of this user that no process holds are removed:
    their run and its launcher were both killed.

    Raises:
        RunError: it cannot be made.
    """
    place = tempfile.gettempdir()
    if len(os.fsencode(place + _LONGEST_SOCKET)) > MAX_SOCKET_PATH_BYTES:
        place = "/tmp"
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
    except OSError as error:
        raise RunError(f"cannot make a temporary folder in {place}: {error.strerror}") from error
    remove_abandoned(Path(place), time.time())
    return folder, lock


def remove_abandoned(place: Path, now: float) -> None:
    """Remove the folders of runs that were killed with their launcher.

    Args:
        now: seconds since the epoch.
    """
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or now - status.st_mtime < _YOUNG_SECONDS:
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
