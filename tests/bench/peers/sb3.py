"""Stable-Baselines3: PPO until solved, DQN for its rates.

Settings are those that RL Baselines3 Zoo publishes as tuned:
https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/hyperparams/ppo.yml and dqn.yml.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from tests.bench.peers.watch import SOLVED, Watch, arguments


def linear(start: float) -> Callable[[float], float]:
    """The zoo's `lin_…`: falls to 0 with the share of steps that is left."""
    return lambda left: left * start


PPO_SETTINGS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "n_steps": 32,
        "batch_size": 256,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "n_epochs": 20,
        "ent_coef": 0.0,
        "learning_rate": linear(0.001),
        "clip_range": linear(0.2),
    },
    "LunarLander-v3": {
        "n_steps": 1024,
        "batch_size": 64,
        "gae_lambda": 0.98,
        "gamma": 0.999,
        "n_epochs": 4,
        "ent_coef": 0.01,
    },
    "Pendulum-v1": {
        "n_steps": 1024,
        "gae_lambda": 0.95,
        "gamma": 0.9,
        "n_epochs": 10,
        "ent_coef": 0.0,
        "learning_rate": 1e-3,
        "clip_range": 0.2,
        "use_sde": True,
        "sde_sample_freq": 4,
    },
}
PPO_ENVS = {"CartPole-v1": 8, "LunarLander-v3": 16, "Pendulum-v1": 4}
PPO_STEPS = {"CartPole-v1": 100_000, "LunarLander-v3": 1_000_000, "Pendulum-v1": 100_000}

DQN_CARTPOLE = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "gamma": 0.99,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
}
DQN_NETWORKS = {"dqn-256": [256, 256], "dqn-64": [64, 64]}
"""The zoo's network, and one of the size that others use by default."""


class Follow(BaseCallback):
    """Tells the watch of episodes; ends `learn` when the run is over."""

    def __init__(self, watch: Watch, updates: Callable[[], int]) -> None:
        super().__init__()
        self._watch, self._updates = watch, updates

    def _on_training_start(self) -> None:
        self._watch.began()

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            # Put there by Monitor, which `make_vec_env` wraps around each environment.
            if (episode := info.get("episode")) is not None:
                self._watch.episode(float(episode["r"]))
        return not self._watch.over(self.num_timesteps, self._updates())


def main() -> None:
    """Run one task."""
    told = arguments(*PPO_SETTINGS, *DQN_NETWORKS)
    # Its networks are small: a second thread makes it slower.
    torch.set_num_threads(1)
    if told.task in PPO_SETTINGS:
        steps = PPO_STEPS[told.task]
        env = make_vec_env(told.task, n_envs=PPO_ENVS[told.task], seed=told.seed)
        settings = PPO_SETTINGS[told.task]
        model: Any = PPO("MlpPolicy", env, seed=told.seed, device="cpu", **settings)
    else:
        steps = 10_000_000
        model = DQN(
            "MlpPolicy",
            make_vec_env("CartPole-v1", n_envs=1, seed=told.seed),
            seed=told.seed,
            device="cpu",
            policy_kwargs={"net_arch": DQN_NETWORKS[told.task]},
            **DQN_CARTPOLE,
        )
    watch = Watch(SOLVED.get(told.task), told.cap)
    model.learn(steps, callback=Follow(watch, lambda: int(model._n_updates)))
    watch.print(model.num_timesteps, int(model._n_updates))


if __name__ == "__main__":
    main()
