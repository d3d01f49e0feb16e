"""V-trace: values of the present policy from what an older one did (Espeholt et al. 2018, https://arxiv.org/abs/1802.01561)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class VTrace(NamedTuple):
    """For each row, float32 `[T, N]`, of use only where `valid`: what the value should be, and how much
    better than it the action was."""

    target: np.ndarray
    advantage: np.ndarray


def v_trace(
    log_ratio: np.ndarray,
    reward: np.ndarray,
    value: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    valid: np.ndarray,
    *,
    gamma: float,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
) -> VTrace:
    """Targets and advantages.

    No sum crosses the end of an episode. A terminated one has no value afterwards; a truncated one,
    and one that the segment cuts, go on with the value of the observation that followed.

    Args:
        log_ratio: `[T, N]`, log-probability of the action under the present policy minus that under the
            one that acted.
        reward: `[T, N]`.
        value: `[T + 1, N]`, row `t + 1` being that of what followed row `t`.
        terminated: bool `[T, N]`.
        truncated: bool `[T, N]`.
        valid: bool `[T, N]`; False for a row that only resets its environment.
        gamma: discount per step.
        clip_rho: largest weight of a temporal difference; decides which policy is valued.
        clip_c: largest weight with which later differences count; decides how fast.
    """
    # Beyond e^20 a ratio would overflow; it is clipped in any case.
    ratio = np.exp(np.minimum(log_ratio, 20.0))
    rho = np.minimum(ratio, clip_rho) * valid
    goes_on = valid & ~(terminated | truncated)
    following = np.float32(gamma) * value[1:] * ~terminated
    delta = rho * (reward + following - value[:-1])
    decay = np.float32(gamma) * np.minimum(ratio, clip_c) * goes_on
    # How much the target exceeds the value, in each row and in the one that follows it.
    excess = np.zeros_like(value)
    for t in range(len(delta) - 1, -1, -1):
        excess[t] = delta[t] + decay[t] * excess[t + 1]
    better = reward + following + np.float32(gamma) * goes_on * excess[1:] - value[:-1]
    return VTrace(value[:-1] + excess[:-1], rho * better)
