"""The learning half that value-based algorithms with one network share: target network, optimizer and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rljob.algorithms.base import Arrays, Learner, Progress
from rljob.algorithms.importance import importance_weights
from rljob.algorithms.value_based import NoisyConfig

if TYPE_CHECKING:
    from rljob.nets.torch_nets import Network


class ValueLearner(Learner):
    """What remains to an algorithm is `update`: `draw_noise`, a loss, its gradient, and `descend`.

    Args:
        network: the algorithm's; the target network is a copy of it.
        seed: of the noise of a noisy network; nothing else is random.

    Attributes:
        learning, following: the network and its target network, noisy if they are, to be differentiated.
    """

    def __init__(self, config: NoisyConfig, network: Any, seed: int) -> None:
        from rljob.nets.torch_gradients import differentiable
        from rljob.nets.torch_noisy import NoisyCopy
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
        used = [network, self._target.network]
        self._noisy: tuple[NoisyCopy, ...] = ()
        if config.noisy:
            self._rng = np.random.default_rng(seed)
            self._noisy = tuple(NoisyCopy(each) for each in used)
            used = [each.network for each in self._noisy]
        self.learning, self.following = (differentiable(each) for each in used)

    def draw_noise(self) -> None:
        """Draw the weights of both networks anew, each its own; nothing where they are not noisy."""
        for each in self._noisy:
            each.draw(self._rng)

    def weights(self, batch: Arrays, progress: Progress) -> np.ndarray | None:
        """Of the batch's losses, float32 `[B]`; None without priorities."""
        if not self._config.prioritised:
            return None
        return importance_weights(batch, self._config.importance_exponent.at(progress))

    def priorities(self, left: np.ndarray) -> np.ndarray | None:
        """From what is left to learn of each transition, `[B]`, at least 0; None without priorities."""
        return left + np.float32(1e-6) if self._config.prioritised else None

    def descend(self, progress: Progress) -> dict[str, float]:
        """Take one step where the gradients are, and let the target network follow; metrics of it."""
        if self._noisy:
            self._noisy[0].write_gradient()
        rate = self._rate.at(progress)
        norm = self._optimizer.descend(rate)
        if (progress.updates + 1) % self._config.target_update_interval == 0:
            self._target.follow(self._config.tau.at(progress))
        return {"gradient_norm": norm, "learning_rate": rate}

    def publish(self, progress: Progress) -> dict[str, Any]:
        return {"epsilon": self._config.epsilon.at(progress)}
