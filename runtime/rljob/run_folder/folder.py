"""Selects, creates, locks and discards the folder of a run."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rljob.errors import InputError, RunError
from rljob.run_folder.names import JOB

RUNS = Path("runs")
LOOK_SECONDS = 0.2
"""Longest time for which somebody who only looks whether the folder is locked may hold the lock."""


class RunFolder:
    """A run's folder, locked for this process until `close`.

    Args:
        path: the existing folder.
        made: folders that were created for this run, the innermost first.
        fresh: whether the folder contains only files of this run.
        lock: descriptor of the lock that another process has handed over; None to lock the folder.

    Raises:
        InputError: another run uses the folder.
    """

    def __init__(self, path: Path, made: list[Path], fresh: bool, lock: int | None = None) -> None:
        self.path = path.resolve()
        self._made, self._fresh = made, fresh
        if lock is not None:
            os.set_inheritable(lock, False)
            self._lock = lock
            return
        self._lock = os.open(self.path, os.O_RDONLY)
        deadline = time.monotonic() + LOOK_SECONDS
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._lock)
                    raise InputError(f"{path}: another rljob run uses this folder") from None
            time.sleep(LOOK_SECONDS / 20)

    @classmethod
    def new(cls, name: str, directory: Path | None) -> RunFolder:
        """Create `directory`, or `runs/NAME-N` with the next free N.

        Raises:
            InputError: `directory` exists and is not empty.
            RunError: the folder cannot be created.
        """
        made: list[Path] = []
        try:
            if directory is not None:
                if directory.exists() and not directory.is_dir():
                    raise InputError(f"--dir {directory}: is a file; choose a folder")
                if directory.is_dir() and any(directory.iterdir()):
                    raise InputError(
                        f"--dir {directory}: is not empty; choose another folder, "
                        f"or resume the run in it: rljob run --resume --dir {directory}"
                    )
                _make(directory, made)
                return cls(directory, made, fresh=True)
            _make(RUNS, made)
            number = max((number for number, _ in _runs(name)), default=0) + 1
            while True:
                path = RUNS / f"{name}-{number}"
                try:
                    path.mkdir()
                except FileExistsError:
                    number += 1
                    continue
                made.insert(0, path)
                return cls(path, made, fresh=True)
        except OSError as error:
            where = directory or RUNS / name
            raise RunError(f"cannot create the run's folder {where}: {error.strerror}") from error

    @classmethod
    def existing(cls, directory: Path | None, name: str | None) -> RunFolder:
        """The folder to resume in: `directory`, else the newest of the job `name`, else the newest.

        Raises:
            InputError: there is none.
        """
        if directory is None:
            runs = _runs(name)
            if not runs:
                what = f"no run of {name}" if name else "no run"
                raise InputError(f"--resume: there is {what} in {RUNS}/; set its folder with --dir")
            directory = max(runs, key=lambda run: run[1].stat().st_mtime)[1]
        if not (directory / JOB).is_file():
            raise InputError(f"--resume: {directory} is not a run's folder: it has no {JOB}")
        return cls(directory, [], fresh=False)

    def hand_over(self) -> tuple[dict[str, Any], int]:
        """What another process makes the same folder of with `taken_over`, and the descriptor that it inherits. The lock then
        is that process's: `close` here does not release it."""
        value = {"path": str(self.path), "made": [str(folder.resolve()) for folder in self._made]}
        return {**value, "fresh": self._fresh, "lock": self._lock}, self._lock

    @classmethod
    def taken_over(cls, value: Mapping[str, Any]) -> RunFolder:
        """The folder that `hand_over` describes."""
        made = [Path(folder) for folder in value["made"]]
        return cls(Path(value["path"]), made, value["fresh"], value["lock"])

    def discard(self) -> None:
        """Remove the folders that this run created; keep a folder with older content."""
        if not self._fresh:
            return
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # Another process uses it.
                return

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


def _make(path: Path, made: list[Path]) -> None:
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir()
            made.insert(0, folder)


def _runs(name: str | None) -> list[tuple[int, Path]]:
    """Number and path of each run below `runs/`, of one job or of all."""
    pattern = re.compile(rf"{re.escape(name) if name else '.+'}-([0-9]+)")
    if not RUNS.is_dir():
        return []
    found = ((pattern.fullmatch(path.name), path) for path in RUNS.iterdir() if path.is_dir())
    return [(int(match[1]), path) for match, path in found if match]
