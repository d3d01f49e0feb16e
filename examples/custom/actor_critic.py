"""A custom algorithm in one file: advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rljob.algorithms.base import (
    Acted,
    AlgorithmConfig,
    Arrays,
    Head,
    LearnerState,
    OnPolicy,
    Progress,
    Update,
    select,
    with_prefix,
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
    """What `algorithm.entryPoint` names: the acting half, numpy in every rollout."""

    Config = ActorCriticConfig
    fields = ()

    def __init__(self, config: ActorCriticConfig, spaces: Spaces) -> None:
        self.config, self.distribution = config, distribution_for(spaces.action)
        self.data = OnPolicy(config.rollout_length)
        self.heads = {**self.distribution.heads, "value": Head(1)}
        self.acting_heads = tuple(self.distribution.heads)

    def act(
        self,
        outputs: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        scalars: Mapping[str, float],
        greedy: bool = False,
    ) -> Acted:
        mode, sample = self.distribution.mode, self.distribution.sample
        return Acted(mode(outputs) if greedy else sample(outputs, rng)[0])

    def finish(self, segment: Arrays) -> None:
        """Nothing: advantages need the learner's values."""

    def learner(self, network: torch.nn.Module, seed: int) -> Learner:
        return Learner(self, network)


class Learner:
    """The learning half, torch in the learner."""

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
        log_prob, entropy = self.distribution.evaluate(acted, action)
        policy_loss = -(log_prob * advantage)[valid].mean()
        value_loss = (value[:steps] - value[:steps].detach() - advantage)[valid].square().mean()
        bonus = self.config.entropy_coefficient * entropy[valid].mean()
        self.optimizer.step(policy_loss + 0.5 * value_loss - bonus)
        return Update({"policy_loss": policy_loss.item(), "value_loss": value_loss.item()})

    def scalars(self, progress: Progress) -> dict[str, float]:
        return {}

    def state(self) -> LearnerState:
        network = with_prefix("network.", self.network.state_dict())
        return LearnerState({**network, **with_prefix("optimizer.", self.optimizer.state())}, {})

    def load_state(self, state: LearnerState) -> None:
        self.network.load_state_dict(select("network.", state.tensors))
        self.optimizer.load_state(select("optimizer.", state.tensors))
