"""Tianshou: PPO on CartPole-v1.

Settings are those of its own test, which is to solve CartPole,
https://github.com/thu-ml/tianshou/blob/master/test/discrete/test_ppo_discrete.py.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.utils.net.common import ActorCritic, Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from tianshou.utils.torch_utils import policy_within_training_step

from tests.bench.peers.watch import arguments, watch

ENVIRONMENT = "CartPole-v1"
ENVS, BUFFER, COLLECT, REPEAT, BATCH = 20, 20_000, 2000, 10, 64


def algorithm(env: gymnasium.Env) -> PPO:
    """The networks and losses of the test."""
    net = Net(state_shape=env.observation_space.shape, hidden_sizes=[64, 64])
    actor = DiscreteActor(preprocess_net=net, action_shape=env.action_space.n)
    critic = DiscreteCritic(preprocess_net=net)
    for module in ActorCritic(actor, critic).modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.orthogonal_(module.weight)
            torch.nn.init.zeros_(module.bias)
    policy = DiscreteActorPolicy(
        actor=actor,
        dist_fn=torch.distributions.Categorical,
        action_space=env.action_space,
        deterministic_eval=True,
    )
    return PPO(
        policy=policy,
        critic=critic,
        optim=AdamOptimizerFactory(lr=3e-4),
        gamma=0.99,
        max_grad_norm=0.5,
        eps_clip=0.2,
        vf_coef=0.5,
        ent_coef=0.0,
        gae_lambda=0.95,
        return_scaling=False,
        dual_clip=None,
        value_clip=False,
        advantage_normalization=False,
        recompute_advantage=False,
    )


def main() -> None:
    """Run one task."""
    told = arguments("ppo")
    torch.set_num_threads(told.threads)
    np.random.seed(told.seed)
    torch.manual_seed(told.seed)
    ppo = algorithm(gymnasium.make(ENVIRONMENT))
    envs = DummyVectorEnv([lambda: gymnasium.make(ENVIRONMENT) for _ in range(ENVS)])
    envs.seed(told.seed)
    collector = Collector(ppo, envs, VectorReplayBuffer(BUFFER, ENVS))
    collector.reset()
    following, steps = watch(told, ENVIRONMENT), 0
    following.began()
    with policy_within_training_step(ppo.policy):
        while not following.over(steps):
            stats = collector.collect(n_step=COLLECT)
            steps += stats.n_collected_steps
            for value in stats.returns:
                following.episode(float(value))
            ppo.update(buffer=collector.buffer, batch_size=BATCH, repeat=REPEAT)
            collector.reset_buffer(keep_statistics=True)
    following.print(steps)


if __name__ == "__main__":
    main()
