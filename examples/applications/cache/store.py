"""A cache of fixed size that asks which of a few entries to evict."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CAPACITY, CANDIDATES = 300, 16


@dataclass
class Entry:
    """One key in the cache; times are numbers of requests.

    Attributes:
        last: when it was requested last.
        between: time between its last two requests; 0 after the first.
        hits: requests that it has served.
    """

    key: int
    last: int
    between: int = 0
    hits: int = 0


Choose = Callable[[Sequence[Entry], int], int]
"""Index of the candidate to evict, given the candidates and the time."""


class Cache:
    """Holds `CAPACITY` keys. Candidates for eviction are drawn at random, as Redis does.

    Attributes:
        now: number of requests so far.
        hits: how many of them were served.
    """

    def __init__(self, choose: Choose, seed: int = 0) -> None:
        self._choose, self._random = choose, random.Random(seed)
        self._entries: dict[int, Entry] = {}
        self._order: list[Entry] = []
        self.now = self.hits = 0

    def request(self, key: int) -> bool:
        """Serve one key; returns whether the cache had it."""
        self.now += 1
        entry = self._entries.get(key)
        if entry is not None:
            self.hits += 1
            entry.hits += 1
            entry.between, entry.last = self.now - entry.last, self.now
            return True
        new = Entry(key, self.now)
        if len(self._order) < CAPACITY:
            self._order.append(new)
        else:
            places = self._random.sample(range(CAPACITY), CANDIDATES)
            place = places[self._choose([self._order[each] for each in places], self.now)]
            del self._entries[self._order[place].key]
            self._order[place] = new
        self._entries[key] = new
        return False


def least_recent(candidates: Sequence[Entry], now: int) -> int:
    """Evict the one that was requested longest ago (LRU)."""
    return min(range(len(candidates)), key=lambda each: candidates[each].last)


def least_frequent(candidates: Sequence[Entry], now: int) -> int:
    """Evict the one with the fewest hits (LFU)."""
    return min(range(len(candidates)), key=lambda each: candidates[each].hits)
