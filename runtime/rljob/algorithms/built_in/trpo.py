"""Trust region policy optimisation (Schulman et al. 2015, https://arxiv.org/abs/1502.05477).

Rollouts act and store the log-probability of each action. The learner takes each batch of segments once: one step of
the policy along the natural gradient, as far as a KL divergence allows (`trust_region.py`), and a few passes of Adam
for the value network. The divergence is from the policy before the step. The ratio of the objective is taken against
the policy that acted, so a segment from an older policy version is weighted by how likely its actions are now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field as Bounds

from rljob.algorithms.advantages import estimate, values
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
from rljob.algorithms.moments import MovingMoments, RunningMoments
from rljob.algorithms.trust_region import Objective, PolicyStep, ascend
from rljob.envs.spaces import Spaces, encode, encoded_shape

if TYPE_CHECKING:
    from rljob.nets.torch_gradients import Placed
    from rljob.nets.torch_nets import Network


class TRPOConfig(AlgorithmConfig):
    """Settings of TRPO (`algorithm.config`)."""

    target_kl: Schedule[Positive] = Schedule(0.01)
    """Largest KL divergence of the policy after an update from the one before (nats)."""
    rollout_length: Count = 128
    """Environment steps in one segment."""
    segments_per_batch: Count | None = None
    """Segments in one update; by default one per rollout replica."""
    gamma: Share = 0.99
    """Discount per environment step."""
    gae_lambda: Share = 0.95
    """Weight of long advantage estimates: 0 one step, 1 to the end of the episode or segment."""
    conjugate_gradient_iterations: Count = 15
    """Products with the Fisher matrix by which the natural gradient is found."""
    damping: Coefficient = 0.1
    """Added to the diagonal of the Fisher matrix."""
    line_search_tries: Count = 10
    """Steps that are tried, the longest first; the policy stays as it is where none is good."""
    line_search_shrink: Annotated[float, Bounds(gt=0, le=0.99)] = 0.8
    """Length of each step that is tried, as a share of the one before."""
    learning_rate: Schedule[Rate] = Schedule(1e-3)
    """Step size of Adam, for the critic."""
    critic_epochs: Count = 10
    """Passes of the critic over each batch."""
    critic_batch_size: Count = 128
    """Rows in one gradient step of the critic."""
    normalise_advantages: bool = True
    """Subtract the mean of the batch's advantages and divide by their standard deviation."""
    normalise_observations: bool = False
    """Subtract the running mean, divide by the running standard deviation, keep within ±10."""
    normalise_rewards: bool = False
    """Divide rewards and values by the running standard deviation of the returns."""


class TRPO:
    """See the module; settings in `TRPOConfig`."""

    Config: ClassVar[type[AlgorithmConfig]] = TRPOConfig

    fields = (Field("log_prob", "float32"),)

    def __init__(self, config: TRPOConfig, spaces: Spaces) -> None:
        self._config, self._spaces = config, spaces
        self._distribution = distribution_for(spaces.action)
        self.data = OnPolicy(config.rollout_length, config.segments_per_batch)
        heads = self._distribution.heads
        self.networks: Mapping[str, Net] = {
            "policy": Net(heads, acts=tuple(heads)),
            "critic": Net({"value": Head(1)}, own_rate=True),
        }

    def actor(self, policy: Policy, place: Place) -> DistributionActor:
        return DistributionActor(self._distribution, policy, place)

    def learner(self, networks: Mapping[str, Any], seed: int) -> TRPOLearner:
        policy, critic = networks["policy"], networks["critic"]
        return TRPOLearner(self._config, self._spaces, self._distribution, policy, critic, seed)


class TRPOLearner(Learner):
    """The learning half of TRPO."""

    def __init__(
        self,
        config: TRPOConfig,
        spaces: Spaces,
        distribution: Distribution,
        policy: Network,
        critic: Network,
        seed: int,
    ) -> None:
        from rljob.nets.torch_gradients import differentiable
        from rljob.nets.torch_optimizer import FlatAdam

        self._config, self._space, self._distribution = config, spaces.observation, distribution
        self._policy, self._critic = policy, critic
        self._rate = critic.rate(config.learning_rate)
        self._optimizer = FlatAdam(critic, learning_rate=self._rate.start)
        self._valuing = differentiable(critic)
        self._rng = np.random.default_rng(seed)
        self._observations = RunningMoments(encoded_shape(self._space))
        # Returns drift as the policy improves: about the last hundred batches count.
        self._returns = MovingMoments(decay=0.99)

    def update(self, batch: Arrays, progress: Progress) -> Update:
        rows = np.flatnonzero(batch["valid"])
        if not len(rows):
            return Update({})
        config = self._config
        flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.items()}
        if config.normalise_observations:
            self._observations.update(encode(self._space, flat["observation"][rows]))
            std = np.sqrt(self._observations.variance + 1e-8)
            for network in (self._policy, self._critic):
                network.encoder.normalise(self._observations.mean, std, limit=10.0)
        observation = self._valuing.place(flat["observation"])
        found = estimate(
            batch,
            values(self._valuing, observation, self._space),
            self._returns,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            normalise_advantages=config.normalise_advantages,
            normalise_rewards=config.normalise_rewards,
        )
        used = {name: array[rows] for name, array in flat.items()}
        step, entropy = self._improve(used, found.advantage[rows], progress)
        rate = self._rate.at(progress)
        loss, norm = self._fit(observation, found.target, rows, rate)
        return Update(
            {
                "policy_objective": step.before,
                "improvement": step.after - step.before,
                "kl": step.divergence,
                "step_scale": step.scale,
                "entropy": entropy,
                "policy_gradient_norm": step.gradient_norm,
                "value_loss": loss,
                "critic_gradient_norm": norm,
                "critic_learning_rate": rate,
                **found.metrics,
            }
        )

    def _improve(
        self, used: Arrays, advantage: np.ndarray, progress: Progress
    ) -> tuple[PolicyStep, float]:
        """One step of the policy on rows `[B, ...]`, and the entropy before it."""
        from rljob.nets.torch_batch import tensors

        config, distribution = self._config, self._distribution
        data = tensors({**used, "advantage": advantage}, self._policy.device)
        mask = data.get("mask")
        before = {
            name: output.detach() for name, output in self._policy(data["observation"]).items()
        }
        _, entropy = distribution.evaluate(before, data["action"], mask)

        def objective() -> Objective:
            outputs = self._policy(data["observation"])
            log_prob, _ = distribution.evaluate(outputs, data["action"], mask)
            # Beyond e^20 a ratio would overflow to gradients that are not numbers.
            ratio = (log_prob - data["log_prob"]).clamp(max=20.0).exp()
            gain = (ratio * data["advantage"]).mean()
            return Objective(gain, distribution.divergence(before, outputs, mask).mean())

        step = ascend(
            objective,
            list(self._policy.parameters()),
            limit=config.target_kl.at(progress),
            iterations=config.conjugate_gradient_iterations,
            damping=config.damping,
            tries=config.line_search_tries,
            shrink=config.line_search_shrink,
        )
        return step, float(entropy.mean())

    def _fit(
        self, observation: Placed, target: np.ndarray, rows: np.ndarray, rate: float
    ) -> tuple[float, float]:
        """Passes of the critic; the mean loss of the last, and the norm of its last gradient."""
        size = self._config.critic_batch_size
        for _ in range(self._config.critic_epochs):
            order, squares = self._rng.permutation(rows), 0.0
            for start in range(0, len(order), size):
                part = order[start : start + size]
                outputs, backward = self._valuing.with_backward(observation[part])
                error = outputs["value"] - target[part, None]
                squares += float(np.square(error).sum())
                backward({"value": (2 / len(part)) * error})
                norm = self._optimizer.descend(rate)
        return squares / len(order), norm
