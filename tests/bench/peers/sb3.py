"""Stable-Baselines3 and sb3-contrib: PPO until solved, any algorithm for its rates.

Without `--settings` they are those that RL Baselines3 Zoo publishes as tuned:
https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/hyperparams/ppo.yml and dqn.yml. With `--settings`
PPO has those of `tests.bench.matched`, and CartPole is Gymnasium's vector form; the task `rates` has any algorithm, and
the environments are stepped in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import QRDQN, TRPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from tests.bench.peers.watch import Watch, arguments, watch

CARTPOLE = "CartPole-v1"


def linear(start: float) -> Callable[[float], float]:
    """The zoo's `lin_…`: falls to 0 with the share of steps that is left."""
    return lambda left: left * start


PPO_SETTINGS: dict[str, dict[str, Any]] = {
    CARTPOLE: {
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
PPO_ENVS = {CARTPOLE: 8, "LunarLander-v3": 16, "Pendulum-v1": 4}
PPO_STEPS = {CARTPOLE: 100_000, "LunarLander-v3": 1_000_000, "Pendulum-v1": 100_000}

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
RATES = "rates"
ALGORITHMS: dict[str, Any] = {
    each.__name__: each for each in (A2C, DDPG, DQN, PPO, SAC, TD3, QRDQN, TRPO)
}
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


class VectorCartPole(VecEnv):  # type: ignore[misc]
    """Gymnasium's vector form of CartPole, as Stable-Baselines3 wants it: an episode's last step returns the first
    observation of the next episode, where Gymnasium spends a step of its own on that."""

    def __init__(self, num_envs: int, seed: int) -> None:
        self._env: Any = gymnasium.make_vec(
            CARTPOLE, num_envs=num_envs, vectorization_mode="vector_entry_point"
        ).unwrapped
        super().__init__(
            num_envs, self._env.single_observation_space, self._env.single_action_space
        )
        self._seed: int | None = seed
        self._returns = np.zeros(num_envs)
        self._actions = np.zeros(num_envs, np.int64)

    def reset(self) -> np.ndarray:
        observations: np.ndarray = self._env.reset(seed=self._seed)[0]
        self._seed = None
        self._returns[:] = 0.0
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> Any:
        env = self._env
        observations, rewards, terminated, truncated, _ = env.step(self._actions)
        self._returns += rewards
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{}] * self.num_envs
        ended = np.flatnonzero(done)
        if len(ended):
            lengths = env.steps[ended]
            for i, length in zip(ended, lengths, strict=True):
                infos[i] = {
                    "terminal_observation": observations[i].copy(),
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                    "episode": {"r": float(self._returns[i]), "l": int(length)},
                }
            env.state[:, ended] = env.np_random.uniform(env.low, env.high, (4, len(ended)))
            env.steps[ended] = 0
            env.prev_done[ended] = False
            observations[ended] = env.state[:, ended].T
            self._returns[ended] = 0.0
        return observations, rewards, done, infos

    def close(self) -> None:
        self._env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self._env, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **options: Any) -> Any:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class Follow(BaseCallback):
    """Tells the watch of episodes; ends `learn` when the run is over."""

    def __init__(self, watch: Watch, updates: Callable[[], int]) -> None:
        super().__init__()
        self._watch, self._updates = watch, updates

    def _on_training_start(self) -> None:
        self._watch.began()

    def _on_step(self) -> bool:
        for i in np.flatnonzero(self.locals["dones"]):
            # Put there by Monitor, which `make_vec_env` wraps around each environment, or by `VectorCartPole`.
            self._watch.episode(float(self.locals["infos"][i]["episode"]["r"]))
        return not self._watch.over(self.num_timesteps, self._updates())


def tuned(task: str, seed: int) -> tuple[Any, int]:
    """PPO with the zoo's settings, and for how many steps they are."""
    env = make_vec_env(task, n_envs=PPO_ENVS[task], seed=seed)
    return PPO("MlpPolicy", env, seed=seed, device="cpu", **PPO_SETTINGS[task]), PPO_STEPS[task]


def matched(task: str, seed: int, settings: dict[str, Any]) -> tuple[Any, int]:
    """PPO with the settings of `tests.bench.matched.settings`, and for how many steps they are."""
    count = settings["environments"]
    make: Any = VectorCartPole(count, seed) if task == CARTPOLE else make_vec_env(task, count, seed)
    if settings["normalise_rewards"]:
        make = VecNormalize(make, norm_obs=False, gamma=settings["ppo"]["gamma"])
    network = {"net_arch": settings["hidden"]}
    model = PPO(
        "MlpPolicy", make, seed=seed, device="cpu", policy_kwargs=network, **settings["ppo"]
    )
    return model, settings["steps"]


def rated(seed: int, settings: dict[str, Any]) -> Any:
    """Any algorithm with the settings of `tests.bench.matched.rated`."""
    env: Any = make_vec_env(settings["task"], settings["environments"], seed)
    keywords = dict(settings["keywords"])
    if settings["normalise_rewards"]:
        env = VecNormalize(env, norm_obs=False, gamma=keywords["gamma"])
    if settings["noise"] is not None:
        size = env.action_space.shape
        keywords["action_noise"] = NormalActionNoise(
            np.zeros(size), np.full(size, settings["noise"])
        )
    policy = {
        "net_arch": settings["hidden"],
        "activation_fn": ACTIVATIONS[settings["activation"]],
        **settings["policy"],
    }
    made = ALGORITHMS[settings["algorithm"]]
    return made("MlpPolicy", env, seed=seed, device="cpu", policy_kwargs=policy, **keywords)


def main() -> None:
    """Run one task."""
    told = arguments(*PPO_SETTINGS, *DQN_NETWORKS, RATES)
    torch.set_num_threads(told.threads)
    model: Any
    if told.task == RATES:
        model, steps = rated(told.seed, told.settings), 1_000_000_000
    elif told.settings:
        model, steps = matched(told.task, told.seed, told.settings)
    elif told.task in PPO_SETTINGS:
        model, steps = tuned(told.task, told.seed)
    else:
        steps = 10_000_000
        model = DQN(
            "MlpPolicy",
            make_vec_env(CARTPOLE, n_envs=1, seed=told.seed),
            seed=told.seed,
            device="cpu",
            policy_kwargs={"net_arch": DQN_NETWORKS[told.task]},
            **DQN_CARTPOLE,
        )
    # PPO counts passes over a batch, the others batches.
    passes = getattr(model, "n_epochs", 1) if told.task == RATES else 1
    following = watch(told, told.task if told.task in PPO_SETTINGS else None)
    model.learn(steps, callback=Follow(following, lambda: int(model._n_updates) // passes))
    following.print(model.num_timesteps, int(model._n_updates) // passes)


if __name__ == "__main__":
    main()
