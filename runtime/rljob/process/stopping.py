"""Asks a process to end, and tells it so: SIGTERM, SIGINT, or the death of its parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PARENT_CHECK_SECONDS = 1.0
"""Between two looks whether the process that started this one still lives."""


class AskedToEnd(BaseException):
    """Raised within `Stopping.at_once`; no `except Exception` on the way may take it for a failure."""


class Stopping:
    """Whether this process was asked to end.

    A loop looks at `asked`. What has no loop, such as the import of torch, runs within `at_once`.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False

    def listen(self) -> None:
        """Take the signals; to be called early in the main thread. (In a container the process has
        number 1, for which the kernel drops a signal that nobody has asked for.)"""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)
        watch = threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True)
        watch.start()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it, being asked to end raises AskedToEnd; also when that was before."""
        self._at_once = True
        try:
            if self.asked:
                raise AskedToEnd
            yield
        finally:
            self._at_once = False

    def _take(self, *_: object) -> None:
        self.asked = True
        if self._at_once:
            self._at_once = False
            raise AskedToEnd


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
