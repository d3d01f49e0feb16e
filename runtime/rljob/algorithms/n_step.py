"""Returns over several steps (Sutton & Barto 2018, chapter 7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rljob.envs.spaces import Arrays
from rljob.spec.experience import Field

N_STEP_FIELDS = (
    Field("n_step_return", "float32"),
    Field("n_step_discount", "float32"),
    Field("next_row", "int32"),
)
"""Fields of an algorithm whose transitions span several steps; `fill_n_step` fills them."""


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


def fill_n_step(segment: Arrays, *, n: int, gamma: float) -> None:
    """Fill `N_STEP_FIELDS` of a whole segment in place, by `n_step`."""
    ends = (segment[name] for name in ("reward", "terminated", "truncated", "valid"))
    found = n_step(*ends, n=n, gamma=gamma)
    segment["n_step_return"][:] = found.ret
    segment["n_step_discount"][:] = found.discount
    segment["next_row"][:] = found.next_row


def check_n_step(n: int, rollout_length: int) -> None:
    """Refuse returns over more steps than a segment has.

    Raises:
        ValueError: in the words of the settings.
    """
    if n > rollout_length:
        raise ValueError(
            f"nStep ({n}) must not be above rolloutLength ({rollout_length}): returns end with their segment"
        )
