"""Distributional Q-learning by quantile regression (Dabney et al. 2018, https://arxiv.org/abs/1710.10044): the network
predicts quantiles of the return instead of its mean."""

import torch

from rljob.algorithms.base import Acted, Actor, AlgorithmConfig, Head, Learner, Net, Replay, Update
from rljob.algorithms.epsilon_greedy import epsilon_greedy
from rljob.algorithms.schedule import Schedule, SchedulePhase
from rljob.nets.torch_batch import tensors
from rljob.nets.torch_optimizer import FlatAdam
from rljob.nets.torch_target import Target


class Config(AlgorithmConfig):
    learning_rate: Schedule[float] = Schedule(SchedulePhase(from_=2e-3, to=0))
    gamma: float = 0.99
    quantiles: int = 10
    batch_size: int = 64
    # Half an update, of 64 transitions, for each environment step.
    samples_per_insert: float = 32.0
    target_update_interval: int = 128
    epsilon: Schedule[float] = Schedule(SchedulePhase(from_=1.0, to=0.04, steps=8000))


class QRDQN:
    Config, fields = Config, ()

    def __init__(self, config, spaces):
        self.config, self.shape = config, (spaces.action.n, config.quantiles)
        head = Head(spaces.action.n * config.quantiles)
        self.networks = {"q": Net({"quantiles": head}, acts=("quantiles",))}
        self.data = Replay(16, config.batch_size, 1000, config.samples_per_insert)

    def actor(self, policy, place):
        return QRDQNActor(self, policy, place)

    def learner(self, networks, seed):
        return QRDQNLearner(self, networks["q"])


def chosen(quantiles, action):
    """Those of the chosen actions, `[B, quantiles]`."""
    return quantiles[torch.arange(len(action), device=action.device), action]


class QRDQNActor(Actor):
    def act(self, seen):
        q = self.policy(seen)["quantiles"].reshape(-1, *self.algorithm.shape).mean(-1)
        epsilon = 0.0 if self.place.greedy else self.policy.arrays["epsilon"]
        return Acted(epsilon_greedy(q, epsilon, self.rng, seen.mask))


class QRDQNLearner(Learner):
    def __init__(self, algorithm, network):
        self.config, self.shape = algorithm.config, algorithm.shape
        self.network, self.target = network, Target(network)
        rate = self.config.learning_rate.start
        self.optimizer = FlatAdam(network, learning_rate=rate, max_gradient_norm=10.0)
        # The middle of each quantile's share of the probability.
        self.tau = (torch.arange(self.shape[1], device=network.device) + 0.5) / self.shape[1]

    def quantiles(self, network, observation):
        """`[B, actions, quantiles]`."""
        return network(observation)["quantiles"].unflatten(-1, self.shape)

    def update(self, batch, progress):
        config, data = self.config, tensors(batch, self.network.device)
        ahead = self.quantiles(self.target, data["next_observation"])
        best = chosen(ahead, ahead.mean(-1).argmax(-1))
        goes_on = config.gamma * ~data["terminated"]
        target = data["reward"][:, None] + goes_on[:, None] * best
        taken = chosen(self.quantiles(self.network, data["observation"]), data["action"])
        # Each quantile against each of the target's, [B, quantile, target].
        error = target[:, None] - taken[:, :, None]
        huber = torch.where(error.abs() < 1, 0.5 * error.square(), error.abs() - 0.5)
        loss = ((self.tau[:, None] - (error < 0).float()).abs() * huber).mean(2).sum(1).mean()
        norm = self.optimizer.step(loss, config.learning_rate.at(progress))
        if (progress.updates + 1) % config.target_update_interval == 0:
            self.target.follow()
        return Update({"loss": loss.item(), "mean_q": best.mean().item(), "gradient_norm": norm})

    def publish(self, progress):
        return {"epsilon": self.config.epsilon.at(progress)}
