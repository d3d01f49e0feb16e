"""Notices that the keys in a role's folder have changed."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from rljob.errors import RLJobError
from rljob.spec.roles import RoleName
from rljob.wire.keys import APPLICATIONS, ORDER, KeyRing, read

LOOK_EVERY = 1.0
"""Seconds between two looks at the folder."""
_FolderState = tuple[int, int, int, int, tuple[str, ...]] | None


class KeyWatch:
    """Of one role; used by one thread. It cannot be told by events: a cluster swaps the folder behind a link.

    Attributes:
        ring: the keys when they were last read.
    """

    def __init__(self, folder: Path, role: RoleName) -> None:
        self._folder, self._role = folder, role
        self._seen = _look(folder)
        self.ring = read(folder, role)
        self._looked = time.monotonic()
        self._problem = ""

    def changed(self) -> KeyRing | None:
        """The keys if they have changed, else None. Keys that cannot be read are told once and leave the old ones."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return None
        self._looked = now
        seen = _look(self._folder)
        if seen == self._seen:
            return None
        try:
            ring = read(self._folder, self._role)
        except RLJobError as error:
            if str(error) != self._problem:
                logging.getLogger("rljob").warning("the keys stay as they are: %s", error)
            self._problem = str(error)
            return None
        self._seen, self._problem = seen, ""
        if ring == self.ring:
            return None
        self.ring = ring
        return ring


def _look(folder: Path) -> _FolderState:
    """Differs once the order, the generations or the applications have changed."""
    try:
        order = (folder / ORDER).stat()
        names = tuple(sorted(os.listdir(folder)))
        inode, changed = 0, 0
        if APPLICATIONS in names:
            found = (folder / APPLICATIONS).stat()
            inode, changed = found.st_ino, found.st_mtime_ns
        return order.st_ino, order.st_mtime_ns, inode, changed, names
    except OSError:
        return None
