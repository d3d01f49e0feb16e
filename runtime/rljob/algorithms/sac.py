"""Soft actor-critic (Haarnoja et al. 2018, https://arxiv.org/abs/1812.05905).

The policy is a Gaussian squashed by tanh. Two critics are trained on the entropy-regularised return, and the
smaller estimate of two target critics is used (Fujimoto et al. 2018). The temperature, the weight of the
entropy, follows a target entropy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field as Bounds

from rljob.algorithms.base import (
    Acted,
    ActionScores,
    Actor,
    AlgorithmConfig,
    Arrays,
    Count,
    Field,
    Head,
    Learner,
    Net,
    Place,
    Policy,
    Positive,
    Progress,
    Rate,
    Replay,
    Schedule,
    Seen,
    Share,
    Update,
)
from rljob.envs.spaces import BoxSpace, Spaces
from rljob.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from rljob.nets.torch_nets import RatedModule

LOG_STD = (-20.0, 2.0)
"""Bounds of the policy's log standard deviation."""


class SACConfig(AlgorithmConfig):
    """Settings of SAC (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(1e-3)
    """Step size of Adam, for policy, critics and temperature; `networks` sets others for policy and critic."""
    gamma: Share = 0.99
    """Discount per environment step."""
    tau: Rate = 0.005
    """Share of the critics that is mixed into the target critics after each update."""
    target_entropy: Annotated[float, Bounds(ge=-1000, le=1000)] | None = None
    """Entropy (nats) that the temperature aims at; by default minus the number of action dimensions."""
    initial_temperature: Positive = 1.0
    """Weight of the entropy at the start."""
    rollout_length: Count = 16
    """Environment steps in one segment."""
    batch_size: Count = 128
    """Transitions in one update."""
    min_size: Count = 500
    """Transitions stored before the first update."""
    samples_per_insert: Positive = 128.0
    """Transitions trained on for each stored transition."""
    updates_per_publish: Count = 8
    """Updates between two policy versions."""
    max_gradient_norm: Positive | None = None
    """Gradients are scaled down to this L2 norm."""


class SAC:
    """See the module; settings in `SACConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = SACConfig

    fields: tuple[Field, ...] = ()

    def __init__(self, config: SACConfig, spaces: Spaces) -> None:
        if not isinstance(spaces.action, BoxSpace) or not spaces.action.bounded:
            raise InputError(
                f"SAC needs Box actions with finite bounds and cannot use {spaces.action}; "
                "environment.convert.action makes choices continuous, and PPO can use both",
                path="environment",
            )
        self.config, self.shape = config, spaces.action.shape
        size = math.prod(self.shape)
        self.target_entropy = -size if config.target_entropy is None else config.target_entropy
        self.data = Replay(
            segment_length=config.rollout_length,
            batch_size=config.batch_size,
            min_size=config.min_size,
            samples_per_insert=config.samples_per_insert,
            updates_per_publish=config.updates_per_publish,
        )
        policy = {name: Head(size, gain=0.01, trunk="policy") for name in ("mean", "log_std")}
        critic = {"q": Head(1)}
        self.networks = {
            "policy": Net(policy, acts=tuple(policy), own_rate=True),
            "critic": Net(
                critic, inputs=(spaces.observation, spaces.action), copies=2, own_rate=True
            ),
        }

    def actor(self, policy: Policy, place: Place) -> SACActor:
        return SACActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> SACLearner:
        return SACLearner(self, networks["policy"], networks["critic"], seed)


class SACActor(Actor):
    """The acting half of SAC."""

    algorithm: SAC

    def act(self, seen: Seen) -> Acted:
        outputs = self.policy(seen)
        action = outputs["mean"]
        if not self.place.greedy:
            noise = self.rng.standard_normal(action.shape, np.float32)
            action = action + np.exp(np.clip(outputs["log_std"], *LOG_STD)) * noise
        action = np.tanh(action)
        shaped = action.reshape(len(action), *self.algorithm.shape)
        return Acted(shaped, scores=ActionScores("action", action, (-1.0, 1.0)))


class SACLearner(Learner):
    """The learning half of SAC."""

    def __init__(self, algorithm: SAC, policy: RatedModule, critic: RatedModule, seed: int) -> None:
        import torch

        from rljob.nets.torch_optimizer import FlatAdam
        from rljob.nets.torch_target import Target

        config = self._config = algorithm.config
        self._algorithm, self._policy, self._critic = algorithm, policy, critic
        self._target = Target(critic)
        self._device = next(policy.parameters()).device
        start = torch.tensor(math.log(config.initial_temperature), device=self._device)
        self._log_temperature = torch.nn.Parameter(start)
        rate, limit = config.learning_rate, config.max_gradient_norm
        networks = {"policy": policy, "critic": critic}
        self._rates = {name: each.rate(rate) for name, each in networks.items()}
        self._optimizers = {
            name: FlatAdam(each, learning_rate=self._rates[name].start, max_gradient_norm=limit)
            for name, each in networks.items()
        }
        self._optimizers["temperature"] = FlatAdam(
            self._log_temperature, learning_rate=rate.start, max_gradient_norm=None
        )
        self._generator = torch.Generator(self._device).manual_seed(seed)

    def update(self, batch: Arrays, progress: Progress) -> Update:
        import torch

        from rljob.nets.torch_batch import tensors

        data, rate = tensors(batch, self._device), self._config.learning_rate.at(progress)
        rates = {name: schedule.at(progress) for name, schedule in self._rates.items()}
        observation, following = data["observation"], data["next_observation"]
        temperature = self._log_temperature.detach().exp()
        with torch.no_grad():
            action, log_prob = self._sample(following)
            ahead = self._target(following, action)["q"].amin(0).squeeze(-1)
            goes_on = self._config.gamma * ~data["terminated"]
            target = data["reward"] + goes_on * (ahead - temperature * log_prob)
        q = self._critic(observation, data["action"])["q"].squeeze(-1)
        critic_loss = (q - target).square().mean(-1).sum()
        critic_norm = self._optimizers["critic"].step(critic_loss, rates["critic"])

        action, log_prob = self._sample(observation)
        value = self._critic(observation, action)["q"].amin(0).squeeze(-1)
        policy_loss = (temperature * log_prob - value).mean()
        policy_norm = self._optimizers["policy"].step(policy_loss, rates["policy"])

        excess = log_prob.detach().mean() + self._algorithm.target_entropy
        self._optimizers["temperature"].step(-self._log_temperature * excess, rate)
        self._target.follow(self._config.tau)
        return Update(
            {
                "policy_loss": policy_loss.item(),
                "critic_loss": critic_loss.item(),
                "mean_q": q.mean().item(),
                "entropy": -log_prob.mean().item(),
                "temperature": temperature.item(),
                "learning_rate": rate,
                "policy_learning_rate": rates["policy"],
                "critic_learning_rate": rates["critic"],
                "policy_gradient_norm": policy_norm,
                "critic_gradient_norm": critic_norm,
            }
        )

    def _sample(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Actions `[B, *shape]` and their log-probabilities `[B]`; gradients flow through both."""
        import torch

        outputs = self._policy(observation)
        mean, log_std = outputs["mean"], outputs["log_std"].clamp(*LOG_STD)
        noise = torch.randn(mean.shape, generator=self._generator, device=mean.device)
        before = mean + log_std.exp() * noise
        # log(1 - tanh(x)^2), without its cancellation for large x.
        squash = 2 * (math.log(2) - before - torch.nn.functional.softplus(-2 * before))
        each = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - squash
        shape = (len(before), *self._algorithm.shape)
        return before.tanh().reshape(shape), each.sum(-1)
