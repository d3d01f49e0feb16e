"""Asynchronous PPO: the clipped objective on IMPALA's data flow (Luo et al. 2020, https://arxiv.org/abs/1912.00167).

Rollouts act and store the log-probability of each action. The learner takes batches of segments as they come.
V-trace corrects them from the policy that acted to a target policy, which is a copy of the learned one, and values
them by it. A few gradient steps ascend PPO's clipped objective, whose ratio is that of the learned policy and the
target: it stays within the clip however far the rollouts are behind.
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
from rljob.algorithms.evaluated import Evaluated, evaluate
from rljob.algorithms.ppo_loss import clipped_gain
from rljob.algorithms.v_trace import v_trace
from rljob.envs.spaces import Spaces

if TYPE_CHECKING:
    from torch import Tensor

    from rljob.nets.torch_nets import Network


class APPOConfig(AlgorithmConfig):
    """Settings of APPO (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(2e-3)
    """Step size of Adam."""
    rollout_length: Count = 32
    """Environment steps in one segment."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""
    epochs: Count = 2
    """Passes over each batch; one gradient step each."""
    clip: Schedule[Positive] = Schedule(0.2)
    """Clips the ratio of the learned policy and the target to 1 ± clip."""
    target_update_interval: Count = 1
    """Batches between two copies of the learned network to the target; 1 makes a copy before each batch."""
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


class APPO:
    """See the module; settings in `APPOConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = APPOConfig

    fields = (Field("log_prob", "float32"),)

    def __init__(self, config: APPOConfig, spaces: Spaces) -> None:
        self._config, self._distribution = config, distribution_for(spaces.action)
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)
        heads = self._distribution.heads
        heads_and_value = {**heads, "value": Head(1, trunk="value")}
        policy = Net(heads_and_value, acts=tuple(heads), memory=True, own_rate=True)
        self.networks: Mapping[str, Net] = {"policy": policy}

    def actor(self, policy: Policy, place: Place) -> DistributionActor:
        return DistributionActor(self._distribution, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> APPOLearner:
        return APPOLearner(self._config, self._distribution, networks["policy"])


class APPOLearner(Learner):
    """The learning half of APPO; draws no random numbers."""

    def __init__(self, config: APPOConfig, distribution: Distribution, network: Network) -> None:
        from rljob.nets.torch_optimizer import FlatAdam
        from rljob.nets.torch_target import Target

        self._config, self._distribution, self._network = config, distribution, network
        self._target = Target(network)
        self._rate = network.rate(config.learning_rate)
        self._optimizer = FlatAdam(
            network,
            learning_rate=self._rate.start,
            max_gradient_norm=config.max_gradient_norm,
        )

    def update(self, batch: Arrays, progress: Progress) -> Update:
        import torch

        valid = batch["valid"]
        if not valid.any():
            return Update({})
        with torch.no_grad():
            before = evaluate(self._target.network, self._distribution, batch)
        log_ratio = before.log_prob.cpu().numpy() - batch["log_prob"]
        found = v_trace(
            log_ratio,
            self._config.reward_scale * batch["reward"],
            before.value.cpu().numpy(),
            *(batch[name] for name in ("terminated", "truncated", "valid")),
            gamma=self._config.gamma,
            clip_rho=self._config.clip_rho,
            clip_c=self._config.clip_c,
        )
        target, advantage = (torch.from_numpy(each).to(before.value.device) for each in found)
        for _ in range(self._config.epochs):
            metrics = self._descend(batch, before, target, advantage, progress)
        if (progress.updates + 1) % self._config.target_update_interval == 0:
            self._target.follow()
        return Update({**metrics, "mean_log_ratio": float(log_ratio[valid].mean())})

    def _descend(
        self,
        batch: Arrays,
        before: Evaluated,
        target: Tensor,
        advantage: Tensor,
        progress: Progress,
    ) -> dict[str, float]:
        """One gradient step; metrics of the network before it.

        Args:
            before: what the target network says.
            target: what the value should be, `[T, N]`.
            advantage: `[T, N]`, weighted for the policy that acted.
        """
        config, clip = self._config, self._config.clip.at(progress)
        log_prob, entropy, value, rows = evaluate(self._network, self._distribution, batch)
        # Beyond e^20 a ratio would overflow to gradients that are not numbers.
        ratio = (log_prob - before.log_prob)[rows].clamp(max=20.0).exp()
        policy_loss = -clipped_gain(ratio, advantage[rows], clip).mean()
        value_loss = (value[:-1] - target)[rows].square().mean()
        mean_entropy = entropy[rows].mean()
        loss = policy_loss + config.value_coefficient.at(progress) * value_loss
        loss = loss - config.entropy_coefficient.at(progress) * mean_entropy
        rate = self._rate.at(progress)
        norm = self._optimizer.step(loss, rate)
        return {
            "policy_loss": float(policy_loss.detach()),
            "value_loss": float(value_loss.detach()),
            "entropy": float(mean_entropy.detach()),
            "clip_fraction": float(((ratio.detach() - 1).abs() > clip).float().mean()),
            "gradient_norm": norm,
            "learning_rate": rate,
            "mean_value": float(value.detach()[:-1][rows].mean()),
        }
