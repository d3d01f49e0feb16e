"""Advantage actor-critic (A2C; Mnih et al. 2016, https://arxiv.org/abs/1602.01783, in its synchronous form).

Rollouts act; the learner takes each batch of segments once: one gradient step for the policy, the value and the
entropy bonus. Advantages are Monte Carlo up to the segment's end (`gaeLambda` 1), as in the paper, or generalised
(`gae.py`). Nothing corrects for older policy versions: IMPALA does that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rljob.algorithms.base import (
    AlgorithmConfig,
    Arrays,
    Coefficient,
    Count,
    Field,
    Head,
    Learner,
    Net,
    OnPolicy,
    Place,
    Policy,
    Positive,
    Progress,
    Rate,
    Schedule,
    Share,
    Update,
)
from rljob.algorithms.distributions import Distribution, DistributionActor, distribution_for
from rljob.algorithms.evaluated import evaluate
from rljob.algorithms.gae import gae
from rljob.envs.spaces import Spaces

if TYPE_CHECKING:
    from rljob.nets.torch_nets import Network


class A2CConfig(AlgorithmConfig):
    """Settings of A2C (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(2e-3)
    """Step size of Adam."""
    rollout_length: Count = 16
    """Environment steps in one segment."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""
    gamma: Share = 0.99
    """Discount per environment step."""
    gae_lambda: Share = 1.0
    """Weight of long advantage estimates: 0 one step, 1 to the end of the episode or segment."""
    normalise_advantages: bool = False
    """Subtract the mean of the batch's advantages and divide by their standard deviation."""
    entropy_coefficient: Schedule[Coefficient] = Schedule(0.0)
    """Weight of the policy's entropy (nats) as a bonus."""
    value_coefficient: Schedule[Coefficient] = Schedule(0.5)
    """Weight of the value's squared error."""
    max_gradient_norm: Positive | None = 0.5
    """Gradients are scaled down to this L2 norm."""


class A2C:
    """See the module; settings in `A2CConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = A2CConfig

    fields = (Field("log_prob", "float32"),)

    def __init__(self, config: A2CConfig, spaces: Spaces) -> None:
        self._config, self._distribution = config, distribution_for(spaces.action)
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)
        heads = self._distribution.heads
        heads_and_value = {**heads, "value": Head(1, trunk="value")}
        policy = Net(heads_and_value, acts=tuple(heads), memory=True, own_rate=True)
        self.networks: Mapping[str, Net] = {"policy": policy}

    def actor(self, policy: Policy, place: Place) -> DistributionActor:
        return DistributionActor(self._distribution, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> A2CLearner:
        return A2CLearner(self._config, self._distribution, networks["policy"])


class A2CLearner(Learner):
    """The learning half of A2C; draws no random numbers."""

    def __init__(self, config: A2CConfig, distribution: Distribution, network: Network) -> None:
        from rljob.nets.torch_optimizer import FlatAdam

        self._config, self._distribution, self._network = config, distribution, network
        self._rate = network.rate(config.learning_rate)
        self._optimizer = FlatAdam(
            network,
            learning_rate=self._rate.start,
            max_gradient_norm=config.max_gradient_norm,
        )

    def update(self, batch: Arrays, progress: Progress) -> Update:
        import torch

        config, valid = self._config, batch["valid"]
        if not valid.any():
            return Update({})
        log_prob, entropy, value, rows = evaluate(self._network, self._distribution, batch)
        log_ratio = log_prob.detach().cpu().numpy() - batch["log_prob"]

        baseline = value.detach().cpu().numpy()
        ends = (batch[name] for name in ("terminated", "truncated", "valid"))
        advantage = gae(
            batch["reward"], baseline, *ends, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        target = advantage + baseline[:-1]
        used = advantage[valid]
        if config.normalise_advantages:
            used = (used - used.mean()) / (used.std() + np.float32(1e-8))
        weight, goal = (torch.from_numpy(each).to(value.device) for each in (used, target[valid]))
        policy_loss = -(log_prob[rows] * weight).mean()
        value_loss = (value[:-1][rows] - goal).square().mean()
        mean_entropy = entropy[rows].mean()
        loss = policy_loss + config.value_coefficient.at(progress) * value_loss
        loss = loss - config.entropy_coefficient.at(progress) * mean_entropy
        rate = self._rate.at(progress)
        norm = self._optimizer.step(loss, rate)
        return Update(
            {
                "policy_loss": policy_loss.item(),
                "value_loss": value_loss.item(),
                "entropy": mean_entropy.item(),
                "gradient_norm": norm,
                "learning_rate": rate,
                "mean_value": float(baseline[:-1][valid].mean()),
                "mean_log_ratio": float(log_ratio[valid].mean()),
            }
        )
