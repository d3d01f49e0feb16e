"""RLlib, new API stack: PPO, IMPALA and APPO on CartPole-v1.

Settings are those of its own tuned examples,
https://github.com/ray-project/ray/tree/master/rllib/tuned_examples (cartpole_ppo.py, cartpole_impala.py,
cartpole_appo.py). Where an example leaves the number of environments of a runner at 1,
it gets more of them, which makes it faster on two cores.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import torch
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from tests.bench.peers.watch import Watch, arguments, watch

ENVIRONMENT = "CartPole-v1"


def ppo() -> Any:
    return (
        PPOConfig()
        .env_runners(num_env_runners=2, num_envs_per_env_runner=8)
        .training(gamma=0.99, lr=0.0003, num_epochs=6, vf_loss_coeff=0.01, use_kl_loss=True)
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=[32], fcnet_activation="linear", vf_share_layers=True
            )
        )
    )


def impala() -> Any:
    return (
        IMPALAConfig()
        .env_runners(num_env_runners=1, num_envs_per_env_runner=16)
        .training(
            train_batch_size_per_learner=500,
            grad_clip=40.0,
            grad_clip_by="global_norm",
            lr=0.0005,
            vf_loss_coeff=0.05,
            entropy_coeff=0.0,
        )
        .rl_module(model_config=DefaultModelConfig(vf_share_layers=True))
    )


def appo() -> Any:
    return (
        APPOConfig()
        .env_runners(num_env_runners=1, num_envs_per_env_runner=16)
        .training(
            train_batch_size_per_learner=1000,
            vf_loss_coeff=0.05,
            entropy_coeff=0.01,
            num_epochs=2,
            lr=0.00075,
            minibatch_size=250,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[32]))
    )


TASKS = {"ppo": ppo, "impala": impala, "appo": appo}


def main() -> None:
    """Run one task."""
    told = arguments(*TASKS)
    # Of the learner, which is in this process; Ray gives each of its runners one thread.
    torch.set_num_threads(told.threads)
    with tempfile.TemporaryDirectory(prefix="r-") as folder:
        ray.init(
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=folder,
        )
        try:
            _train(TASKS[told.task](), told.seed, watch(told, ENVIRONMENT))
        finally:
            ray.shutdown()


def _train(config: Any, seed: int, following: Watch) -> None:
    algorithm = config.environment(ENVIRONMENT).debugging(seed=seed, log_level="ERROR").build_algo()
    steps = updates = 0
    following.began()
    while not following.over(steps, updates):
        result = algorithm.train()
        runners = result.get("env_runners", {})
        steps = int(result.get("num_env_steps_sampled_lifetime", steps))
        learner = result.get("learners", {}).get("__all_modules__", {})
        trained = int(learner.get("num_module_steps_trained_lifetime", 0))
        updates = trained // config.train_batch_size_per_learner
        # RLlib's own mean is over its last 100 episodes too.
        if runners.get("num_episodes_lifetime", 0) >= 100:
            following.mean(float(runners["episode_return_mean"]))
    following.print(steps, updates)
    algorithm.stop()


if __name__ == "__main__":
    main()
