"""Deep deterministic policy gradient (Lillicrap et al. 2016, https://arxiv.org/abs/1509.02971).

A critic learns the return of the policy by Q-learning, and the policy ascends the critic's gradient by the action.
Targets follow both slowly. Rollouts add noise to the policy's actions.
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


class DDPGConfig(AlgorithmConfig):
    """Settings of DDPG (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(1e-3)
    """Step size of Adam, for policy and critic; `networks` sets others for each."""
    gamma: Share = 0.99
    """Discount per environment step."""
    tau: Rate = 0.005
    """Share of the networks that is mixed into their targets after each update."""
    noise: NoiseKind = "ornsteinUhlenbeck"
    """Noise on a rollout's actions: `ornsteinUhlenbeck` is like that of the step before, `gaussian` is not."""
    noise_size: Schedule[NoiseSize] = Schedule(0.2)
    """Standard deviation of what is drawn for the noise in each step; actions lie in [-1, 1]."""
    noise_reversion: Share = 0.15
    """Share of its distance from 0 that the noise loses in each step; for `ornsteinUhlenbeck`."""
    rollout_length: Count = 16
    """Environment steps in one segment."""
    batch_size: Count = 128
    """Transitions in one update."""
    min_size: Count = 1000
    """Transitions stored before the first update."""
    samples_per_insert: Positive = 128.0
    """Transitions trained on for each stored transition."""
    updates_per_publish: Count = 8
    """Updates between two policy versions."""
    max_gradient_norm: Positive | None = None
    """Gradients are scaled down to this L2 norm."""


class DDPG:
    """See the module; settings in `DDPGConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = DDPGConfig

    fields: tuple[Field, ...] = ()

    def __init__(self, config: DDPGConfig, spaces: Spaces) -> None:
        if not isinstance(spaces.action, BoxSpace) or not spaces.action.bounded:
            raise InputError(
                f"DDPG needs Box actions with finite bounds and cannot use {spaces.action}; "
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
                {"q": Head(1)}, inputs=(spaces.observation, spaces.action), own_rate=True
            ),
        }

    def actor(self, policy: Policy, place: Place) -> DDPGActor:
        return DDPGActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> DDPGLearner:
        return DDPGLearner(self, networks["policy"], networks["critic"])


class DDPGActor(SquashedActor):
    """The acting half of DDPG."""

    kind: ClassVar[str] = "squashed"
    algorithm: DDPG

    def __init__(self, algorithm: DDPG, policy: Policy, place: Place) -> None:
        super().__init__(algorithm, policy, place)
        config, shape = algorithm.config, (place.count, algorithm.size)
        self._noise = make_noise(config.noise, place.rng, shape, config.noise_reversion)

    def explore(self, action: np.ndarray, seen: Seen) -> np.ndarray:
        size = np.float32(self.policy.arrays["noise_size"])
        noisy: np.ndarray = np.clip(action + size * self._noise.draw(seen.begins), -1, 1)
        return noisy


class DDPGLearner(Learner):
    """The learning half of DDPG; draws no random numbers."""

    def __init__(self, algorithm: DDPG, policy: RatedModule, critic: RatedModule) -> None:
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

    def update(self, batch: Arrays, progress: Progress) -> Update:
        from rljob.nets.torch_batch import tensors

        data = tensors(batch, self._device)
        rates = {name: schedule.at(progress) for name, schedule in self._rates.items()}
        observation, following = data["observation"], data["next_observation"]
        ahead = self._target_critic(following, self._action(self._target_policy(following)))["q"]
        goes_on = self._config.gamma * ~data["terminated"]
        target = data["reward"] + goes_on * ahead.squeeze(-1)
        q = self._critic(observation, data["action"])["q"].squeeze(-1)
        critic_loss = (q - target).square().mean()
        critic_norm = self._optimizers["critic"].step(critic_loss, rates["critic"])

        action = self._action(self._policy(observation))
        policy_loss = -self._critic(observation, action)["q"].mean()
        policy_norm = self._optimizers["policy"].step(policy_loss, rates["policy"])
        self._target_policy.follow(self._config.tau)
        self._target_critic.follow(self._config.tau)
        return Update(
            {
                "policy_loss": policy_loss.item(),
                "critic_loss": critic_loss.item(),
                "mean_q": q.mean().item(),
                "learning_rate": self._config.learning_rate.at(progress),
                "policy_learning_rate": rates["policy"],
                "critic_learning_rate": rates["critic"],
                "policy_gradient_norm": policy_norm,
                "critic_gradient_norm": critic_norm,
            }
        )

    def _action(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Actions `[B, *shape]` of a policy's outputs."""
        action = outputs["action"].tanh()
        return action.reshape(len(action), *self._algorithm.shape)

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"noise_size": self._config.noise_size.at(progress)}
