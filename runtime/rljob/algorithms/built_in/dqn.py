"""Deep Q-networks with the parts of Rainbow that help most (Hessel et al. 2018).

Q-learning with a target network (Mnih et al. 2015, https://doi.org/10.1038/nature14236), double
estimates (van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461), dueling heads (Wang et al. 2016,
https://arxiv.org/abs/1511.06581), noisy networks, n-step returns, uniform or prioritised replay (Schaul et al.
2016, https://arxiv.org/abs/1511.05952), and Munchausen rewards. Rollouts explore epsilon-greedily or by noise, and
compute the n-step returns of their own segments, so that a stored transition is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
from pydantic import Field as Bounds
from pydantic import model_validator

from rljob.algorithms.base import (
    AlgorithmConfig,
    Arrays,
    Count,
    Head,
    Net,
    Place,
    Policy,
    Positive,
    Progress,
    Share,
    Update,
)
from rljob.algorithms.masking import forbid
from rljob.algorithms.munchausen import munchausen_bonus, soft_value
from rljob.algorithms.n_step import N_STEP_FIELDS
from rljob.algorithms.value_actors import AdvantageActor
from rljob.algorithms.value_based import NoisyConfig, discrete_actions
from rljob.algorithms.value_learner import ValueLearner
from rljob.envs.spaces import Spaces


class DQNConfig(NoisyConfig):
    """Settings of DQN (`algorithm.config`)."""

    n_step: Count = 3
    """Environment steps of reward before the target network's estimate."""
    double: bool = True
    """Double Q-learning: the learning network chooses the action, the target network values it."""
    dueling: bool = True
    """Separate heads for the state's value and the actions' advantages."""
    munchausen: bool = False
    """Rewards grow by the policy's scaled logarithm, and the next value is soft; needs nStep 1 and not double."""
    munchausen_temperature: Positive = 0.03
    """Of the softmax over the values that is the policy, in units of reward; for munchausen."""
    munchausen_scale: Share = 0.9
    """Factor of what is added to the reward; for munchausen."""
    munchausen_clip: Annotated[float, Bounds(ge=-1000, le=0)] = -1.0
    """Least value of temperature times logarithm; for munchausen."""

    @model_validator(mode="after")
    def _munchausen_is_alone(self) -> Self:
        if self.munchausen and (self.n_step > 1 or self.double):
            double = str(self.double).lower()
            raise ValueError(
                f"munchausen needs nStep: 1 and double: false, and they are {self.n_step} and {double}: it rewards "
                "one action, and its next value is that of all actions"
            )
        return self


class HuberLoss(NamedTuple):
    """The loss, and its derivative by each of the values, float32 `[B]`."""

    total: float
    by_value: np.ndarray


def huber_loss(error: np.ndarray, weight: np.ndarray | None) -> HuberLoss:
    """Mean Huber loss with threshold 1: `error² / 2` where it is small, else `|error| - 1/2`.

    Its derivative is the error clipped to ±1, as Mnih et al. have it.

    Args:
        error: values minus their targets, float32 `[B]`.
        weight: of each, float32 `[B]`; None is 1.
    """
    clipped = np.maximum(np.minimum(error, 1), -1)
    each, slope = clipped * (error - 0.5 * clipped), clipped / np.float32(len(error))
    if weight is not None:
        each, slope = each * weight, slope * weight
    return HuberLoss(float(each.mean()), slope)


class DQN:
    """See the module; settings in `DQNConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = DQNConfig

    fields = N_STEP_FIELDS

    def __init__(self, config: DQNConfig, spaces: Spaces) -> None:
        self.config = config
        self.data = config.data()
        actions = discrete_actions("DQN", spaces)
        heads = {"advantage": Head(actions, trunk="q", per_action=True)}
        if config.dueling:
            heads["value"] = Head(1, trunk="q")
        # The state's value is the same for every action: the best advantage is the best action.
        self.networks: Mapping[str, Net] = {
            "q": Net(heads, acts=("advantage",), own_rate=True, noise=config.noise)
        }

    def actor(self, policy: Policy, place: Place) -> AdvantageActor:
        return AdvantageActor(self, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> DQNLearner:
        return DQNLearner(self.config, networks["q"], seed)


class DQNLearner(ValueLearner):
    """The learning half of DQN."""

    _config: DQNConfig

    def update(self, batch: Arrays, progress: Progress) -> Update:
        config = self._config
        self.draw_noise()
        rows = np.arange(len(batch["action"]))
        ahead, mask = self.learning.place(batch["next_observation"]), batch.get("next_mask")
        following = self._values(self.following(ahead))
        reward = batch["n_step_return"]
        if config.munchausen:
            temperature, least = config.munchausen_temperature, config.munchausen_clip
            here = self._values(self.following(batch["observation"]))
            allowed = forbid(here, batch.get("mask"))
            bonus = munchausen_bonus(allowed, batch["action"], temperature, least)
            reward = reward + config.munchausen_scale * bonus
            bootstrap = soft_value(forbid(following, mask), temperature)
        elif config.double:
            best = forbid(self._values(self.learning(ahead)), mask).argmax(axis=-1)
            bootstrap = following[rows, best]
        else:
            bootstrap = forbid(following, mask).max(axis=-1)
        target = reward + batch["n_step_discount"] * bootstrap

        outputs, backward = self.learning.with_backward(batch["observation"])
        values = self._values(outputs)
        error = values[rows, batch["action"]] - target
        loss = huber_loss(error, self.weights(batch, progress))
        by_value = np.zeros_like(values)
        by_value[rows, batch["action"]] = loss.by_value
        backward(self._by_output(by_value))
        metrics = {"loss": loss.total, "mean_q": float(values.mean()), **self.descend(progress)}
        return Update(metrics, self.priorities(np.abs(error)))

    def _values(self, outputs: Arrays) -> np.ndarray:
        """Of all actions, `[B, n]`: the state's value and the advantages, whose mean is taken to be 0."""
        advantage = outputs["advantage"]
        if not self._config.dueling:
            return advantage
        centred: np.ndarray = advantage - advantage.mean(axis=-1, keepdims=True)
        return centred + outputs["value"]

    def _by_output(self, by_value: np.ndarray) -> Arrays:
        """The derivative by each output, where that by the values is `by_value`."""
        if not self._config.dueling:
            return {"advantage": by_value}
        centred = by_value - by_value.mean(axis=-1, keepdims=True)
        return {"advantage": centred, "value": by_value.sum(axis=-1, keepdims=True)}
