"""Soft actor-critic (Haarnoja et al. 2018, https://arxiv.org/abs/1812.05905).

The policy is a Gaussian squashed by tanh, or a choice (`soft_actions.py`). Two critics are trained on the
entropy-regularised return, and the smaller estimate of two target critics is used (Fujimoto et al. 2018). The
temperature, the weight of the entropy, follows a target entropy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field as Bounds

from rljob.algorithms.base import (
    AlgorithmConfig,
    Arrays,
    Count,
    Field,
    Learner,
    Place,
    Policy,
    Positive,
    Progress,
    Rate,
    Replay,
    Schedule,
    Share,
    Update,
)
from rljob.algorithms.soft_actions import SoftActor, soft_actions
from rljob.envs.spaces import Spaces

if TYPE_CHECKING:
    from rljob.nets.torch_nets import RatedModule


class SACConfig(AlgorithmConfig):
    """Settings of SAC (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(1e-3)
    """Step size of Adam, for policy, critics and temperature; `networks` sets others for policy and critic."""
    gamma: Share = 0.99
    """Discount per environment step."""
    tau: Rate = 0.005
    """Share of the critics that is mixed into the target critics after each update."""
    target_entropy: Annotated[float, Bounds(ge=-1000, le=1000)] | None = None
    """Entropy (nats) that the temperature aims at; by default minus the number of action dimensions, and half
    of the largest possible for choices."""
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
        self.config, self.actions = config, soft_actions(spaces)
        self.networks = self.actions.networks
        self.data = Replay(
            segment_length=config.rollout_length,
            batch_size=config.batch_size,
            min_size=config.min_size,
            samples_per_insert=config.samples_per_insert,
            updates_per_publish=config.updates_per_publish,
        )

    def actor(self, policy: Policy, place: Place) -> SoftActor:
        return SoftActor(self.actions, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> SACLearner:
        return SACLearner(self, networks["policy"], networks["critic"], seed)


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
        temperature, actions = self._log_temperature.detach().exp(), self._algorithm.actions
        mask, next_mask = data.get("mask"), data.get("next_mask")
        with torch.no_grad():
            policy = self._policy(following)
            ahead = actions.expected(policy, self._target, following, next_mask, self._generator)
            goes_on = self._config.gamma * ~data["terminated"]
            target = data["reward"] + goes_on * (ahead.value + temperature * ahead.entropy)
        q = actions.taken(self._critic, observation, data["action"])
        critic_loss = (q - target).square().mean(-1).sum()
        critic_norm = self._optimizers["critic"].step(critic_loss, rates["critic"])

        policy = self._policy(observation)
        now = actions.expected(policy, self._critic, observation, mask, self._generator)
        policy_loss = -(now.value + temperature * now.entropy).mean()
        policy_norm = self._optimizers["policy"].step(policy_loss, rates["policy"])

        goal, entropy = self._config.target_entropy, now.entropy.detach()
        missing = (actions.target_entropy(mask) if goal is None else goal) - entropy
        self._optimizers["temperature"].step(-self._log_temperature * missing.mean(), rate)
        self._target.follow(self._config.tau)
        return Update(
            {
                "policy_loss": policy_loss.item(),
                "critic_loss": critic_loss.item(),
                "mean_q": q.mean().item(),
                "entropy": entropy.mean().item(),
                "temperature": temperature.item(),
                "learning_rate": rate,
                "policy_learning_rate": rates["policy"],
                "critic_learning_rate": rates["critic"],
                "policy_gradient_norm": policy_norm,
                "critic_gradient_norm": critic_norm,
            }
        )
