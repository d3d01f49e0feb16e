"""Environments that come with rljob, registered with Gymnasium in the namespace `rljob`.

A job names one as `environment.id: rljob/Grid-v0`. Elsewhere, import this module first.
"""

from __future__ import annotations

import gymnasium

# SRL's names, limits and baselines (pocokhc/simple_distributed_rl, srl/envs/grid.py).
gymnasium.register(
    "rljob/Grid-v0",
    entry_point="rljob.environments.grid:GridWorld",
    reward_threshold=0.65,
    max_episode_steps=50,
)
gymnasium.register(
    "rljob/EasyGrid-v0",
    entry_point="rljob.environments.grid:GridWorld",
    kwargs={"move_reward": 0.0, "move_probability": 1.0},
    reward_threshold=0.9,
    max_episode_steps=50,
)
# rl-baselines3-zoo's names, and the limits of the tasks without velocities hidden.
gymnasium.register(
    "rljob/CartPoleNoVel-v1",
    entry_point="rljob.environments.without_velocities:CartPoleNoVel",
    vector_entry_point="rljob.environments.without_velocities:CartPoleNoVelVector",
    reward_threshold=475.0,
    max_episode_steps=500,
)
gymnasium.register(
    "rljob/PendulumNoVel-v1",
    entry_point="rljob.environments.without_velocities:PendulumNoVel",
    max_episode_steps=200,
)
