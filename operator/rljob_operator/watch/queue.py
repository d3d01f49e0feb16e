"""Queue of keys to reconcile. A data structure without tasks or a clock.

A key is processed by at most one worker. If it is added again meanwhile, it is queued once more when that
worker is done, so no change is missed and no key is processed twice at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")

FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 60.0
HOLD_SECONDS = 5.0
"""A failed key is not processed again within this time (or its retry delay), even if it is added."""


class WorkQueue(Generic[K]):
    """Keys to work on. Times are monotonic seconds, given by the caller.

    Args:
        jitter: a number from 0 to 1 at each call; it spreads retries over half of their delay.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._waiting: dict[K, float] = {}
        self._in_hand: set[K] = set()
        self._again: dict[K, float] = {}
        self._later: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._failures: dict[K, int] = {}
        self._held: dict[K, float] = {}

    def add(self, key: K, now: float) -> None:
        """Queue this key; after a failure, not before the end of its hold time."""
        if key in self._in_hand:
            self._again.setdefault(key, now)
        elif self._held.get(key, now) > now:
            self.add_later(key, self._held[key])
        else:
            self._waiting.setdefault(key, now)

    def add_later(self, key: K, due: float) -> None:
        """Queue this key at `due`; of several such times the earliest counts."""
        if key in self._later and self._later[key] <= due:
            return
        self._later[key] = due
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, key))

    def take(self, now: float) -> K | None:
        """Take the key that has waited longest; None if there is none.

        A later due time of the key is dropped: the worker sets the next one.
        """
        self._ripen(now)
        if not self._waiting:
            return None
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._later.pop(key, None)
        self._held.pop(key, None)
        self._in_hand.add(key)
        return key

    def done(self, key: K) -> None:
        """Processing of the key succeeded."""
        self._failures.pop(key, None)
        self._in_hand.discard(key)
        if key in self._again:
            self._waiting.setdefault(key, self._again.pop(key))

    def failed(self, key: K, now: float, at_least: float = 0.0) -> float:
        """Processing of the key failed; it is retried after the returned delay.

        Args:
            key: the processed key.
            now: monotonic seconds.
            at_least: minimum delay in seconds, as requested by the server.
        """
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(count, 16))
        delay = max(at_least, longest * (0.5 + 0.5 * self._jitter()))
        self._in_hand.discard(key)
        # Events of our own partial writes must not cancel the delay.
        self._held[key] = now + max(at_least, min(delay, HOLD_SECONDS))
        self.add_later(key, now + delay)
        if self._again.pop(key, None) is not None:
            self.add(key, now)
        return delay

    def next_due(self) -> float | None:
        """When `take` may return a key without another `add`; None for never."""
        while self._heap and self._later.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting) + len(self._again)

    def oldest_seconds(self, now: float) -> float:
        """Waiting time of the oldest key; 0 if none waits."""
        since = min((*self._waiting.values(), *self._again.values()), default=now)
        return max(0.0, now - since)

    def _ripen(self, now: float) -> None:
        while (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._heap)[2]
            del self._later[key]
            self.add(key, due)
