"""Deep Q-networks with the parts of Rainbow that help most (Hessel et al. 2018).

Q-learning with a target network (Mnih et al. 2015, https://doi.org/10.1038/nature14236), double
estimates (van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461), dueling heads (Wang et al. 2016,
https://arxiv.org/abs/1511.06581), n-step returns, uniform or prioritised replay (Schaul et al.
2016, https://arxiv.org/abs/1511.05952), and Munchausen rewards. Rollouts explore epsilon-greedily and compute the n-step
returns of their own segments, so that a stored transition is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field as Bounds
from pydantic import model_validator

from rljob.algorithms.base import (
    Acted,
    ActionScores,
    Actor,
    AlgorithmConfig,
    Arrays,
    Count,
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
    SchedulePhase,
    Seen,
    Share,
    Update,
)
from rljob.algorithms.epsilon_greedy import epsilon_greedy
from rljob.algorithms.importance import importance_weights
from rljob.algorithms.masking import forbid, hide
from rljob.algorithms.munchausen import munchausen_bonus, soft_value
from rljob.algorithms.n_step import N_STEP_FIELDS, check_n_step, fill_n_step
from rljob.envs.spaces import DiscreteSpace, Spaces
from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.nets.torch_nets import Network


class DQNConfig(AlgorithmConfig):
    """Settings of DQN (`algorithm.config`)."""

    learning_rate: Schedule[Rate] = Schedule(5e-4)
    """Step size of Adam."""
    gamma: Share = 0.99
    """Discount per environment step."""
    n_step: Count = 3
    """Environment steps of reward before the target network's estimate."""
    double: bool = True
    """Double Q-learning: the learning network chooses the action, the target network values it."""
    dueling: bool = True
    """Separate heads for the state's value and the actions' advantages."""
    rollout_length: Count = 32
    """Environment steps in one segment."""
    batch_size: Count = 64
    """Transitions in one update."""
    min_size: Count = 1000
    """Transitions stored before the first update."""
    samples_per_insert: Positive = 8.0
    """Transitions trained on for each stored transition."""
    updates_per_publish: Count = 8
    """Updates between two policy versions."""
    target_update_interval: Count = 250
    """Updates between two updates of the target network."""
    tau: Schedule[Rate] = Schedule(1.0)
    """Share of the learning network that is mixed into the target network; 1 copies."""
    max_gradient_norm: Positive | None = 10.0
    """Gradients are scaled down to this L2 norm."""
    epsilon: Schedule[Share] = Schedule(SchedulePhase(from_=1.0, to=0.05, steps=10_000))
    """Share of random actions."""
    replay: Literal["uniform", "prioritised"] = "uniform"
    """How transitions are sampled."""
    priority_exponent: Share = 0.6
    """0 samples uniformly, 1 in proportion to the error; for prioritised replay."""
    importance_exponent: Schedule[Share] = Schedule(SchedulePhase(from_=0.4, to=1.0))
    """Correction of the sampling bias, 1 in full; for prioritised replay."""
    munchausen: bool = False
    """Rewards grow by the policy's scaled logarithm, and the next value is soft; needs nStep 1 and not double."""
    munchausen_temperature: Positive = 0.03
    """Of the softmax over the values that is the policy, in units of reward; for munchausen."""
    munchausen_scale: Share = 0.9
    """Factor of what is added to the reward; for munchausen."""
    munchausen_clip: Annotated[float, Bounds(ge=-1000, le=0)] = -1.0
    """Least value of temperature times logarithm; for munchausen."""

    @model_validator(mode="after")
    def _steps_fit_a_segment(self) -> Self:
        check_n_step(self.n_step, self.rollout_length)
        return self

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
        if not isinstance(spaces.action, DiscreteSpace):
            raise InputError(
                f"DQN needs Discrete actions and cannot use {spaces.action}; environment.convert.action can "
                "make them discrete, and PPO can use them",
                path="environment",
            )
        self._config = config
        prioritised = config.replay == "prioritised"
        self.data = Replay(
            segment_length=config.rollout_length,
            batch_size=config.batch_size,
            min_size=config.min_size,
            samples_per_insert=config.samples_per_insert,
            priority_exponent=config.priority_exponent if prioritised else 0.0,
            updates_per_publish=config.updates_per_publish,
        )
        heads = {"advantage": Head(spaces.action.n, trunk="q", per_action=True)}
        if config.dueling:
            heads["value"] = Head(1, trunk="q")
        # The state's value is the same for every action: the best advantage is the best action.
        self.networks: Mapping[str, Net] = {"q": Net(heads, acts=("advantage",), own_rate=True)}

    def actor(self, policy: Policy, place: Place) -> DQNActor:
        return DQNActor(self._config, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> DQNLearner:
        return DQNLearner(self._config, networks["q"])


class DQNActor(Actor):
    """The acting half of DQN."""

    algorithm: DQNConfig

    def act(self, seen: Seen) -> Acted:
        advantage = self.policy(seen)["advantage"]
        if self.place.greedy:
            best = forbid(advantage, seen.mask).argmax(axis=-1)
            label = "advantage" if self.algorithm.dueling else "value"
            return Acted(best, scores=ActionScores(label, hide(advantage, seen.mask)))
        epsilon = self.policy.arrays["epsilon"]
        return Acted(epsilon_greedy(advantage, epsilon, self.rng, seen.mask))

    def finish(self, segment: Arrays) -> None:
        fill_n_step(segment, n=self.algorithm.n_step, gamma=self.algorithm.gamma)


class DQNLearner(Learner):
    """The learning half of DQN; draws no random numbers."""

    def __init__(self, config: DQNConfig, network: Any) -> None:
        from rljob.nets.torch_gradients import differentiable
        from rljob.nets.torch_optimizer import FlatAdam
        from rljob.nets.torch_target import Target

        self._config = config
        self._network: Network = network
        self._target = Target(network)
        self._rate = self._network.rate(config.learning_rate)
        self._optimizer = FlatAdam(
            network,
            learning_rate=self._rate.start,
            max_gradient_norm=config.max_gradient_norm,
        )
        self._learning, self._following = (
            differentiable(network),
            differentiable(self._target.network),
        )

    def update(self, batch: Arrays, progress: Progress) -> Update:
        config = self._config
        rows = np.arange(len(batch["action"]))
        ahead, mask = self._learning.place(batch["next_observation"]), batch.get("next_mask")
        following = self._values(self._following(ahead))
        reward = batch["n_step_return"]
        if config.munchausen:
            temperature, least = config.munchausen_temperature, config.munchausen_clip
            here = self._values(self._following(batch["observation"]))
            allowed = forbid(here, batch.get("mask"))
            bonus = munchausen_bonus(allowed, batch["action"], temperature, least)
            reward = reward + config.munchausen_scale * bonus
            bootstrap = soft_value(forbid(following, mask), temperature)
        elif config.double:
            best = forbid(self._values(self._learning(ahead)), mask).argmax(axis=-1)
            bootstrap = following[rows, best]
        else:
            bootstrap = forbid(following, mask).max(axis=-1)
        target = reward + batch["n_step_discount"] * bootstrap

        outputs, backward = self._learning.with_backward(batch["observation"])
        values = self._values(outputs)
        error = values[rows, batch["action"]] - target
        prioritised = config.replay == "prioritised"
        exponent = config.importance_exponent.at(progress)
        loss = huber_loss(error, importance_weights(batch, exponent) if prioritised else None)
        by_value = np.zeros_like(values)
        by_value[rows, batch["action"]] = loss.by_value
        backward(self._by_output(by_value))
        rate = self._rate.at(progress)
        norm = self._optimizer.descend(rate)

        if (progress.updates + 1) % config.target_update_interval == 0:
            self._target.follow(config.tau.at(progress))
        metrics = {
            "loss": loss.total,
            "mean_q": float(values.mean()),
            "gradient_norm": norm,
            "learning_rate": rate,
        }
        return Update(metrics, np.abs(error) + np.float32(1e-6) if prioritised else None)

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

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"epsilon": self._config.epsilon.at(progress)}
