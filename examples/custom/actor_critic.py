"""A custom algorithm in one file: advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from rljob.algorithms.base import (
    Acted,
    Actor,
    AlgorithmConfig,
    Arrays,
    Head,
    Learner,
    Net,
    OnPolicy,
    Place,
    Policy,
    Progress,
    Seen,
    Update,
)
from rljob.algorithms.distributions import distribution_for
from rljob.algorithms.gae import gae
from rljob.envs.spaces import Spaces
from rljob.nets.torch_optimizer import FlatAdam


class ActorCriticConfig(AlgorithmConfig):
    learning_rate: float = 3e-3
    gamma: float = 0.98
    entropy_coefficient: float = 0.01
    rollout_length: int = 16


class ActorCritic:
    """What `algorithm.entryPoint` names."""

    Config = ActorCriticConfig
    fields = ()

    def __init__(self, config: ActorCriticConfig, spaces: Spaces) -> None:
        self.config, self.distribution = config, distribution_for(spaces.action)
        self.data = OnPolicy(config.rollout_length)
        heads = self.distribution.heads
        self.networks = {"policy": Net({**heads, "value": Head(1)}, acts=tuple(heads))}

    def actor(self, policy: Policy, place: Place) -> Actor:
        return ActorCriticActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> Learner:
        return ActorCriticLearner(self, networks["policy"])


class ActorCriticActor(Actor):
    """The acting half: numpy, in every rollout and evaluator."""

    def act(self, seen: Seen) -> Acted:
        outputs, distribution = self.policy(seen), self.algorithm.distribution
        if self.place.greedy:
            return Acted(distribution.mode(outputs, seen.mask))
        return Acted(distribution.sample(outputs, self.rng, seen.mask)[0])


class ActorCriticLearner(Learner):
    """The learning half: torch, in the learner."""

    def __init__(self, algorithm: ActorCritic, network: Any) -> None:
        self.config, self.distribution = algorithm.config, algorithm.distribution
        self.network = network
        rate = algorithm.config.learning_rate
        self.optimizer = FlatAdam(network, learning_rate=rate, max_gradient_norm=0.5)

    def update(self, batch: Arrays, progress: Progress) -> Update:
        steps, valid = batch["action"].size, torch.from_numpy(batch["valid"].reshape(-1))
        outputs = self.network(torch.from_numpy(batch["observation"]).flatten(0, 1))
        value = outputs["value"].squeeze(-1)
        masks = [batch[name] for name in ("terminated", "truncated", "valid")]
        estimate = value.detach().numpy().reshape(batch["observation"].shape[:2])
        advantage = torch.from_numpy(
            gae(batch["reward"], estimate, *masks, gamma=self.config.gamma, gae_lambda=1.0)
        ).reshape(-1)
        acted = {name: output[:steps] for name, output in outputs.items()}
        action = torch.from_numpy(batch["action"].reshape(-1))
        # Which actions were allowed, in environments that tell.
        mask = batch["mask"][:-1].reshape(steps, -1) if "mask" in batch else None
        log_prob, entropy = self.distribution.evaluate(
            acted, action, None if mask is None else torch.from_numpy(mask)
        )
        policy_loss = -(log_prob * advantage)[valid].mean()
        value_loss = (value[:steps] - value[:steps].detach() - advantage)[valid].square().mean()
        bonus = self.config.entropy_coefficient * entropy[valid].mean()
        self.optimizer.step(policy_loss + 0.5 * value_loss - bonus)
        return Update({"policy_loss": policy_loss.item(), "value_loss": value_loss.item()})
