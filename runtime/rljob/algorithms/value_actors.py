"""How algorithms act that learn the values of Discrete actions. Neither torch nor their settings are needed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rljob.algorithms.acting import Acted, ActionScores, Actor, Place, Policy, Seen
from rljob.algorithms.epsilon_greedy import epsilon_greedy, epsilons
from rljob.algorithms.masking import forbid, hide
from rljob.algorithms.quantile_regression import midpoints
from rljob.envs.spaces import Arrays

if TYPE_CHECKING:
    from rljob.algorithms.value_based import ValueBasedConfig


class ValueActor(Actor):
    """Acts epsilon-greedily on the values of actions, and completes n-step returns.

    Args:
        algorithm: has its settings as `config`.

    Attributes:
        label: what the values are, for display.
    """

    def __init__(self, algorithm: Any, policy: Policy, place: Place) -> None:
        super().__init__(algorithm, policy, place)
        self.config: ValueBasedConfig = algorithm.config
        self.label = "value"

    def values(self, seen: Seen) -> np.ndarray:
        """Of all actions, float32 `[N, K]`."""
        raise NotImplementedError

    def act(self, seen: Seen) -> Acted:
        if self.place.greedy:
            value = self.values(seen)
            best = forbid(value, seen.mask).argmax(axis=-1)
            return Acted(best, scores=ActionScores(self.label, hide(value, seen.mask)))
        self.policy.draw(self.rng)
        epsilon = epsilons(self.policy.arrays["epsilon"], self.place, self.config.epsilon_spread)
        return Acted(epsilon_greedy(self.values(seen), epsilon, self.rng, seen.mask))

    def finish(self, segment: Arrays) -> None:
        from rljob.algorithms.n_step import fill_n_step

        fill_n_step(segment, n=self.config.n_step, gamma=self.config.gamma)


class AdvantageActor(ValueActor):
    """Acts by the head `advantage`: the state's value is the same for every action."""

    kind: ClassVar[str] = "advantage"

    def __init__(self, algorithm: Any, policy: Policy, place: Place) -> None:
        super().__init__(algorithm, policy, place)
        self.label = "advantage" if algorithm.config.dueling else "value"

    def values(self, seen: Seen) -> np.ndarray:
        return self.policy(seen)["advantage"]


class AtomValues:
    """Values of actions whose returns have a distribution over fixed atoms.

    Args:
        actions: their number.
        atoms: their number.
        low: the first atom.
        high: the last atom.
        dueling: whether the head `value` is added to the advantages, the head `logits`.

    Attributes:
        settings: all of these but the number of actions, by name.
        support: the atoms, float32 `[atoms]`.
    """

    def __init__(self, actions: int, atoms: int, low: float, high: float, dueling: bool) -> None:
        self._shape, self._dueling = (actions, atoms), dueling
        self.settings = {"atoms": atoms, "low": low, "high": high, "dueling": dueling}
        self.support = np.linspace(low, high, atoms, dtype=np.float32)

    def log_probabilities(self, outputs: Arrays) -> np.ndarray:
        """Of the atoms, for each action: `[B, actions, atoms]`."""
        logits = outputs["logits"].reshape(-1, *self._shape)
        if self._dueling:
            logits = logits - logits.mean(axis=1, keepdims=True) + outputs["value"][:, None]
        shifted = logits - logits.max(axis=-1, keepdims=True)
        found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return found

    def values(self, log_probability: np.ndarray) -> np.ndarray:
        """Expected returns `[B, actions]`."""
        found: np.ndarray = np.exp(log_probability) @ self.support
        return found


class AtomsActor(ValueActor):
    """Acts by the expected return of each action; the algorithm has its `AtomValues` as `returns`."""

    kind: ClassVar[str] = "atoms"

    def values(self, seen: Seen) -> np.ndarray:
        returns: AtomValues = self.algorithm.returns
        return returns.values(returns.log_probabilities(self.policy(seen)))


class QuantilesActor(ValueActor):
    """Acts by the mean of each action's quantiles; the algorithm has `(actions, quantiles)` as `shape`."""

    kind: ClassVar[str] = "quantiles"

    def values(self, seen: Seen) -> np.ndarray:
        quantiles = self.policy(seen)["quantiles"].reshape(-1, *self.algorithm.shape)
        found: np.ndarray = quantiles.mean(axis=-1)
        return found


def embed(levels: np.ndarray, cosines: int) -> np.ndarray:
    """`cos(pi * i * level)` for `i` from 0 on: float32 `[..., cosines]`."""
    steps = np.float32(np.pi) * np.arange(cosines, dtype=np.float32)
    found: np.ndarray = np.cos(levels[..., None] * steps)
    return found


class LevelsActor(ValueActor):
    """Acts by the mean of an implicit quantile network over evenly spaced levels; the algorithm's `config` has
    `value_quantiles` and `cosines`."""

    kind: ClassVar[str] = "levels"

    def __init__(self, algorithm: Any, policy: Policy, place: Place) -> None:
        super().__init__(algorithm, policy, place)
        config = algorithm.config
        self._cosines = embed(midpoints(config.value_quantiles), config.cosines)

    def values(self, seen: Seen) -> np.ndarray:
        observed = self.policy(seen)["features"][:, None]
        level = np.maximum(self.policy.part("level")(self._cosines)["features"], 0)
        product = (observed * level).reshape(-1, level.shape[1])
        quantiles = self.policy.part("value")(product)["value"]
        mean: np.ndarray = quantiles.reshape(len(observed), len(level), -1).mean(axis=1)
        return mean
