"""What soft actor-critic does per kind of action: Gaussians squashed by tanh for Box, all choices at once for Discrete.

A policy of choices needs no sample to be valued: its critics say the value of every choice, and expectations are sums
(Christodoulou 2019, https://arxiv.org/abs/1910.07207).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np

from rljob.algorithms.acting import Acted, ActionScores, Actor, Seen
from rljob.algorithms.distributions import Categorical
from rljob.algorithms.masking import FORBIDDEN
from rljob.envs.spaces import Arrays, BoxSpace, DiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.nets.head import Head, Net

if TYPE_CHECKING:
    from torch import Generator, Tensor

    Critic = Callable[..., Mapping[str, Tensor]]

LOG_STD = (-20.0, 2.0)
"""Bounds of the policy's log standard deviation."""
ENTROPY_SHARE = 0.5
"""Of the largest entropy that choices can have: what the temperature aims at by default."""


class Expected(NamedTuple):
    """Of the policy in `B` states, `[B]`: the smaller value of both critics, and the entropy (nats)."""

    value: Tensor
    entropy: Tensor


class SoftActions(Protocol):
    """One kind of action; `outputs` are those of the policy's heads, `[B, size]`."""

    @property
    def networks(self) -> Mapping[str, Net]:
        """`policy`, which acts, and two copies of `critic`."""
        ...

    def act(
        self, outputs: Arrays, rng: np.random.Generator | None, mask: np.ndarray | None
    ) -> Acted:
        """Sampled with `rng`; the likeliest without."""
        ...

    def target_entropy(self, mask: Tensor | None) -> Tensor | float:
        """What the temperature aims at by default: nats, one number or `[B]`."""
        ...

    def taken(self, critic: Critic, observation: Tensor, action: Tensor) -> Tensor:
        """Both critics' values `[2, B]` of the actions that were taken."""
        ...

    def expected(
        self,
        outputs: Mapping[str, Tensor],
        critic: Critic,
        observation: Tensor,
        mask: Tensor | None,
        generator: Generator,
    ) -> Expected:
        """Gradients flow to the policy's outputs.

        Args:
            generator: of the samples, where there are any.
        """
        ...


def soft_actions(spaces: Spaces) -> SoftActions:
    """The kind of these spaces' actions.

    Raises:
        InputError: SAC cannot use them.
    """
    match spaces.action:
        case DiscreteSpace():
            return Choices(spaces.action)
        case BoxSpace(bounded=True):
            return SquashedGaussian(spaces, spaces.action)
    raise InputError(
        f"SAC needs Discrete actions, or Box actions with finite bounds, and cannot use {spaces.action}; "
        "environment.convert.action makes choices continuous, and PPO can use both",
        path="environment",
    )


class SquashedGaussian:
    """Independent normals over the flattened Box, squashed by tanh to `[-1, 1]`."""

    def __init__(self, spaces: Spaces, action: BoxSpace) -> None:
        self._shape, self._size = action.shape, math.prod(action.shape)
        policy = {name: Head(self._size, gain=0.01, trunk="policy") for name in ("mean", "log_std")}
        inputs = (spaces.observation, action)
        self.networks = {
            "policy": Net(policy, acts=tuple(policy), own_rate=True),
            "critic": Net({"q": Head(1)}, inputs=inputs, copies=2, own_rate=True),
        }

    def act(
        self, outputs: Arrays, rng: np.random.Generator | None, mask: np.ndarray | None
    ) -> Acted:
        action = outputs["mean"]
        if rng is not None:
            noise = rng.standard_normal(action.shape, np.float32)
            action = action + np.exp(np.clip(outputs["log_std"], *LOG_STD)) * noise
        action = np.tanh(action)
        shaped = action.reshape(len(action), *self._shape)
        return Acted(shaped, scores=ActionScores("action", action, (-1.0, 1.0)))

    def target_entropy(self, mask: Tensor | None) -> float:
        """Minus the number of action dimensions."""
        return -float(self._size)

    def taken(self, critic: Critic, observation: Tensor, action: Tensor) -> Tensor:
        return critic(observation, action)["q"].squeeze(-1)

    def expected(
        self,
        outputs: Mapping[str, Tensor],
        critic: Critic,
        observation: Tensor,
        mask: Tensor | None,
        generator: Generator,
    ) -> Expected:
        action, log_prob = self.sample(outputs, generator)
        return Expected(self.taken(critic, observation, action).amin(0), -log_prob)

    def sample(self, outputs: Mapping[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        """Actions `[B, *shape]` and their log-probabilities `[B]`; gradients flow through both."""
        import torch

        mean, log_std = outputs["mean"], outputs["log_std"].clamp(*LOG_STD)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        before = mean + log_std.exp() * noise
        # log(1 - tanh(x)^2), without its cancellation for large x.
        squash = 2 * (math.log(2) - before - torch.nn.functional.softplus(-2 * before))
        each = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - squash
        return before.tanh().reshape(len(before), *self._shape), each.sum(-1)


class Choices:
    """One choice of `n`, by a categorical; what is not allowed has the probability 0."""

    def __init__(self, action: DiscreteSpace) -> None:
        self._categorical, self._n = Categorical(action.n), action.n
        policy, critic = self._categorical.heads, {"q": Head(action.n, per_action=True)}
        self.networks = {
            "policy": Net(policy, acts=tuple(policy), own_rate=True),
            "critic": Net(critic, copies=2, own_rate=True),
        }

    def act(
        self, outputs: Arrays, rng: np.random.Generator | None, mask: np.ndarray | None
    ) -> Acted:
        scores = self._categorical.shown(outputs, mask)
        if rng is None:
            return Acted(self._categorical.mode(outputs, mask), scores=scores)
        return Acted(self._categorical.sample(outputs, rng, mask)[0], scores=scores)

    def target_entropy(self, mask: Tensor | None) -> Tensor | float:
        """A share of the entropy of even choices among those that are allowed."""
        if mask is None:
            return ENTROPY_SHARE * math.log(self._n)
        return ENTROPY_SHARE * mask.sum(-1).float().log()

    def taken(self, critic: Critic, observation: Tensor, action: Tensor) -> Tensor:
        q = critic(observation)["q"]
        return q.gather(-1, action.long().expand(len(q), -1).unsqueeze(-1)).squeeze(-1)

    def expected(
        self,
        outputs: Mapping[str, Tensor],
        critic: Critic,
        observation: Tensor,
        mask: Tensor | None,
        generator: Generator,
    ) -> Expected:
        import torch

        logits = outputs["logits"]
        if mask is not None:
            logits = logits.masked_fill(~mask, FORBIDDEN)
        log_prob = logits.log_softmax(-1)
        probability = log_prob.exp()
        with torch.no_grad():
            value = critic(observation)["q"].amin(0)
        return Expected((probability * value).sum(-1), -(probability * log_prob).sum(-1))


class SoftActor(Actor):
    """Samples actions; greedy, takes the likeliest."""

    kind: ClassVar[str] = "soft"
    algorithm: SoftActions

    def act(self, seen: Seen) -> Acted:
        rng = None if self.place.greedy else self.rng
        return self.algorithm.act(self.policy(seen), rng, seen.mask)
