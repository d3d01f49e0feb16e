"""Returns over several steps (Sutton & Barto 2018, chapter 7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class NStep(NamedTuple):
    """For each row `[T, N]`: rewards until the bootstrap, its weight, and the row that it looks at."""

    ret: np.ndarray
    discount: np.ndarray
    next_row: np.ndarray


def n_step(
    reward: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    valid: np.ndarray,
    *,
    n: int,
    gamma: float,
) -> NStep:
    """Returns over up to `n` steps, `k` of them: fewer at an episode's end and at the segment's.

    Args:
        reward: float32 `[T, N]`.
        terminated: bool `[T, N]`.
        truncated: bool `[T, N]`.
        valid: bool `[T, N]`; what is returned for other rows must not be used.
        n: most steps.
        gamma: discount per step.

    Returns:
        Float32 discounted sum of `k` rewards; float32 `gamma**k`, 0 when the episode terminated in
        them; int32 `t + k`, the row of the observation to bootstrap from.
    """
    length = len(reward)
    ret = np.zeros(reward.shape, np.float32)
    discount = np.ones(reward.shape, np.float32)
    steps = np.zeros(reward.shape, np.int32)
    going = valid.copy()
    for k in range(min(n, length)):
        here, ahead, live = slice(0, length - k), slice(k, length), going[: length - k]
        ret[here] += np.float32(gamma**k) * reward[ahead] * live
        steps[here] += live
        discount[here] *= np.where(live, np.float32(gamma) * ~terminated[ahead], 1)
        live &= ~(terminated[ahead] | truncated[ahead])
    return NStep(ret, discount, steps + np.arange(length, dtype=np.int32)[:, None])
