"""IMPALA: actor-critic with V-trace (Espeholt et al. 2018, https://arxiv.org/abs/1802.01561).

Rollouts act and store the log-probability of each action. The learner takes each batch of segments once:
V-trace corrects for the policy versions by which they are behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

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
from rljob.algorithms.v_trace import v_trace
from rljob.envs.spaces import Spaces

if TYPE_CHECKING:
    from rljob.nets.torch_nets import Network


class IMPALAConfig(AlgorithmConfig):
    """Settings of IMPALA (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(2e-3)
    """Step size of Adam."""
    rollout_length: Count = 32
    """Environment steps in one segment."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""
    gamma: Share = 0.99
    """Discount per environment step."""
    reward_scale: Positive = 1.0
    """Factor of the rewards that are trained on; reported returns are those of the environment."""
    clip_rho: Positive = 1.0
    """Largest weight of a temporal difference in V-trace."""
    clip_c: Positive = 1.0
    """Largest weight with which later temporal differences count in V-trace."""
    entropy_coefficient: Schedule[Coefficient] = Schedule(0.01)
    """Weight of the policy's entropy (nats) as a bonus."""
    value_coefficient: Schedule[Coefficient] = Schedule(0.5)
    """Weight of the value's squared error."""
    max_gradient_norm: Positive | None = 0.5
    """Gradients are scaled down to this L2 norm."""


class IMPALA:
    """See the module; settings in `IMPALAConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = IMPALAConfig

    fields = (Field("log_prob", "float32"),)

    def __init__(self, config: IMPALAConfig, spaces: Spaces) -> None:
        self._config, self._distribution = config, distribution_for(spaces.action)
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)
        heads = self._distribution.heads
        heads_and_value = {**heads, "value": Head(1, trunk="value")}
        policy = Net(heads_and_value, acts=tuple(heads), memory=True, own_rate=True)
        self.networks: Mapping[str, Net] = {"policy": policy}

    def actor(self, policy: Policy, place: Place) -> DistributionActor:
        return DistributionActor(self._distribution, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> IMPALALearner:
        return IMPALALearner(self._config, self._distribution, networks["policy"])


class IMPALALearner(Learner):
    """The learning half of IMPALA; draws no random numbers."""

    def __init__(self, config: IMPALAConfig, distribution: Distribution, network: Network) -> None:
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
        found = v_trace(
            log_ratio,
            config.reward_scale * batch["reward"],
            value.detach().cpu().numpy(),
            *(batch[name] for name in ("terminated", "truncated", "valid")),
            gamma=config.gamma,
            clip_rho=config.clip_rho,
            clip_c=config.clip_c,
        )
        target, advantage = (torch.from_numpy(each).to(value.device) for each in found)
        policy_loss = -(log_prob * advantage)[rows].mean()
        value_loss = (value[:-1] - target)[rows].square().mean()
        mean_entropy = entropy[rows].mean()
        loss = policy_loss + config.value_coefficient.at(progress) * value_loss
        loss = loss - config.entropy_coefficient.at(progress) * mean_entropy
        rate = self._rate.at(progress)
        norm = self._optimizer.step(loss, rate)
        return Update(
            {
                "policy_loss": float(policy_loss.detach()),
                "value_loss": float(value_loss.detach()),
                "entropy": float(mean_entropy.detach()),
                "gradient_norm": norm,
                "learning_rate": rate,
                "mean_value": float(value.detach()[:-1][rows].mean()),
                "mean_log_ratio": float(log_ratio[valid].mean()),
            }
        )
