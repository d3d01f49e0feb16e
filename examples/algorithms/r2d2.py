"""Recurrent replay (Kapturowski et al. 2019, https://openreview.net/forum?id=r1lyTjAqYX): stored memory, burn-in,
n-step double Q-learning with rescaled values, and priorities of sequences."""

import numpy as np
import torch

from rljob.algorithms.base import Acted, Actor, AlgorithmConfig, Head, Learner, Net, Replay, Update
from rljob.algorithms.epsilon_greedy import epsilon_greedy, epsilons
from rljob.algorithms.n_step import n_step
from rljob.algorithms.schedule import Schedule, SchedulePhase
from rljob.nets.torch_batch import begins, tensors
from rljob.nets.torch_optimizer import FlatAdam
from rljob.nets.torch_target import Target


class Config(AlgorithmConfig):
    learning_rate: Schedule[float] = Schedule(SchedulePhase(from_=1e-3, to=0))
    gamma: float = 0.99
    n_step: int = 5
    burn_in: int = 8
    length: int = 16
    period: int = 8
    rollout_length: int = 16
    batch_size: int = 32
    samples_per_insert: float = 40.0
    tau: float = 0.01
    epsilon: float = 0.4
    eta: float = 0.9
    priority_exponent: float = 0.6
    importance_exponent: float = 0.4


def squash(x):
    """Compress large values, so that rewards need not be clipped; `expand` undoes it."""
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x


def expand(x):
    inner = (np.sqrt(1 + 4e-3 * (np.abs(x) + 1 + 1e-3)) - 1) / 2e-3
    return np.sign(x) * (inner * inner - 1)


class R2D2:
    Config, fields = Config, ()

    def __init__(self, config, spaces):
        self.config = config
        self.networks = {"q": Net({"q": Head(spaces.action.n)}, acts=("q",), memory=True)}
        self.data = Replay(
            config.rollout_length,
            config.batch_size,
            2000,
            config.samples_per_insert,
            config.priority_exponent,
            updates_per_publish=4,
            length=config.burn_in + config.length,
            period=config.period,
        )

    def actor(self, policy, place):
        return R2D2Actor(self, policy, place)

    def learner(self, networks, seed):
        return R2D2Learner(self.config, networks["q"])


class R2D2Actor(Actor):
    def act(self, seen):
        q, place = self.policy(seen)["q"], self.place
        if place.greedy:
            return Acted(epsilon_greedy(q, 0.0, self.rng, seen.mask))
        # Each environment of the job explores by its own share (Horgan et al. 2018).
        epsilon = epsilons(self.algorithm.config.epsilon, place, spread=7)
        return Acted(epsilon_greedy(q, epsilon, self.rng, seen.mask))


class R2D2Learner(Learner):
    def __init__(self, config, network):
        self.config, self.network, self.target = config, network, Target(network)
        self.optimizer = FlatAdam(network, learning_rate=1e-3, max_gradient_norm=10.0)

    def update(self, batch, progress):
        config, burn = self.config, self.config.burn_in
        data = tensors(batch, self.network.device)
        seen, starts = data["observation"], begins(data["valid"])
        with torch.no_grad():
            _, core = self.network.unroll(seen[:burn], starts[:burn], data["core"])
            _, target_core = self.target.network.unroll(seen[:burn], starts[:burn], data["core"])
            ahead, _ = self.target.network.unroll(seen[burn:], starts[burn:], target_core)
        outputs, _ = self.network.unroll(seen[burn:], starts[burn:], core)
        q, ahead = outputs["q"], expand(ahead["q"].numpy())

        ends = [batch[name][burn:] for name in ("reward", "terminated", "truncated", "valid")]
        back = n_step(*ends, n=config.n_step, gamma=config.gamma)
        column, used = np.arange(q.shape[1])[None], torch.from_numpy(ends[3].copy())
        best = q.detach().numpy()[back.next_row, column].argmax(-1)
        target = squash(back.ret + back.discount * ahead[back.next_row, column, best])
        taken = q[:-1].gather(-1, data["action"][burn:, :, None]).squeeze(-1)
        error = (taken - torch.from_numpy(target).float()) * used

        weight = (batch["probability"] * batch["stored"]) ** -config.importance_exponent
        weight = torch.from_numpy((weight / weight.max()).astype(np.float32))
        loss = (weight * error.square()).sum() / used.sum()
        norm = self.optimizer.step(loss, config.learning_rate.at(progress))
        self.target.follow(config.tau)
        size = error.detach().abs()
        mean = size.sum(0) / used.sum(0).clamp(min=1)
        priority = config.eta * size.amax(0) + (1 - config.eta) * mean
        metrics = {"loss": loss.item(), "mean_q": q.mean().item(), "gradient_norm": norm}
        return Update(metrics, priority.numpy() + 1e-6)
