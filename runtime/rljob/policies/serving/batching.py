"""Which requests are computed together. Pure: the clock is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class BatchQueue(Generic[K, T]):
    """Requests that wait, in the order in which they came. A batch holds requests of one kind.

    A batch is due when it is full, or when its first request has waited for `patience`.

    Args:
        most: requests in one batch.
        patience: seconds that a request waits for others, at least 0.
        limit: requests that may wait; further ones are refused.
    """

    def __init__(self, most: int, patience: float, limit: int) -> None:
        if most < 1 or patience < 0 or limit < 1:
            raise ValueError(f"most {most}, patience {patience}, limit {limit}")
        self._most, self._patience, self._limit = most, patience, limit
        self._waiting: deque[tuple[float, K, T]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: T, kind: K, now: float) -> bool:
        """Whether the request was taken; False when too many wait."""
        if len(self._waiting) >= self._limit:
            return False
        self._waiting.append((now, kind, request))
        return True

    def due(self) -> float | None:
        """When the next batch is due, in the time of `add`; None without requests."""
        if not self._waiting:
            return None
        since, first, _ = self._waiting[0]
        full = sum(kind == first for _, kind, _ in self._waiting) >= self._most
        return since if full else since + self._patience

    def take(self, now: float) -> tuple[K, list[T]] | None:
        """The batch that is due and its kind, which is that of the request that waits longest; None when none is."""
        due = self.due()
        if due is None or due > now:
            return None
        kind = self._waiting[0][1]
        taken: list[T] = []
        kept: deque[tuple[float, K, T]] = deque()
        for entry in self._waiting:
            if entry[1] == kind and len(taken) < self._most:
                taken.append(entry[2])
            else:
                kept.append(entry)
        self._waiting = kept
        return kind, taken
