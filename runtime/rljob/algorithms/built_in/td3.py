"""Twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, https://arxiv.org/abs/1802.09477).

DDPG with three changes against values that are too high: the smaller estimate of two critics, target actions that
are smoothed by clipped noise, and updates of the policy and of the targets that are fewer than those of the
critics. Rollouts act at random until the first update, and add noise to the policy's actions afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rljob.algorithms.base import (
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
from rljob.algorithms.noise import NoiseKind, NoiseSize, make_noise
from rljob.algorithms.squashed import SquashedActor
from rljob.envs.spaces import BoxSpace, Spaces
from rljob.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from rljob.nets.torch_nets import RatedModule


class TD3Config(AlgorithmConfig):
    """Settings of TD3 (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(1e-3)
    """Step size of Adam, for policy and critics; `networks` sets others for each."""
    gamma: Share = 0.99
    """Discount per environment step."""
    tau: Rate = 0.005
    """Share of the networks that is mixed into their targets after each update of the policy."""
    policy_delay: Count = 2
    """Updates of the critics for each update of the policy and of the targets."""
    target_noise: NoiseSize = 0.2
    """Standard deviation of the noise on target actions, which lie in [-1, 1]."""
    target_noise_clip: NoiseSize = 0.5
    """Largest amount of that noise."""
    noise: NoiseKind = "gaussian"
    """Noise on a rollout's actions: `ornsteinUhlenbeck` is like that of the step before, `gaussian` is not."""
    noise_size: Schedule[NoiseSize] = Schedule(0.1)
    """Standard deviation of what is drawn for the noise in each step; actions lie in [-1, 1]."""
    noise_reversion: Share = 0.15
    """Share of its distance from 0 that the noise loses in each step; for `ornsteinUhlenbeck`."""
    rollout_length: Count = 16
    """Environment steps in one segment."""
    batch_size: Count = 128
    """Transitions in one update."""
    min_size: Count = 1000
    """Transitions stored before the first update; until then actions are uniformly random."""
    samples_per_insert: Positive = 128.0
    """Transitions trained on for each stored transition."""
    updates_per_publish: Count = 8
    """Updates between two policy versions."""
    max_gradient_norm: Positive | None = None
    """Gradients are scaled down to this L2 norm."""


class TD3:
    """See the module; settings in `TD3Config`."""

    Config: ClassVar[type[AlgorithmConfig]] = TD3Config

    fields: tuple[Field, ...] = ()

    def __init__(self, config: TD3Config, spaces: Spaces) -> None:
        if not isinstance(spaces.action, BoxSpace) or not spaces.action.bounded:
            raise InputError(
                f"TD3 needs Box actions with finite bounds and cannot use {spaces.action}; "
                "environment.convert.action makes choices continuous, and PPO can use both",
                path="environment",
            )
        self.config, self.shape = config, spaces.action.shape
        self.size = math.prod(self.shape)
        self.data = Replay(
            segment_length=config.rollout_length,
            batch_size=config.batch_size,
            min_size=config.min_size,
            samples_per_insert=config.samples_per_insert,
            updates_per_publish=config.updates_per_publish,
        )
        self.networks = {
            "policy": Net({"action": Head(self.size, gain=0.01)}, acts=("action",), own_rate=True),
            "critic": Net(
                {"q": Head(1)},
                inputs=(spaces.observation, spaces.action),
                copies=2,
                own_rate=True,
            ),
        }

    def actor(self, policy: Policy, place: Place) -> TD3Actor:
        return TD3Actor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> TD3Learner:
        return TD3Learner(self, networks["policy"], networks["critic"], seed)


class TD3Actor(SquashedActor):
    """The acting half of TD3."""

    kind: ClassVar[str] = "squashed"
    algorithm: TD3

    def __init__(self, algorithm: TD3, policy: Policy, place: Place) -> None:
        super().__init__(algorithm, policy, place)
        config, shape = algorithm.config, (place.count, algorithm.size)
        self._noise = make_noise(config.noise, place.rng, shape, config.noise_reversion)

    def explore(self, action: np.ndarray, seen: Seen) -> np.ndarray:
        if self.policy.arrays["random"]:
            return self.rng.uniform(-1, 1, action.shape).astype(np.float32)
        size = np.float32(self.policy.arrays["noise_size"])
        noisy: np.ndarray = np.clip(action + size * self._noise.draw(seen.begins), -1, 1)
        return noisy


class TD3Learner(Learner):
    """The learning half of TD3."""

    def __init__(self, algorithm: TD3, policy: RatedModule, critic: RatedModule, seed: int) -> None:
        import torch

        from rljob.nets.torch_optimizer import FlatAdam
        from rljob.nets.torch_target import Target

        config = self._config = algorithm.config
        self._algorithm, self._policy, self._critic = algorithm, policy, critic
        self._target_policy, self._target_critic = Target(policy), Target(critic)
        self._device = next(policy.parameters()).device
        networks = {"policy": policy, "critic": critic}
        self._rates = {name: each.rate(config.learning_rate) for name, each in networks.items()}
        self._optimizers = {
            name: FlatAdam(
                each,
                learning_rate=self._rates[name].start,
                max_gradient_norm=config.max_gradient_norm,
            )
            for name, each in networks.items()
        }
        self._generator = torch.Generator(self._device).manual_seed(seed)
        # Of the policy's last update; reported again with those of the critics that follow it.
        self._policy_metrics: dict[str, float] = {}

    def update(self, batch: Arrays, progress: Progress) -> Update:
        from rljob.nets.torch_batch import tensors

        data = tensors(batch, self._device)
        rates = {name: schedule.at(progress) for name, schedule in self._rates.items()}
        target = self._target(data)
        q = self._critic(data["observation"], data["action"])["q"].squeeze(-1)
        critic_loss = (q - target).square().mean(-1).sum()
        critic_norm = self._optimizers["critic"].step(critic_loss, rates["critic"])
        metrics = {
            "critic_loss": critic_loss.item(),
            "mean_q": q.mean().item(),
            "learning_rate": self._config.learning_rate.at(progress),
            "policy_learning_rate": rates["policy"],
            "critic_learning_rate": rates["critic"],
            "critic_gradient_norm": critic_norm,
        }
        if (progress.updates + 1) % self._config.policy_delay == 0:
            observation = data["observation"]
            action = self._action(self._policy(observation))
            policy_loss = -self._critic(observation, action)["q"][0].mean()
            norm = self._optimizers["policy"].step(policy_loss, rates["policy"])
            self._target_policy.follow(self._config.tau)
            self._target_critic.follow(self._config.tau)
            self._policy_metrics = {
                "policy_loss": policy_loss.item(),
                "policy_gradient_norm": norm,
            }
        return Update({**metrics, **self._policy_metrics})

    def _target(self, data: Mapping[str, Tensor]) -> Tensor:
        """What both critics learn, `[B]`; without gradients."""
        import torch

        config, following = self._config, data["next_observation"]
        with torch.no_grad():
            action = self._action(self._target_policy(following))
            noise = torch.randn(action.shape, generator=self._generator, device=self._device)
            limit = config.target_noise_clip
            smoothed = action + (config.target_noise * noise).clamp(-limit, limit)
            ahead = self._target_critic(following, smoothed.clamp(-1, 1))["q"].amin(0).squeeze(-1)
            goes_on = config.gamma * ~data["terminated"]
            target: Tensor = data["reward"] + goes_on * ahead
            return target

    def _action(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Actions `[B, *shape]` of a policy's outputs."""
        action = outputs["action"].tanh()
        return action.reshape(len(action), *self._algorithm.shape)

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {
            "random": progress.updates == 0,
            "noise_size": self._config.noise_size.at(progress),
        }
