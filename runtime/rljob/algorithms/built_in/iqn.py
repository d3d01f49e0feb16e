"""Implicit quantile networks (Dabney et al. 2018, https://arxiv.org/abs/1806.06923).

Distributional Q-learning. The network is given a level in [0, 1] with each observation, and answers that quantile of
the return of each action. The mean over evenly spaced levels is the action's value. Levels are drawn at random in
training, where the quantiles are trained by quantile regression towards those of the target network. Rollouts explore
epsilon-greedily and compute the n-step returns of their own segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field as Bounds

from rljob.algorithms.base import (
    AlgorithmConfig,
    Arrays,
    Coefficient,
    Head,
    Learner,
    Net,
    Place,
    Policy,
    Progress,
    Update,
)
from rljob.algorithms.importance import importance_weights
from rljob.algorithms.masking import forbid
from rljob.algorithms.n_step import N_STEP_FIELDS
from rljob.algorithms.quantile_regression import midpoints, quantile_huber_loss
from rljob.algorithms.value_actors import LevelsActor, embed
from rljob.algorithms.value_based import ValueBasedConfig, discrete_actions
from rljob.envs.spaces import BoxSpace, Spaces
from rljob.nets.configs import MLPConfig
from rljob.spec.schema import AS_INTEGER

if TYPE_CHECKING:
    from torch import Tensor

    from rljob.nets.torch_nets import Network

IQNCount = Annotated[int, Bounds(ge=1, le=4096), AS_INTEGER]


class IQNConfig(ValueBasedConfig):
    """Settings of IQN (`algorithm.config`)."""

    quantiles: IQNCount = 8
    """Levels drawn for each transition, whose quantiles are trained."""
    target_quantiles: IQNCount = 8
    """Levels drawn for each transition, whose quantiles of the target network are the targets."""
    value_quantiles: IQNCount = 32
    """Evenly spaced levels whose mean is an action's value."""
    cosines: IQNCount = 64
    """Cosines of a level that are the input of the network `level`."""
    features: IQNCount = 64
    """Features of an observation, and of a level, that are multiplied with each other."""
    huber_threshold: Coefficient = 1.0
    """Errors below it count by their square; 0 is quantile regression proper."""


class IQN:
    """See the module; settings in `IQNConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = IQNConfig

    fields = N_STEP_FIELDS

    def __init__(self, config: IQNConfig, spaces: Spaces) -> None:
        self.config, self.data = config, config.data()
        actions, width = discrete_actions("IQN", spaces), config.features
        features = {"features": Head(width)}
        cosines, product = BoxSpace((config.cosines,)), BoxSpace((width,))
        self.networks: Mapping[str, Net] = {
            "observation": Net(features, acts=("features",)),
            "level": Net(
                features, acts=("features",), inputs=(cosines,), network=MLPConfig(hidden=())
            ),
            "value": Net(
                {"value": Head(actions)},
                acts=("value",),
                inputs=(product,),
                network=MLPConfig(hidden=(width,), activation="relu"),
            ),
        }

    def actor(self, policy: Policy, place: Place) -> LevelsActor:
        return LevelsActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> IQNLearner:
        return IQNLearner(self.config, networks, seed)


class IQNLearner(Learner):
    """The learning half of IQN."""

    def __init__(self, config: IQNConfig, networks: Mapping[str, Network], seed: int) -> None:
        from rljob.nets.torch_optimizer import FlatAdam
        from rljob.nets.torch_target import Target

        self._config, self._networks = config, networks
        self._rng = np.random.default_rng(seed)
        self._targets = {name: Target(network) for name, network in networks.items()}
        self._optimizer = FlatAdam(
            *networks.values(),
            learning_rate=config.learning_rate.start,
            max_gradient_norm=config.max_gradient_norm,
        )
        self._even = midpoints(config.value_quantiles)[None]

    def update(self, batch: Arrays, progress: Progress) -> Update:
        import torch

        config = self._config
        count = len(batch["action"])
        ahead, mask = batch["next_observation"], batch.get("next_mask")
        drawn, target_drawn = (
            self._rng.random((count, levels), np.float32)
            for levels in (config.quantiles, config.target_quantiles)
        )
        targets = {name: each.network for name, each in self._targets.items()}
        with torch.no_grad():
            judge = self._networks if config.double else targets
            value = _quantiles(judge, ahead, self._even, config.cosines).mean(dim=1).cpu().numpy()
            best = forbid(value, mask).argmax(axis=-1)
            following = _taken(targets, ahead, target_drawn, best, config.cosines).cpu().numpy()
        discount = batch["n_step_discount"][:, None]
        target = batch["n_step_return"][:, None] + discount * following

        taken = _taken(self._networks, batch["observation"], drawn, batch["action"], config.cosines)
        weight = None
        if config.prioritised:
            weight = importance_weights(batch, config.importance_exponent.at(progress))
        quantiles = taken.detach().cpu().numpy()
        loss = quantile_huber_loss(quantiles, drawn, target, config.huber_threshold, weight)
        rate = config.learning_rate.at(progress)
        # Its gradient by the network is that of the loss.
        norm = self._optimizer.step((taken * taken.new_tensor(loss.by_quantile)).sum(), rate)
        if (progress.updates + 1) % config.target_update_interval == 0:
            for each in self._targets.values():
                each.follow(config.tau.at(progress))
        metrics = {
            "loss": loss.total,
            "mean_q": float(quantiles.mean()),
            "gradient_norm": norm,
            "learning_rate": rate,
        }
        return Update(metrics, loss.each + np.float32(1e-6) if config.prioritised else None)

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"epsilon": self._config.epsilon.at(progress)}


def _quantiles(
    networks: Mapping[str, Any], observation: np.ndarray, levels: np.ndarray, cosines: int
) -> Tensor:
    """Of all actions at levels `[B, L]`, or `[1, L]` for all: `[B, L, actions]`."""
    import torch

    device = networks["observation"].device
    observed = networks["observation"](torch.from_numpy(observation).to(device))["features"]
    embedded = torch.from_numpy(embed(levels, cosines)).to(device).flatten(0, 1)
    level = networks["level"](embedded)["features"].reshape(*levels.shape, -1)
    product = observed[:, None] * level.relu()
    found: Tensor = networks["value"](product.flatten(0, 1))["value"]
    return found.reshape(*product.shape[:2], -1)


def _taken(
    networks: Mapping[str, Any],
    observation: np.ndarray,
    levels: np.ndarray,
    action: np.ndarray,
    cosines: int,
) -> Tensor:
    """The same of one action each, int64 `[B]`: `[B, L]`."""
    import torch

    found = _quantiles(networks, observation, levels, cosines)
    index = torch.from_numpy(action).to(found.device)
    return found[torch.arange(len(found), device=found.device), :, index]
