"""REINFORCE (Williams 1992, https://doi.org/10.1007/BF00992696): the policy gradient of whole returns, less a baseline.

There is no value network; the baseline is the mean return of the batch. Only steps whose episode ends within their
segment are trained on, as the return of the others is not known: a segment has to be longer than an episode.
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
from rljob.algorithms.whole_returns import whole_returns
from rljob.envs.spaces import Spaces

if TYPE_CHECKING:
    from rljob.nets.torch_nets import Network


class REINFORCEConfig(AlgorithmConfig):
    """Settings of REINFORCE (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(4e-3)
    """Step size of Adam."""
    rollout_length: Count = 512
    """Environment steps in one segment: more than an episode has."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""
    gamma: Share = 0.99
    """Discount per environment step."""
    normalise_returns: bool = True
    """Subtract the mean of the batch's returns and divide by their standard deviation."""
    entropy_coefficient: Schedule[Coefficient] = Schedule(0.01)
    """Weight of the policy's entropy (nats) as a bonus."""
    max_gradient_norm: Positive | None = 0.5
    """Gradients are scaled down to this L2 norm."""


class REINFORCE:
    """See the module; settings in `REINFORCEConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = REINFORCEConfig

    fields = (Field("log_prob", "float32"),)

    def __init__(self, config: REINFORCEConfig, spaces: Spaces) -> None:
        self._config, self._distribution = config, distribution_for(spaces.action)
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)
        heads = self._distribution.heads
        policy = Net(heads, acts=tuple(heads), memory=True, own_rate=True)
        self.networks: Mapping[str, Net] = {"policy": policy}

    def actor(self, policy: Policy, place: Place) -> DistributionActor:
        return DistributionActor(self._distribution, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> REINFORCELearner:
        return REINFORCELearner(self._config, self._distribution, networks["policy"])


class REINFORCELearner(Learner):
    """The learning half of REINFORCE; draws no random numbers."""

    def __init__(
        self, config: REINFORCEConfig, distribution: Distribution, network: Network
    ) -> None:
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

        from rljob.nets.torch_batch import begins, tensors

        config = self._config
        ret, known = whole_returns(batch, config.gamma)
        metrics = {"known": float(known.sum() / max(1, batch["valid"].sum()))}
        if not known.any():
            return Update(metrics)
        weight = ret[known]
        if config.normalise_returns:
            weight = (weight - weight.mean()) / (weight.std() + np.float32(1e-8))
        data = tensors({**batch, "known": known}, self._network.device)
        rows, starts = data["known"], begins(data["valid"])
        outputs, _ = self._network.unroll(data["observation"], starts, data.get("core"))
        used = {name: output[:-1][rows] for name, output in outputs.items()}
        mask = data["mask"][:-1][rows] if "mask" in data else None
        log_prob, entropy = self._distribution.evaluate(used, data["action"][rows], mask)
        policy_loss = -(log_prob * torch.from_numpy(weight).to(log_prob.device)).mean()
        mean_entropy = entropy.mean()
        loss = policy_loss - config.entropy_coefficient.at(progress) * mean_entropy
        rate = self._rate.at(progress)
        norm = self._optimizer.step(loss, rate)
        metrics |= {
            "policy_loss": policy_loss.item(),
            "entropy": mean_entropy.item(),
            "gradient_norm": norm,
            "learning_rate": rate,
            "mean_return": float(ret[known].mean()),
            "mean_log_ratio": (log_prob.detach() - data["log_prob"][rows]).mean().item(),
        }
        return Update(metrics)
