"""Copies of the arena that belong to checkpoints, for runs that resume with their replay content.

A copy is written like a checkpoint: to a temporary name, flushed to the disk, renamed, its folder
flushed; the learner then records its sha256 and a restore that finds another one is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rljob.errors import RunError
from rljob.run_folder.ageing import older
from rljob.run_folder.write_whole import replacing

_CHUNK = 1 << 20


class SnapshotCopies:
    """Makes one copy at a time, in a thread, so that the buffer goes on answering.

    Attributes:
        last: name and answer of the newest copy that was finished.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="rljob-snapshot")
        self._running: tuple[str, Future[str]] | None = None
        self.last: dict[str, str] = {}

    @property
    def busy(self) -> bool:
        """Whether a copy is being made, or was not looked at yet. The arena must not be written meanwhile."""
        return self._running is not None

    def start(self, arena: Path, folder: Path, name: str, state: dict[str, Any], keep: int) -> None:
        """Begin a copy, see `save`; not while another one is made."""
        assert self._running is None
        self._running = name, self._executor.submit(save, arena, folder, name, state, keep)

    def finished(self) -> dict[str, str] | None:
        """The answer of a copy that has just been finished, once."""
        if self._running is None or not self._running[1].done():
            return None
        (name, copy), self._running = self._running, None
        try:
            self.last = {"name": name, "sha256": copy.result()}
        except RunError as error:
            self.last = {"name": name, "problem": str(error)}
        return self.last


def save(arena: Path, folder: Path, name: str, state: dict[str, Any], keep: int) -> str:
    """Copy the arena to `folder/NAME.arena` with `state` beside it; returns the copy's sha256.

    This copy and those written last before it stay, `keep` in all. A resumed run may go back to lower
    versions, so names say nothing about age.

    Raises:
        RunError: when it cannot be written; copies made before are untouched.
    """
    target = folder / f"{name}.arena"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(state), encoding="utf-8")
        with replacing(target) as temporary:
            shutil.copyfile(arena, temporary)
            _sync(temporary)
        _sync(folder)
        for old in older(folder, target, keep):
            old.unlink()
            old.with_suffix(".json").unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot save the replay content to {target}: {error.strerror}") from error
    return _digest(target)


def restore(folder: Path, name: str, sha256: str, arena: Path) -> dict[str, Any]:
    """Put a copy in the arena's place; returns the state saved with it.

    Raises:
        RunError: when the copy is missing or not what was saved.
    """
    source = folder / f"{name}.arena"
    try:
        found = _digest(source)
        if found != sha256:
            raise RunError(f"{source} is damaged: its sha256 is {found}, not {sha256}")
        state = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        with replacing(arena) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise RunError(f"cannot restore the replay content {source}: {error.strerror}") from error
    return dict(state)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
