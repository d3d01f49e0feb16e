"""Fetches the pages `/state` and `/metrics` of many processes in parallel."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

AT_ONCE = 16
MOMENT_SECONDS = 2.0
"""Seconds between the two scrapes of a process's metrics."""
Fetch = Callable[[str], bytes | None]
"""A page of one process by its name; None when there is no answer."""


@dataclass(frozen=True)
class Pages:
    """Pages of one process; None without an answer.

    Attributes:
        before, after: its metrics, `seconds` apart.
    """

    state: bytes | None = None
    before: bytes | None = None
    after: bytes | None = None
    seconds: float = 0.0


def states(fetchers: Sequence[Fetch]) -> list[Pages]:
    """The state of each process."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [Pages(state=body) for body in pool.map(lambda fetch: fetch("state"), fetchers)]


def states_and_metrics(fetchers: Sequence[Fetch]) -> list[Pages]:
    """The state of each process, and its metrics twice; takes `MOMENT_SECONDS` and a little more."""
    if not fetchers:
        return []

    def look(fetch: Fetch) -> tuple[float, bytes | None]:
        body = fetch("metrics")
        return time.monotonic(), body

    with ThreadPoolExecutor(AT_ONCE) as pool:
        first = list(pool.map(look, fetchers))
        time.sleep(MOMENT_SECONDS)
        second = list(pool.map(look, fetchers))
        found = list(pool.map(lambda fetch: fetch("state"), fetchers))
    return [
        Pages(state, before[1], after[1], after[0] - before[0])
        for state, before, after in zip(found, first, second, strict=True)
    ]
