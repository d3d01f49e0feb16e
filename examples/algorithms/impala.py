"""IMPALA: actor-critic with V-trace (Espeholt et al. 2018, https://arxiv.org/abs/1802.01561). It learns with `mlp`, and with
the memory of `gru`."""

import torch

from rljob.algorithms.base import AlgorithmConfig, Field, Head, Learner, Net, OnPolicy, Update
from rljob.algorithms.distributions import DistributionActor, distribution_for
from rljob.algorithms.schedule import Schedule
from rljob.algorithms.v_trace import v_trace
from rljob.nets.torch_batch import begins, tensors
from rljob.nets.torch_optimizer import FlatAdam


class Config(AlgorithmConfig):
    learning_rate: Schedule[float] = Schedule(2e-3)
    gamma: float = 0.98
    entropy_coefficient: float = 0.01
    value_coefficient: float = 0.5
    reward_scale: float = 1.0
    rollout_length: int = 32


class IMPALA:
    Config, fields = Config, (Field("log_prob", "float32"),)

    def __init__(self, config, spaces):
        self.config, self.distribution = config, distribution_for(spaces.action)
        heads = self.distribution.heads
        policy = Net({**heads, "value": Head(1)}, acts=tuple(heads), memory=True)
        self.networks, self.data = {"policy": policy}, OnPolicy(config.rollout_length, 1)

    def actor(self, policy, place):
        return DistributionActor(self.distribution, policy, place)

    def learner(self, networks, seed):
        return IMPALALearner(self, networks["policy"])


class IMPALALearner(Learner):
    def __init__(self, algorithm, network):
        self.config, self.distribution = algorithm.config, algorithm.distribution
        self.network = network
        rate = self.config.learning_rate.start
        self.optimizer = FlatAdam(network, learning_rate=rate, max_gradient_norm=0.5)

    def update(self, batch, progress):
        config, data = self.config, tensors(batch, self.network.device)
        valid = data["valid"]
        outputs, _ = self.network.unroll(data["observation"], begins(valid), data.get("core"))
        value = outputs.pop("value").squeeze(-1)
        acted = {name: output[:-1].flatten(0, 1) for name, output in outputs.items()}
        log_prob, entropy = self.distribution.evaluate(acted, data["action"].flatten(0, 1))
        log_prob, entropy = log_prob.view_as(valid), entropy.view_as(valid)
        log_ratio = log_prob.detach().cpu().numpy() - batch["log_prob"]
        ends = [batch[name] for name in ("terminated", "truncated", "valid")]
        reward = config.reward_scale * batch["reward"]
        estimate = value.detach().cpu().numpy()
        found = v_trace(log_ratio, reward, estimate, *ends, gamma=config.gamma)
        target, advantage = (torch.from_numpy(each).to(value.device) for each in found)
        policy_loss = -(log_prob * advantage)[valid].mean()
        value_loss = (value[:-1] - target)[valid].square().mean()
        loss = policy_loss + config.value_coefficient * value_loss
        loss = loss - config.entropy_coefficient * entropy[valid].mean()
        norm = self.optimizer.step(loss, config.learning_rate.at(progress))
        metrics = {"policy_loss": policy_loss.item(), "value_loss": value_loss.item()}
        return Update({**metrics, "gradient_norm": norm})
