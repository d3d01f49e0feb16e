"""The global random generators, which some environments use instead of their own."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np


def seed_global_generators(seed: Sequence[int] | None) -> None:
    """Seed `random` and `numpy.random`, so that equal seeds give equal episodes; None changes nothing."""
    if seed is None:
        return
    first, second = np.random.SeedSequence(seed).generate_state(2, np.uint32)
    random.seed(int(first))
    np.random.seed(int(second))
