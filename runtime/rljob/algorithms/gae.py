"""Generalised advantage estimation (Schulman et al. 2016, https://arxiv.org/abs/1506.02438)."""

from __future__ import annotations

import numpy as np


def gae(
    reward: np.ndarray,
    value: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    valid: np.ndarray,
    *,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """Advantages, float32 `[T, N]`, zero where not `valid`; `advantage + value[:-1]` are the targets.

    No sum crosses the end of an episode. A terminated one has no value afterwards; a truncated one,
    and one that the segment cuts, go on with the value of the observation that followed.

    Args:
        reward: `[T, N]`.
        value: `[T + 1, N]`, row `t + 1` being that of what followed row `t`.
        terminated: bool `[T, N]`.
        truncated: bool `[T, N]`.
        valid: bool `[T, N]`; False for a row that only resets its environment.
        gamma: discount per step.
        gae_lambda: 0 is one-step temporal differences, 1 is Monte Carlo.
    """
    delta: np.ndarray = reward + np.float32(gamma) * value[1:] * ~terminated - value[:-1]
    delta *= valid
    decay = np.float32(gamma * gae_lambda) * (valid & ~(terminated | truncated))
    advantage = np.empty_like(delta)
    running = np.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + decay[t] * running
        advantage[t] = running
    return advantage
