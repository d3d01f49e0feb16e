"""Environments of several doors that raise where a closed one is taken, and tell which are open in every way."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

DOORS = 4
LENGTH = 10


class Doors(gymnasium.Env[Any, Any]):
    """A reward of 1 for the first open door; ten steps. At the end every door is closed.

    Args:
        form: where the mask is: `info` or `dict`.
        nvec: doors of each wall, for MultiDiscrete actions: only the first wall counts. One wall otherwise.
        fault: what goes wrong, at the step `at` of each episode; 0 is the reset. With `late`, there is no mask
            before; with `second`, none in the first episode, and no door is ever closed; with `open` only that.
    """

    action_space: Any
    observation_space: Any

    def __init__(
        self,
        form: str = "info",
        nvec: tuple[int, ...] = (),
        fault: str = "",
        at: int = 1,
    ) -> None:
        self.form, self.nvec, self.fault, self.at = form, tuple(nvec), fault, at
        self.action_space = (
            spaces.MultiDiscrete(list(self.nvec)) if nvec else spaces.Discrete(DOORS, start=3)
        )
        self.walls = self.nvec or (DOORS,)
        self.observation_space = spaces.Discrete(1)
        if form == "dict":
            mask = spaces.MultiBinary(sum(self.walls))
            self.observation_space = spaces.Dict(
                {"observation": spaces.Discrete(1), "action_mask": mask}
            )
        self.episode = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.now, self.episode = 0, 0 if seed is not None else self.episode + 1
        return self._seen()

    def step(self, action: Any) -> Any:
        choices = [int(each) for each in action] if self.nvec else [int(action) - 3]
        for choice, wall in zip(choices, self.open, strict=True):
            if not wall[choice]:
                raise ValueError(f"door {choice} is closed")
        reward = float(choices[0] == int(self.open[0].argmax()))
        self.now += 1
        observation, info = self._seen()
        return observation, reward, self.now == LENGTH, False, info

    def _seen(self) -> Any:
        self.open = [self.np_random.random(n) < 0.4 for n in self.walls]
        for wall in self.open:
            wall[self.np_random.integers(len(wall))] = True
            wall &= self.now < LENGTH
            wall |= self.fault in ("second", "open")
        mask = self._shown(np.concatenate(self.open))
        if self.form == "dict":
            return {"observation": 0, **({} if mask is None else {"action_mask": mask})}, {}
        return 0, {} if mask is None else {"action_mask": mask}

    def _shown(self, mask: np.ndarray) -> Any:
        fault = self.fault if self.now == self.at else ""
        if self.fault == "late":
            return mask if self.now >= self.at else None
        if self.fault == "second":
            return mask if self.episode else None
        if fault == "none":
            return None
        if fault == "shape":
            return mask[:-1]
        if fault == "dtype":
            return mask.astype(str)
        if fault == "value":
            return mask * 2
        if fault == "nan":
            return np.where(mask, np.nan, 0)
        if fault == "closed":
            return mask & False
        if self.form == "tuple":
            return tuple(each.astype(np.int8) for each in self.open)
        return {"list": mask.tolist(), "float": mask.astype(np.float32)}.get(
            self.form, mask.astype(np.int8)
        )


class Steered(Doors):
    """With a mask for actions that cannot have one."""

    def __init__(self, form: str = "info") -> None:
        super().__init__(form)
        self.action_space = spaces.Box(-1, 1, (2,))


def several(num_envs: int, **kwargs: Any) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """The vector form."""
    return gymnasium.vector.SyncVectorEnv(
        [lambda: Doors(**kwargs)] * num_envs, autoreset_mode="NextStep"
    )
