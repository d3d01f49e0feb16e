"""Requests for keys, as a cache gets them: a few keys are popular, popularity moves, and scans read each key once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

KEYS, EXPONENT = 3000, 0.9
"""Popular keys, and how unequal they are: the share of the k-th is in proportion to k ** -EXPONENT (Zipf)."""
MOVES_AFTER = 20_000
"""Requests until half of the keys have other ranks."""
SCAN, LONGEST_SCAN = 0.002, 600
"""Share of requests at which a scan starts, and how many keys it may read."""


def requests(seed: int) -> Iterator[int]:
    """An endless stream of keys."""
    rng = np.random.default_rng(seed)
    shares = np.arange(1, KEYS + 1, dtype=np.float64) ** -EXPONENT
    shares /= shares.sum()
    keys, fresh = rng.permutation(KEYS), KEYS
    while True:
        for rank in rng.choice(KEYS, MOVES_AFTER, p=shares):
            yield int(keys[rank])
            if rng.random() < SCAN:
                length = int(rng.integers(1, LONGEST_SCAN))
                yield from range(fresh, fresh + length)
                fresh += length
        moved = rng.choice(KEYS, KEYS // 2, replace=False)
        keys[moved] = keys[rng.permutation(moved)]
