"""The settings of an example in the terms of Stable-Baselines3 and sb3-contrib, so that both train with the same ones."""

from __future__ import annotations

from typing import Any

from rljob import spec
from rljob.algorithms import load_config
from rljob.algorithms.built_in.a2c import A2CConfig
from rljob.algorithms.built_in.ddpg import DDPGConfig
from rljob.algorithms.built_in.dqn import DQNConfig
from rljob.algorithms.built_in.ppo import PPOConfig
from rljob.algorithms.built_in.qr_dqn import QRDQNConfig
from rljob.algorithms.built_in.sac import SACConfig
from rljob.algorithms.built_in.td3 import TD3Config
from rljob.algorithms.built_in.trpo import TRPOConfig
from rljob.nets import resolve_network
from rljob.nets.configs import MLPConfig


def settings(content: dict[str, Any]) -> dict[str, Any]:
    """What `tests/bench/peers/sb3.py --settings` takes, as JSON.

    Args:
        content: a job with PPO, one segment of each rollout in a batch, a constant learning rate, and the network
            `mlp` with tanh.

    Returns:
        `ppo`: keyword arguments of `stable_baselines3.PPO`; `environments`: how many; `hidden`: units of the
        policy's and of the value's network; `normalise_rewards`; `steps`: the most that a run takes.
    """
    job = spec.parse(content).spec
    config, network = load_config(job.algorithm), resolve_network(job.network)
    assert isinstance(config, PPOConfig)
    assert isinstance(network, MLPConfig)
    # Stable-Baselines3 has nothing that is the same as these.
    assert config.segments_per_batch is None
    assert config.kl_penalty is None
    assert config.value_huber is None
    assert config.clip is not None
    changing = (
        config.learning_rate,
        config.clip,
        config.entropy_coefficient,
        config.value_coefficient,
    )
    assert not any(each.phases for each in changing)
    assert config.value_clip is None
    assert config.target_kl is None
    assert not config.normalise_observations
    assert network == MLPConfig(hidden=network.hidden)
    environments = job.rollout.replicas * job.rollout.envs_per_replica
    return {
        "ppo": {
            "learning_rate": config.learning_rate.start,
            "n_steps": config.rollout_length,
            "batch_size": environments * config.rollout_length // config.minibatches,
            "n_epochs": config.epochs,
            "gamma": config.gamma,
            "gae_lambda": config.gae_lambda,
            "clip_range": config.clip.start,
            "ent_coef": config.entropy_coefficient.start,
            "vf_coef": config.value_coefficient.start,
            "max_grad_norm": config.max_gradient_norm,
        },
        "environments": environments,
        "hidden": list(network.hidden),
        "normalise_rewards": config.normalise_rewards,
        "steps": job.stop.steps,
    }


def rated(content: dict[str, Any], task: str) -> dict[str, Any]:
    """What `tests/bench/peers/sb3.py rates --settings` takes, as JSON.

    Args:
        content: a job with a constant learning rate and the network `mlp`.
        task: the Gymnasium id of its environment.

    Returns:
        `algorithm`: its name in rljob; `task`; `environments`: how many, so that an update has as many rows; `hidden` and
        `activation` of each network; `normalise_rewards`; `noise`: standard deviation of Gaussian noise on actions, or
        None; `policy`: more of `policy_kwargs`; `keywords`: arguments of the algorithm's class.
    """
    job = spec.parse(content).spec
    config, network = load_config(job.algorithm), resolve_network(job.network)
    assert isinstance(network, MLPConfig)
    assert network == MLPConfig(hidden=network.hidden, activation=network.activation)
    environments = job.rollout.replicas * job.rollout.envs_per_replica
    made: dict[str, Any] = {
        "algorithm": job.algorithm.name,
        "task": task,
        "hidden": list(network.hidden),
        "activation": network.activation,
        "normalise_rewards": getattr(config, "normalise_rewards", False),
        "noise": None,
        "policy": {},
    }
    match config:
        case PPOConfig():
            made["keywords"] = settings(content)["ppo"]
        case A2CConfig():
            assert config.segments_per_batch == 1
            environments = job.rollout.envs_per_replica
            made["keywords"] = {
                **_both(config),
                "n_steps": config.rollout_length,
                "gae_lambda": config.gae_lambda,
                "ent_coef": config.entropy_coefficient.start,
                "vf_coef": config.value_coefficient.start,
                "max_grad_norm": config.max_gradient_norm,
                "normalize_advantage": config.normalise_advantages,
                "use_rms_prop": False,
            }
        case TRPOConfig():
            assert config.segments_per_batch is None
            made["keywords"] = {
                **_both(config),
                "n_steps": config.rollout_length,
                "batch_size": config.critic_batch_size,
                "gae_lambda": config.gae_lambda,
                "target_kl": config.target_kl.start,
                "cg_max_steps": config.conjugate_gradient_iterations,
                "cg_damping": config.damping,
                "line_search_max_iter": config.line_search_tries,
                "line_search_shrinking_factor": config.line_search_shrink,
                "n_critic_updates": config.critic_epochs,
                "normalize_advantage": config.normalise_advantages,
            }
        case DQNConfig() | QRDQNConfig():
            # Stable-Baselines3 has neither a second network to choose actions, nor streams of values and advantages.
            assert not config.double
            assert not (isinstance(config, DQNConfig) and (config.dueling or config.munchausen))
            assert config.replay == "uniform"
            assert not config.noisy
            if isinstance(config, QRDQNConfig):
                made["policy"] = {"n_quantiles": config.quantiles}
            made["keywords"] = {
                **_replay(config, job, environments),
                "tau": config.tau.start,
                "n_steps": config.n_step,
                "max_grad_norm": config.max_gradient_norm,
                "exploration_initial_eps": config.epsilon.start,
                "exploration_final_eps": config.epsilon.start,
                # Of theirs, in steps of all environments; of ours, in updates.
                "target_update_interval": round(
                    config.target_update_interval * config.batch_size / config.samples_per_insert
                ),
            }
        case SACConfig():
            made["keywords"] = {
                **_replay(config, job, environments),
                "tau": config.tau,
                "ent_coef": f"auto_{config.initial_temperature}",
            }
        case TD3Config() | DDPGConfig():
            assert config.noise == "gaussian"
            made["noise"] = config.noise_size.start
            made["keywords"] = {**_replay(config, job, environments), "tau": config.tau}
            if isinstance(config, TD3Config):
                made["keywords"] |= {
                    "policy_delay": config.policy_delay,
                    "target_policy_noise": config.target_noise,
                    "target_noise_clip": config.target_noise_clip,
                }
        case _:
            raise AssertionError(f"{job.algorithm.name} has no peer")
    return made | {"environments": environments}


def _both(config: Any) -> dict[str, Any]:
    assert not config.learning_rate.phases
    return {"learning_rate": config.learning_rate.start, "gamma": config.gamma}


def _replay(config: Any, job: Any, environments: int) -> dict[str, Any]:
    """Each environment is stepped once between updates, and each transition is trained on as often as ours."""
    updates = environments * config.samples_per_insert / config.batch_size
    assert updates == int(updates)
    return {
        **_both(config),
        "batch_size": config.batch_size,
        "buffer_size": job.buffer.capacity,
        "learning_starts": config.min_size,
        "train_freq": 1,
        "gradient_steps": int(updates),
    }
