"""What a check says of parallel environments whose `agents` differs from what `step` returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rljob.envs.vector import Environments
from rljob.plan.listed_agents import ListedAgents
from rljob.spec.sections import EnvironmentSpec


class Pair:
    """Two agents for three steps; `agents` goes wrong in the second."""

    metadata: dict[str, Any] = {}  # noqa: RUF012
    possible_agents = ["a", "b"]  # noqa: RUF012

    def __init__(self, wrong: str) -> None:
        self.wrong = wrong
        if wrong != "none":
            self.agents: Any = []

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0, 1, (1,), np.float32)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.now = 0
        self._list(["a", "b"])
        return self._all(np.zeros(1, np.float32)), self._all({})

    def step(self, actions: Any) -> Any:
        self.now += 1
        over = self.now == 3
        self._list([] if over else ["a", "b"])
        if self.now == 2:
            self._list({"gone": ["a"], "unknown": ["a", "b", "c"]}.get(self.wrong, ["a", "b"]))
        values = (self._all(np.zeros(1, np.float32)), self._all(1.0), self._all(over))
        return *values, self._all(False), self._all({})

    def _list(self, names: list[str]) -> None:
        if self.wrong != "none":
            self.agents = names

    def _all(self, value: Any) -> dict[str, Any]:
        return dict.fromkeys(self.possible_agents, value)

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("gone", "agent 'b' is no longer in agents, and neither terminations nor truncations"),
        (
            "unknown",
            "agent 'c' is in agents and not in possible_agents: it is never given an action",
        ),
        ("", None),
        ("none", None),
    ],
)
def test_each_kind_is_told_once(wrong: str, words: str | None) -> None:
    made = EnvironmentSpec(entry_point=f"{__name__}:Pair", kwargs={"wrong": wrong})
    environments = Environments(made, 2)
    listed = ListedAgents(environments)
    environments.reset(0)
    for _ in range(8):
        environments.step(np.zeros(4, np.int64))
        listed.look()
    environments.close()
    assert len(listed.found) == (words is not None)
    assert words is None or words in listed.found[0]


def test_other_environments_have_no_agents() -> None:
    environments = Environments(EnvironmentSpec(id="CartPole-v1"), 1)
    listed = ListedAgents(environments)
    environments.reset(0)
    listed.look()
    environments.close()
    assert listed.found == []
