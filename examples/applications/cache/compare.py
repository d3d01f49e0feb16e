"""Hit ratio of a trained policy, of LRU and of LFU, over requests that it was not trained with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice

from cache import observe
from store import Cache, Choose, Entry, least_frequent, least_recent
from workload import requests

import rljob


def hit_ratio(choose: Choose, number: int) -> float:
    """Over so many requests of a stream of its own."""
    cache = Cache(choose)
    for key in islice(requests(seed=1), number):
        cache.request(key)
    return cache.hits / cache.now


def main(run: str, number: str = "300000") -> None:
    """Print the table."""
    policy = rljob.load_policy(run)

    def learned(candidates: Sequence[Entry], now: int) -> int:
        return int(policy.act(observe(candidates, now)))

    for name, choose in (("LRU", least_recent), ("LFU", least_frequent), ("learned", learned)):
        print(f"{name:<8}{hit_ratio(choose, int(number)):6.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
