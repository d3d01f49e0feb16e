"""Environments of several agents whose lives have different lengths, with whatever can be wrong with them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

LIVES = (2, 4, 3)
"""Steps after which each agent is over; the last of them is cut off."""


class Crew:
    """An agent sees its number, the episode and the step; action 1 is never allowed at odd steps.

    The reward is the agent's number plus one.

    Args:
        lives: steps of each agent.
        masks: whether they are told, by `info` or `dict`.
        fault: what goes wrong, in the step `at` of each episode; 0 is the reset.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_fps": 10}

    def __init__(
        self,
        lives: tuple[int, ...] = LIVES,
        masks: str = "",
        fault: str = "",
        at: int = 1,
        state: bool = True,
        render_mode: str | None = None,
    ) -> None:
        self.lives, self.masks, self.fault, self.at = tuple(lives), masks, fault, at
        self.render_mode = render_mode
        self.possible_agents = [f"agent_{number}" for number in range(len(self.lives))]
        if state:
            self.state_space = spaces.Box(-1000, 1000, (2,), np.float64)
        self.episode = 0

    def observation_space(self, agent: str) -> Any:
        size = 4 if self.fault == "sizes" and agent == "agent_1" else 3
        box = spaces.Box(-1000, 1000, (size,), np.float64)
        if self.masks != "dict":
            return box
        return spaces.Dict({"observation": box, "action_mask": spaces.MultiBinary(2)})

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self.now = list(self.possible_agents), 0
        self.episode = 0 if seed is not None else self.episode + 1
        return self._seen(self.agents)

    def step(self, actions: dict[str, Any]) -> Any:
        assert list(actions) == self.agents, "of those that are left, and of no others"
        if self.masks:
            assert not (self.now % 2 and any(actions.values())), "not allowed"
        self.now += 1
        acted = self.agents
        over = {name: self._life(name) <= self.now for name in acted}
        last = len(self.lives) - 1
        ends = {name: gone and self._number(name) != last for name, gone in over.items()}
        cuts = {name: gone and self._number(name) == last for name, gone in over.items()}
        rewards: Any = {name: self._number(name) + 1.0 for name in acted}
        self.agents = [name for name in acted if not over[name]]
        observations, infos = self._seen(acted)
        if self.now == self.at:
            match self.fault:
                case "missing":
                    del rewards["agent_0"]
                case "reward":
                    rewards["agent_0"] = None
                case "flag":
                    ends["agent_1"] = "no"
                case "list":
                    rewards = list(rewards.values())
                case "raise":
                    raise OSError("lost at sea")
        return observations, rewards, ends, cuts, infos

    def state(self) -> Any:
        if self.fault == "state" and self.now == self.at:
            return np.zeros(3)
        return np.array([self.episode, self.now], np.float64)

    def render(self) -> np.ndarray:
        return np.full((40, 60, 3), 10 * self.now, np.uint8)

    def close(self) -> None:
        pass

    def _number(self, name: str) -> int:
        return self.possible_agents.index(name)

    def _life(self, name: str) -> int:
        return self.lives[self._number(name)]

    def _seen(self, names: list[str]) -> Any:
        observations: dict[str, Any] = {}
        infos: dict[str, Any] = {}
        for name in names:
            seen: Any = np.array([self._number(name), self.episode, self.now], np.float64)
            if self.fault == "shape" and self.now == self.at:
                seen = seen[:2]
            mask = np.array([1, self.now % 2 == 0], np.int8)
            if self.fault == "mask" and self.now == self.at:
                mask[:] = 0
            infos[name] = {"action_mask": mask} if self.masks == "info" else {}
            given = {"observation": seen, "action_mask": mask}
            observations[name] = given if self.masks == "dict" else seen
        return observations, infos


class TurnTaking(Crew):
    """Of PettingZoo's other form."""

    def last(self) -> None:
        pass


def different() -> Any:
    """Not the same agents in every environment."""
    different.count = getattr(different, "count", 1) + 1  # type: ignore[attr-defined]
    return Crew(lives=(2,) * different.count)  # type: ignore[attr-defined]


def declares_a_space(lives: tuple[int, ...] = LIVES) -> Any:
    """One whose `observation_space` is no method."""
    env: Any = Crew(lives)
    env.observation_space = env.observation_space("agent_0")
    return env


def has_no_state(lives: tuple[int, ...] = LIVES) -> Any:
    """One with a `state_space` and no `state()`."""
    env: Any = Crew(lives)
    env.state = None
    return env
