"""Soft actor-critic (Haarnoja et al. 2018, https://arxiv.org/abs/1812.05905)."""

import math

import numpy as np
import torch

from rljob.algorithms.base import Acted, Actor, AlgorithmConfig, Head, Learner, Net, Replay, Update
from rljob.nets.torch_batch import tensors
from rljob.nets.torch_optimizer import FlatAdam
from rljob.nets.torch_target import Target


class Config(AlgorithmConfig):
    learning_rate: float = 1e-3
    gamma: float = 0.99
    tau: float = 0.005
    batch_size: int = 128


class SAC:
    Config, fields = Config, ()

    def __init__(self, config, spaces):
        self.config, self.size = config, math.prod(spaces.action.shape)
        heads = {name: Head(self.size, trunk="policy") for name in ("mean", "log_std")}
        inputs = (spaces.observation, spaces.action)
        self.networks = {
            "policy": Net(heads, acts=("mean", "log_std")),
            "critic": Net({"q": Head(1)}, inputs=inputs, copies=2),
        }
        self.data = Replay(16, config.batch_size, 500, samples_per_insert=config.batch_size)

    def actor(self, policy, place):
        return SACActor(self, policy, place)

    def learner(self, networks, seed):
        return SACLearner(self, networks["policy"], networks["critic"], seed)


class SACActor(Actor):
    def act(self, seen):
        outputs = self.policy(seen)
        spread = np.exp(outputs["log_std"].clip(-20, 2)) * (not self.place.greedy)
        noise = self.rng.standard_normal(spread.shape, np.float32)
        return Acted(np.tanh(outputs["mean"] + spread * noise))


class SACLearner(Learner):
    def __init__(self, algorithm, policy, critic, seed):
        self.config, self.entropy = algorithm.config, -algorithm.size
        self.policy, self.critic, self.target = policy, critic, Target(critic)
        self.log_temperature = torch.nn.Parameter(torch.zeros((), device=policy.device))
        self.generator = torch.Generator(policy.device).manual_seed(seed)
        self.optimizers = [
            FlatAdam(each, learning_rate=self.config.learning_rate)
            for each in (critic, policy, self.log_temperature)
        ]

    def sample(self, observation):
        outputs = self.policy(observation)
        std = outputs["log_std"].clamp(-20, 2).exp()
        noise = torch.randn(std.shape, generator=self.generator, device=std.device)
        action = torch.tanh(outputs["mean"] + std * noise)
        log_prob = torch.distributions.Normal(0, 1).log_prob(noise) - std.log()
        return action, (log_prob - (1 - action.square() + 1e-6).log()).sum(-1)

    def update(self, batch, progress):
        config, data = self.config, tensors(batch, self.policy.device)
        temperature = self.log_temperature.detach().exp()
        with torch.no_grad():
            action, log_prob = self.sample(data["next_observation"])
            ahead = self.target(data["next_observation"], action)["q"].squeeze(-1).amin(0)
            goes_on = config.gamma * ~data["terminated"]
            target = data["reward"] + goes_on * (ahead - temperature * log_prob)
        q = self.critic(data["observation"], data["action"])["q"].squeeze(-1)
        critic_loss = (q - target).square().mean(1).sum()
        self.optimizers[0].step(critic_loss)
        action, log_prob = self.sample(data["observation"])
        value = self.critic(data["observation"], action)["q"].squeeze(-1).amin(0)
        self.optimizers[1].step((temperature * log_prob - value).mean())
        self.optimizers[2].step(-(self.log_temperature * (log_prob.detach() + self.entropy).mean()))
        self.target.follow(config.tau)
        metrics = {"critic_loss": critic_loss.item(), "mean_q": q.mean().item()}
        return Update({**metrics, "temperature": temperature.item()})
