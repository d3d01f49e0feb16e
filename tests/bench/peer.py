"""Stable-Baselines3's PPO on CartPole-v1 until the mean of 100 training episodes is 475; prints JSON.

The settings are those that RL Baselines3 Zoo publishes as tuned: hyperparams/ppo.yml, CartPole-v1,
https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/hyperparams/ppo.yml
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

SOLVED = 475.0
WINDOW = 100
CAP_SECONDS = 60.0
STEPS = 100_000


def linear(start: float) -> Callable[[float], float]:
    """The zoo's `lin_…`: falls to 0 with the share of steps that is left."""
    return lambda left: left * start


def main(seed: int) -> None:
    """Train one seed."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)

    class UntilSolved(BaseCallback):
        started = ended = 0.0
        solved = False

        def _on_training_start(self) -> None:
            self.started = time.time()

        def _on_step(self) -> bool:
            if self.locals["dones"].any():
                # Filled by Monitor, which `make_vec_env` puts around each environment.
                episodes = self.model.ep_info_buffer
                mean = statistics.fmean(episode["r"] for episode in episodes) if episodes else 0.0
                self.solved = len(episodes) == WINDOW and mean >= SOLVED
            self.ended = time.time()
            return not self.solved and self.ended - self.started < CAP_SECONDS

    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", n_envs=8, seed=seed),
        n_steps=32,
        batch_size=256,
        gae_lambda=0.8,
        gamma=0.98,
        n_epochs=20,
        ent_coef=0.0,
        learning_rate=linear(0.001),
        clip_range=linear(0.2),
        seed=seed,
        device="cpu",
    )
    watch = UntilSolved()
    model.learn(STEPS, callback=watch)
    print(
        json.dumps(
            {
                "solved": watch.solved,
                "seconds": watch.ended - watch.started,
                "reached": watch.ended,
                "steps": model.num_timesteps,
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
