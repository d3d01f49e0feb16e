"""Asynchronous wrapper of the work queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from rljob_operator.decide.observed import Key
from rljob_operator.watch.queue import WorkQueue


class AsyncWorkQueue:
    """Hands keys to asynchronous workers. Belongs to one event loop.

    Args:
        queue: the wrapped queue; call `add`, `get`, `done` and `failed` only through this object.
        clock: monotonic seconds.
    """

    def __init__(self, queue: WorkQueue[Key], clock: Callable[[], float]) -> None:
        self.queue = queue
        self._clock = clock
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Queue this job."""
        self.queue.add(key, self._clock())
        self._wake.set()

    async def get(self) -> Key:
        """Wait for the next key. Call `done` or `failed` for it afterwards."""
        while True:
            key = self.queue.take(self._clock())
            if key is not None:
                return key
            self._wake.clear()
            due = self.queue.next_due()
            seconds = None if due is None else max(0.0, due - self._clock())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    def done(self, key: Key, again_in: float | None = None) -> None:
        """Processing succeeded; queue the key again after `again_in` seconds, if given."""
        self.queue.done(key)
        if again_in is not None:
            self.queue.add_later(key, self._clock() + again_in)
        self._wake.set()

    def failed(self, key: Key, at_least: float = 0.0) -> float:
        """Processing failed. Returns the seconds until the retry."""
        delay = self.queue.failed(key, self._clock(), at_least)
        self._wake.set()
        return delay
