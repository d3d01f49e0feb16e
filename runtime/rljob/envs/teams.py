"""Environments of several agents: each agent is a column, and those of one environment are neighbours."""

from __future__ import annotations

import numpy as np


def of_teams(
    reward: np.ndarray, ended: np.ndarray, valid: np.ndarray, agents: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What columns tell of their environments.

    A team's reward is the mean of its agents' rewards, so it is the common reward where they have one; an agent that
    is over has 0. Its episode ends with the last of them.

    Args:
        reward: float32 `[..., N]`.
        ended: bool `[..., N]`.
        valid: bool `[..., N]`, False for rows that only reset, and for agents that are over.
        agents: of each environment.

    Returns:
        Reward (float64), ended and valid of each environment, `[..., N / agents]`; the arguments themselves for one agent.
    """
    if agents == 1:
        return reward, ended, valid
    shape = (*valid.shape[:-1], -1, agents)
    over = np.asarray((ended | ~valid).reshape(shape).all(axis=-1))
    some = np.asarray(valid.reshape(shape).any(axis=-1))
    return reward.reshape(shape).mean(axis=-1, dtype=np.float64), over, some


def column_name(column: int, agents: int) -> str:
    """What to call a column."""
    index, agent = divmod(int(column), agents)
    return f"environment {index}" if agents == 1 else f"agent {agent} of environment {index}"
