"""Retrace: values of one policy from what another one did (Munos et al. 2016, https://arxiv.org/abs/1606.02647). Pure."""

from __future__ import annotations

import numpy as np


def retrace(
    trace: np.ndarray,
    reward: np.ndarray,
    taken: np.ndarray,
    following: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    valid: np.ndarray,
    *,
    gamma: float,
) -> np.ndarray:
    """What the value of each action should be, float32 `[T, N]`, of use only where `valid`.

    It is the action's value plus the discounted temporal differences of the rows from it on, each weighted by the
    product of the traces between. No sum crosses the end of an episode. A terminated one has no value afterwards; a
    truncated one, and one that the sequence cuts, go on with the value of what followed.

    Args:
        trace: `[T, N]`, in [0, 1], of each row's action: `lambda * min(1, p / b)`, where `p` is the probability of the
            policy that is valued and `b` of the one that acted.
        reward: `[T, N]`.
        taken: `[T, N]`, values of the actions.
        following: `[T, N]`, values of what followed each row under the policy that is valued.
        terminated: bool `[T, N]`.
        truncated: bool `[T, N]`.
        valid: bool `[T, N]`; False for a row that only resets its environment.
        gamma: discount per step.
    """
    discount = np.float32(gamma)
    delta = reward + discount * following * ~terminated - taken
    goes_on = valid & ~(terminated | truncated)
    excess = np.zeros(delta.shape, np.float32)
    later = np.zeros(delta.shape[1:], np.float32)
    for t in range(len(delta) - 1, -1, -1):
        excess[t] = delta[t] + discount * goes_on[t] * later
        later = trace[t] * excess[t]
    target: np.ndarray = taken + excess
    return target
