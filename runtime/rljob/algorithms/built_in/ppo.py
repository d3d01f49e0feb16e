"""Proximal policy optimisation (Schulman et al. 2017, https://arxiv.org/abs/1707.06347).

Rollouts act and store the log-probability of each action. The learner takes whole segments once, in
order: it values every observation with its present weights, estimates advantages (`gae.py`) and
improves the clipped objective, or one with a penalty for moving away, over a few epochs of minibatches.
Both compare with the policy that acted, so a segment from an older policy version is corrected within
the clip range. With a network that has a memory, a minibatch is whole environments of segments, each followed from the
memory that was stored at the segment's start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import model_validator

from rljob.algorithms.advantages import estimate
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
from rljob.algorithms.minibatches import Forward, Minibatches, read_by
from rljob.algorithms.moments import MovingMoments, RunningMoments
from rljob.algorithms.ppo_loss import PPOLoss, adapted, kl_estimate, ppo_loss
from rljob.envs.spaces import Spaces, encode, encoded_shape
from rljob.spec.invalid import refuse

if TYPE_CHECKING:
    from rljob.nets.torch_nets import Network


class PPOConfig(AlgorithmConfig):
    """Settings of PPO (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(3e-4)
    """Step size of Adam."""
    rollout_length: Count = 128
    """Environment steps in one segment."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""
    epochs: Count = 4
    """Passes over each batch."""
    minibatches: Count = 4
    """Parts into which each pass divides the batch; one gradient step each. With memory, at most one for each environment
    of each segment."""
    gamma: Share = 0.99
    """Discount per environment step."""
    gae_lambda: Share = 0.95
    """Weight of long advantage estimates: 0 one step, 1 to the end of the episode or segment."""
    clip: Schedule[Positive] | None = Schedule(0.2)
    """Clips the probability ratio to 1 ± clip; null, with `klPenalty`, does not."""
    kl_penalty: Positive | None = None
    """Adds a penalty for the KL divergence from the policy that acted; its weight adapts so that the divergence is
    this (nats)."""
    value_clip: Schedule[Positive] | None = None
    """Largest change of the value in one update, in units of `normaliseRewards`."""
    value_huber: Positive | None = None
    """Errors of the value beyond this count linearly, in units of `normaliseRewards`; by default all are squared."""
    entropy_coefficient: Schedule[Coefficient] = Schedule(0.0)
    """Weight of the policy's entropy (nats) as a bonus."""
    value_coefficient: Schedule[Coefficient] = Schedule(0.5)
    """Weight of the value's error."""
    max_gradient_norm: Positive | None = 0.5
    """Gradients are scaled down to this L2 norm."""
    normalise_advantages: bool = True
    """Subtract the mean of the batch's advantages and divide by their standard deviation."""
    target_kl: Positive | None = None
    """Stop the epochs once the KL divergence exceeds 1.5 times this (nats)."""
    normalise_observations: bool = False
    """Subtract the running mean, divide by the running standard deviation, keep within ±10."""
    normalise_rewards: bool = False
    """Divide rewards and values by the running standard deviation of the returns."""

    @model_validator(mode="after")
    def _stays_near(self) -> PPOConfig:
        if self.clip is None and self.kl_penalty is None:
            reason = "null needs klPenalty: else nothing keeps the policy near the one that acted"
            raise refuse({"clip": reason})
        return self


class PPO:
    """See the module; settings in `PPOConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = PPOConfig

    fields = (Field("log_prob", "float32"),)

    def __init__(self, config: PPOConfig, spaces: Spaces) -> None:
        self._config, self._spaces = config, spaces
        self._distribution = distribution_for(spaces.action)
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)
        heads = self._distribution.heads
        heads_and_value = {**heads, "value": Head(1, trunk="value")}
        policy = Net(heads_and_value, acts=tuple(heads), memory=True, own_rate=True)
        self.networks: Mapping[str, Net] = {"policy": policy}

    def actor(self, policy: Policy, place: Place) -> DistributionActor:
        return DistributionActor(self._distribution, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> PPOLearner:
        network = networks["policy"]
        return PPOLearner(self._config, self._spaces, self._distribution, network, seed)


class PPOLearner(Learner):
    """The learning half of PPO."""

    def __init__(
        self, config: PPOConfig, spaces: Spaces, distribution: Distribution, network: Any, seed: int
    ) -> None:
        from rljob.nets.torch_optimizer import FlatAdam

        self._config, self._space, self._distribution = config, spaces.observation, distribution
        self._network: Network = network
        self._rate = self._network.rate(config.learning_rate)
        self._optimizer = FlatAdam(
            network,
            learning_rate=self._rate.start,
            max_gradient_norm=config.max_gradient_norm,
        )
        self._read = read_by(network, self._space)
        self._rng = np.random.default_rng(seed)
        # Only with the penalty, so that a checkpoint has what its settings need.
        self._kl_weight = None if config.kl_penalty is None else np.array(1.0)
        self._observations = RunningMoments(encoded_shape(self._space))
        # Returns drift as the policy improves: about the last hundred batches count.
        self._returns = MovingMoments(decay=0.99)

    def update(self, batch: Arrays, progress: Progress) -> Update:
        if not batch["valid"].any():
            return Update({})
        config = self._config
        minibatches, data, metrics = self._prepare(batch)
        metrics["learning_rate"] = self._rate.at(progress)
        for epoch in range(config.epochs):
            divergences = []
            for forward, part in minibatches.shuffled(data, self._rng, config.minibatches):
                loss, norm = self._descend(forward, part, progress)
                divergences.append(loss.divergence)
            metrics |= _diagnose(loss, norm, config, progress)
            metrics["epochs"] = epoch + 1
            if config.target_kl is not None and metrics["approx_kl"] > 1.5 * config.target_kl:
                break
        if config.kl_penalty is not None and self._kl_weight is not None:
            metrics["kl_weight"] = float(self._kl_weight)
            found = float(
                np.mean([float(each.detach()) for each in divergences if each is not None])
            )
            self._kl_weight[...] = adapted(metrics["kl_weight"], found, config.kl_penalty)
        return Update(metrics)

    def _descend(self, forward: Forward, data: Arrays, progress: Progress) -> tuple[PPOLoss, float]:
        """One gradient step on `[B, ...]`; the loss before it, and the norm of its gradient."""
        import torch

        arrays, backward = forward()
        outputs = {name: torch.from_numpy(array).requires_grad_() for name, array in arrays.items()}
        tensors = {name: torch.from_numpy(array) for name, array in data.items()}
        action, mask = tensors.pop("action"), tensors.pop("mask", None)
        log_prob, entropy = self._distribution.evaluate(outputs, action, mask)
        value = outputs["value"].squeeze(-1)
        loss = ppo_loss(
            log_prob,
            entropy,
            value,
            config=self._config,
            progress=progress,
            kl_weight=0.0 if self._kl_weight is None else float(self._kl_weight),
            **tensors,
        )
        by_output = torch.autograd.grad(loss.total, list(outputs.values()))
        backward({name: by.numpy() for name, by in zip(outputs, by_output, strict=True)})
        return loss, self._optimizer.descend(self._rate.at(progress))

    def _prepare(self, batch: Arrays) -> tuple[Minibatches, Arrays, dict[str, float]]:
        """The batch as the network reads it, and flat arrays `[T * N, ...]`; `mask` has `N` rows more."""
        config = self._config
        flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.items()}
        if config.normalise_observations:
            rows = np.flatnonzero(batch["valid"])
            self._observations.update(encode(self._space, flat["observation"][rows]))
            std = np.sqrt(self._observations.variance + 1e-8)
            self._network.encoder.normalise(self._observations.mean, std, limit=10.0)
        minibatches = self._read(batch)
        found = estimate(
            batch,
            minibatches.values(),
            self._returns,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            normalise_advantages=config.normalise_advantages,
            normalise_rewards=config.normalise_rewards,
        )
        data = {
            "advantage": found.advantage,
            "target": found.target,
            "old_value": found.value,
            "old_log_prob": flat["log_prob"],
            "action": flat["action"],
        }
        if "mask" in flat:
            data["mask"] = flat["mask"]
        return minibatches, data, found.metrics


def _diagnose(
    loss: PPOLoss, norm: float, config: PPOConfig, progress: Progress
) -> dict[str, float]:
    """Metrics of one minibatch, measured before its gradient step."""
    log_ratio = loss.log_ratio.detach()
    ratio = log_ratio.exp()
    metrics = {
        "policy_loss": float(loss.policy.detach()),
        "value_loss": float(loss.value.detach()),
        "entropy": float(loss.entropy.detach()),
        "approx_kl": float(kl_estimate(ratio, log_ratio)),
        "gradient_norm": norm,
    }
    if config.clip is not None:
        clipped = (ratio - 1).abs() > config.clip.at(progress)
        metrics["clip_fraction"] = float(clipped.float().mean())
    return metrics
