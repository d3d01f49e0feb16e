"""Requests to stop a process: SIGTERM, SIGINT, or the death of its parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rljob.errors import AskedToEnd

PARENT_CHECK_SECONDS = 1.0
"""Seconds between two checks whether the parent process is running."""


class Stopping:
    """Whether this process was requested to stop.

    Loops check `asked`. Long operations without a loop, such as the import of torch, run within `at_once`.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False

    def listen(self) -> None:
        """Set the signal handlers; call this early in the main thread. (In a container the process has
        pid 1, for which the kernel drops signals without a handler.)"""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)
        watch = threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True)
        watch.start()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Context in which a request to stop raises AskedToEnd, including an earlier request."""
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
