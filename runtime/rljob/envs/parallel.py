"""Environments of several agents that act at the same time, in the form of PettingZoo's `ParallelEnv`.

The form is found by its methods, so that an environment need not import PettingZoo. `state_space` and `state()` are
optional: of the whole environment, for the learner.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from rljob.envs import factory
from rljob.envs.forms import RESET, STEP, checked, parts, wrong_form
from rljob.envs.mask_readers import IgnoredMasks, MaskReaders
from rljob.envs.masks import ActionMasks, NoMasks
from rljob.envs.spaces import Spaces
from rljob.envs.stepping import PROBE_SEED, Arrays4, environment_shape, seeds
from rljob.envs.teams import column_name
from rljob.errors import InputError
from rljob.user_code.failure import rethrow

if TYPE_CHECKING:
    from rljob.envs.factory import Env


def declared(env: Any) -> tuple[Any, Any, int, Any]:
    """Of a parallel environment: observation and action space of each agent, how many agents there are, and the
    space of the state or None.

    Raises:
        InputError: with path `environment`, when the agents differ.
    """
    names = list(env.possible_agents)
    if not names:
        raise InputError("possible_agents is empty", path="environment")
    first = names[0]
    observation, action = env.observation_space(first), env.action_space(first)
    for name in names[1:]:
        for what, one, other in (
            ("observation", observation, env.observation_space(name)),
            ("action", action, env.action_space(name)),
        ):
            if one != other:
                raise InputError(
                    f"agent {first!r} has the {what} space {one}, agent {name!r} has {other}; all agents need the "
                    "same one, so pad the smaller",
                    path="environment",
                )
    return observation, action, len(names), getattr(env, "state_space", None)


class ParallelEnvs:
    """Parallel environments, stepped one after the other and reset on the step after an episode's end.

    Agent `j` of environment `i` is column `i * agents + j`, in the order of `possible_agents`. An episode ends with
    its last agent. What an agent that is over saw last stays, with reward 0.

    It is a `Stepper`, of as many columns as there are agents.

    Args:
        limit: steps after which an episode is truncated, for all agents that are left; None for none.

    Attributes:
        alive: bool `[N]`, which agents act in the next step. A new array after each step.
        state: `[N / agents, *shape]`, as stored; overwritten by the next step. None where there is none.
    """

    def __init__(
        self,
        envs: list[Env],
        spaces: Spaces,
        ignored: IgnoredMasks | None,
        limit: int | None,
    ) -> None:
        self._envs: list[Any] = list(envs)
        self._spaces, self._agents = spaces, spaces.agents
        self._names = [list(env.possible_agents) for env in self._envs]
        count = len(envs) * spaces.agents
        space = spaces.observation
        self._shape = environment_shape(space)
        self._observation = np.zeros((count, *self._shape), space.dtype)
        self._steps = 0
        none = NoMasks.of(spaces.action, pool=False, agents=spaces.agents)
        self._readers = MaskReaders(ignored, none)
        self._limit = limit
        self._lengths = np.zeros(len(envs), np.int64)
        self.alive = np.ones(count, np.bool_)
        self.state: np.ndarray | None = None
        self.keep_infos = False
        self.infos: list[Any] = [None] * count

    def find_masks(self) -> ActionMasks | None:
        return self._readers.find(len(self._observation), self._spaces, self._probe)

    def _probe(self) -> object:
        infos = self._reset(0, PROBE_SEED)[1]
        return infos.get(self._names[0][0]) if isinstance(infos, dict) else None

    def reset(self, seed: int | None) -> np.ndarray:
        self.alive = np.ones(len(self._observation), np.bool_)
        for index, each in enumerate(seeds(seed, len(self._envs))):
            self._begin(index, self._reset(index, each))
        self._settle(None)
        return self._observation

    def _reset(self, index: int, seed: int | None) -> Any:
        try:
            answer = self._envs[index].reset(seed=seed)
        except BaseException as error:
            rethrow(f"environment {index} raised at reset", error)
        return parts(answer, 2, f"environment {index}: reset", RESET, self._steps)

    def _begin(self, index: int, answer: Any) -> None:
        observations, infos = answer
        self._lengths[index] = 0
        for column in self._columns(index):
            self._see(column, observations, infos)

    def send(self, action: np.ndarray) -> None:
        self._action = action

    def receive(self) -> Arrays4:
        count = len(self._observation)
        reward = np.zeros(count, np.float32)
        terminated, truncated = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        alive = self.alive.copy()
        for index in range(len(self._envs)):
            acting = [column for column in self._columns(index) if self.alive[column]]
            if not acting:
                self._begin(index, self._reset(index, None))
                alive[self._columns(index)] = True
                continue
            observations, rewards, ends, cuts, infos = self._step(index, acting)
            self._lengths[index] += 1
            late = self._limit is not None and self._lengths[index] >= self._limit
            if self.keep_infos:
                self.infos[index * self._agents : (index + 1) * self._agents] = self._of_agents(
                    index, infos
                )
            for column in acting:
                self._see(column, observations, infos)
                reward[column] = self._number(column, rewards)
                terminated[column] = self._flag(column, "terminated", ends)
                truncated[column] = self._flag(column, "truncated", cuts) or late
        self.alive = alive & ~(terminated | truncated)
        self._settle(~self.alive)
        self._steps += 1
        return self._observation, reward, terminated, truncated

    def agents_of_each(self) -> Iterator[tuple[list[Any], list[Any], list[Any]]]:
        """Of each environment that lists its agents: those that it lists, all possible ones, those that act next."""
        for index, env in enumerate(self._envs):
            try:
                listed = list(env.agents)
            except AttributeError:
                continue
            except BaseException as error:
                rethrow(f"environment {index} raised in agents at step {self._steps}", error)
            acting = [self._name(column) for column in self._columns(index) if self.alive[column]]
            yield listed, self._names[index], acting

    def close(self) -> None:
        factory.close(self._envs)

    def _columns(self, index: int) -> range:
        return range(index * self._agents, (index + 1) * self._agents)

    def _of_agents(self, index: int, infos: Any) -> list[Any]:
        """Of each agent of an environment; None for one that is over."""
        known = infos if isinstance(infos, dict) else {}
        return [known.get(name) for name in self._names[index]]

    def _step(self, index: int, acting: list[int]) -> Any:
        actions = {self._name(column): self._action[column] for column in acting}
        try:
            answer = self._envs[index].step(actions)
        except BaseException as error:
            rethrow(f"environment {index} raised at step {self._steps}", error)
        return parts(answer, 5, f"environment {index}: step", STEP, self._steps)

    def _name(self, column: int) -> Any:
        index, agent = divmod(column, self._agents)
        return self._names[index][agent]

    def _settle(self, ended: np.ndarray | None) -> None:
        """Check masks, and ask for the states.

        Args:
            ended: bool `[N]`, of whom no action follows; None after a reset.
        """
        self._readers.settle(ended, self._steps)
        if self._spaces.state is not None:
            self.state = self._spaces.state.from_environment(self._states())

    def _states(self) -> np.ndarray:
        space = self._spaces.state
        assert space is not None
        rows = []
        for index, env in enumerate(self._envs):
            try:
                value = env.state()
            except BaseException as error:
                rethrow(f"environment {index} raised in state at step {self._steps}", error)
            what = f"environment {index} returned a state"
            rows.append(checked(value, environment_shape(space), space.dtype, what, self._steps))
        return np.stack(rows)

    def _see(self, column: int, observations: Any, infos: Any) -> None:
        observation = self._of(column, "observation", observations)
        info = infos.get(self._name(column)) if isinstance(infos, dict) else None
        observation = self._readers.at_reset.read(column, observation, info, self._steps)
        what = f"{self._who(column)} got an observation"
        self._observation[column] = checked(
            observation, self._shape, self._observation.dtype, what, self._steps
        )

    def _of(self, column: int, field: str, values: Any) -> Any:
        """What a dict holds for an agent."""
        name = self._name(column)
        if not isinstance(values, dict) or name not in values:
            what = f"{self._who(column)} got no {field}: expected a dict with the key {name!r}"
            raise wrong_form(what, self._steps)
        return values[name]

    def _number(self, column: int, values: Any) -> float:
        value = self._of(column, "reward", values)
        try:
            if np.ndim(value) == 0 and not isinstance(value, str):
                return float(value)
        except (TypeError, ValueError):
            pass
        what = f"{self._who(column)} got the reward {value!r}, expected one number"
        raise wrong_form(what, self._steps)

    def _flag(self, column: int, field: str, values: Any) -> bool:
        value = self._of(column, field, values)
        if np.ndim(value) or value not in (0, 1):
            what = f"{self._who(column)} got {field} {value!r}, expected True or False"
            raise wrong_form(what, self._steps)
        return bool(value)

    def _who(self, column: int) -> str:
        return f"{column_name(column, self._agents)} ({self._name(column)!r})"
