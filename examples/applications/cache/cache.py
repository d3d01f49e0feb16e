"""A cache with its own loop: asks an agent what to evict, and tells it when that was requested again soon.

rljob run examples/applications/cache/job.yaml
python examples/applications/cache/cache.py runs/cache-1
python examples/applications/cache/compare.py runs/cache-1
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from store import CAPACITY, Cache, Entry
from workload import requests

import rljob

SOON = 4 * CAPACITY
"""An eviction was wrong when the key is requested again within so many requests."""
NUMBERS = 4


class Eviction(NamedTuple):
    """A decision whose outcome is not known yet."""

    key: int
    decision: rljob.PendingDecision


def observe(candidates: Sequence[Entry], now: int) -> np.ndarray:
    """What is known of each candidate, float32 `[CANDIDATES, NUMBERS]`."""
    rows = [
        (np.log(now - each.last), np.log1p(each.between), np.log1p(each.hits), each.hits == 0)
        for each in candidates
    ]
    return np.array(rows, np.float32) / (4, 4, 2, 1)


def main(run: str) -> None:
    """Serve requests until the job ends. The episode has no end: the cache runs for ever."""
    with rljob.Agent(run, name="cache") as agent, agent.episode() as episode:
        evicted: dict[int, Eviction] = {}
        waiting: deque[tuple[int, Eviction]] = deque()

        def choose(candidates: Sequence[Entry], now: int) -> int:
            decision = episode.decide(observe(candidates, now))
            key = candidates[int(decision.action)].key
            evicted[key] = Eviction(key, decision)
            waiting.append((now, evicted[key]))
            return int(decision.action)

        cache = Cache(choose)
        for key in requests(seed=0):
            cache.request(key)
            if (wrong := evicted.pop(key, None)) is not None:
                wrong.decision.reward(-1.0)
            while waiting and waiting[0][0] < cache.now - SOON:
                _, right = waiting.popleft()
                if evicted.get(right.key) is right:
                    del evicted[right.key]
                    right.decision.reward(0.0)
            if cache.now % 20_000 == 0:
                print(
                    f"version {agent.policy_version}: hits {cache.hits / cache.now:.3f}", flush=True
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
