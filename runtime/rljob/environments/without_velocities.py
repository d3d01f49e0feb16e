"""Gymnasium's CartPole and Pendulum that show positions and no velocities: a policy has to remember.

rl-baselines3-zoo trains its recurrent policies on these tasks, as `CartPoleNoVel-v1` and `PendulumNoVel-v1`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space


def _shown(space: Any, numbers: list[int]) -> Box:
    """The same box with these numbers alone."""
    return Box(space.low[numbers], space.high[numbers], dtype=space.dtype)


class _Showing:
    """Shows some numbers of the observations `[..., size]` of the class behind it."""

    shown: ClassVar[list[int]]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)  # type: ignore[misc]
        return observation[..., self.shown], info

    def step(self, action: Any) -> Any:
        observation, *others = super().step(action)  # type: ignore[misc]
        return observation[..., self.shown], *others


class CartPoleNoVel(_Showing, CartPoleEnv):
    """The position of the cart and the angle of the pole; options of Gymnasium's `CartPole-v1`."""

    shown: ClassVar[list[int]] = [0, 2]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.observation_space = _shown(self.observation_space, self.shown)


class CartPoleNoVelVector(_Showing, CartPoleVectorEnv):
    """The same for many at once."""

    shown: ClassVar[list[int]] = [0, 2]

    def __init__(self, num_envs: int = 1, max_episode_steps: int = 500, **options: Any) -> None:
        super().__init__(num_envs, max_episode_steps, **options)
        self.single_observation_space = _shown(self.single_observation_space, self.shown)
        self.observation_space = batch_space(self.single_observation_space, num_envs)


class PendulumNoVel(_Showing, PendulumEnv):
    """Cosine and sine of the angle; options of Gymnasium's `Pendulum-v1`."""

    shown: ClassVar[list[int]] = [0, 1]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.observation_space = _shown(self.observation_space, self.shown)
