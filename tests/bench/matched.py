"""The PPO settings of an example in the terms of Stable-Baselines3, so that both train with the same ones."""

from __future__ import annotations

from typing import Any

from rljob import spec
from rljob.algorithms import load_config
from rljob.algorithms.built_in.ppo import PPOConfig
from rljob.nets import resolve_network
from rljob.nets.mlp import MLPConfig


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
