"""Monotonic mixing of the values of agents who share a reward (Rashid et al. 2018, https://arxiv.org/abs/1803.11485).
With `mixer: sum` it is the value decomposition (VDN) of Sunehag et al. 2017 (https://arxiv.org/abs/1706.05296)."""

from typing import Literal

from torch.nn.functional import elu

import rljob
from rljob.algorithms.base import Acted, Actor, AlgorithmConfig, Head, Learner, Net, Replay, Update
from rljob.algorithms.epsilon_greedy import epsilon_greedy
from rljob.algorithms.masking import FORBIDDEN
from rljob.algorithms.schedule import Schedule, SchedulePhase
from rljob.nets.torch_batch import tensors
from rljob.nets.torch_optimizer import FlatAdam
from rljob.nets.torch_target import Target


class Config(AlgorithmConfig):
    learning_rate: float = 5e-4
    gamma: float = 0.99
    batch_size: int = 32
    # Of every agent's step.
    samples_per_insert: float = 16.0
    target_update_interval: int = 200
    epsilon: Schedule[float] = Schedule(SchedulePhase(from_=1.0, to=0.05, steps=50_000))
    mixer: Literal["monotonic", "sum"] = "monotonic"
    mixing_units: int = 8


class QMIX:
    Config, fields = Config, ()

    def __init__(self, config, spaces):
        self.config, self.agents = config, spaces.agents
        self.networks = {"q": Net({"q": Head(spaces.action.n)}, acts=("q",))}
        if config.mixer == "monotonic":
            if spaces.state is None:
                raise rljob.InputError(
                    "QMIX needs the state of the environment", path="environment"
                )
            units = config.mixing_units
            sizes = {"w1": self.agents * units, "b1": units, "w2": units, "b2": 1}
            heads = {name: Head(size) for name, size in sizes.items()}
            self.networks["mixer"] = Net(heads, inputs=(spaces.state,))
        per_insert = config.samples_per_insert
        self.data = Replay(16, config.batch_size, 1000, per_insert, agents=self.agents)

    def actor(self, policy, place):
        return QMIXActor(self, policy, place)

    def learner(self, networks, seed):
        return QMIXLearner(self, networks["q"], networks.get("mixer"))


class QMIXActor(Actor):
    def act(self, seen):
        epsilon = 0.0 if self.place.greedy else self.policy.arrays["epsilon"]
        return Acted(epsilon_greedy(self.policy(seen)["q"], epsilon, self.rng, seen.mask))


class QMIXLearner(Learner):
    def __init__(self, algorithm, q, mixer):
        self.config, self.agents, self.q, self.mixer = algorithm.config, algorithm.agents, q, mixer
        self.nets = [net for net in (q, mixer) if net is not None]
        self.targets = [Target(net) for net in self.nets]
        rate = self.config.learning_rate
        self.optimizer = FlatAdam(*self.nets, learning_rate=rate, max_gradient_norm=10.0)

    def mix(self, mixer, values, state):
        """The value of all agents of an environment, `[B]`, from those of each, `[B, agents]`: it grows with each."""
        if mixer is None:
            return values.sum(1)
        weights = mixer(state)
        w1 = weights["w1"].abs().unflatten(1, (self.agents, -1))
        hidden = elu((values[:, :, None] * w1).sum(1) + weights["b1"])
        return (hidden * weights["w2"].abs()).sum(1) + weights["b2"].squeeze(1)

    def update(self, batch, progress):
        config, data = self.config, tensors(batch, self.q.device)
        # The agents of an environment are beside each other. One that is over adds nothing.
        takes = data["valid"].view(-1, self.agents)
        goes_on = takes & ~data["terminated"].view_as(takes)
        ahead = self.targets[0](data["next_observation"])["q"]
        if "next_mask" in data:
            ahead = ahead.masked_fill(~data["next_mask"], FORBIDDEN)
        best = ahead.amax(1).view_as(takes) * goes_on
        mixer = self.targets[1] if self.mixer is not None else None
        value = self.mix(mixer, best, data.get("next_state")) * goes_on.any(1)
        target = data["reward"].view_as(takes).mean(1) + config.gamma * value
        q = self.q(data["observation"])["q"].gather(1, data["action"][:, None])
        total = self.mix(self.mixer, q.view_as(takes) * takes, data.get("state"))
        loss = (total - target).square().mean()
        norm = self.optimizer.step(loss)
        if (progress.updates + 1) % config.target_update_interval == 0:
            for each in self.targets:
                each.follow()
        return Update({"loss": loss.item(), "mean_q": total.mean().item(), "gradient_norm": norm})

    def publish(self, progress):
        return {"epsilon": self.config.epsilon.at(progress)}
