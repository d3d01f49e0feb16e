"""Several environments stepped as one, with what is exact about their episodes.

Environments reset on the step *after* an episode's end: that step ignores the action, returns the
first observation of the next episode with reward 0, and must not be trained on (`valid` is False).
So the observation after any other step is the true successor, the final one of an episode included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rljob.envs import factory, parallel
from rljob.envs.conversion import convert_action, convert_mask, convert_observation
from rljob.envs.declared import check_same, declared_spaces, with_bounds_of
from rljob.envs.games import Games
from rljob.envs.info_numbers import InfoNumbers
from rljob.envs.mask_readers import IgnoredMasks
from rljob.envs.mask_space import is_split
from rljob.envs.masks import ActionMasks, allowed_text, forbidden
from rljob.envs.parallel import ParallelEnvs
from rljob.envs.spaces import Spaces
from rljob.envs.stepping import stepper
from rljob.envs.teams import column_name, of_teams
from rljob.errors import AskedToEnd, InputError, RunError
from rljob.spec import ConversionSpec
from rljob.user_code.failure import explain

if TYPE_CHECKING:
    from rljob.spec import EnvironmentSpec


@dataclass(slots=True)
class Step:
    """What one step of `N` environments, or agents, gave. The arrays may be overwritten by the next step.

    Attributes:
        observation: `[N, *shape]`, as stored.
        reward: float32 `[N]`.
        terminated: bool `[N]`, the episode came to an end of its own; its future is worth 0.
        truncated: bool `[N]`, the episode was cut off, for example by a time limit.
        ended: bool `[N]`, terminated or truncated.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    ended: np.ndarray


class Environments:
    """`count` environments of one kind in this process, stepped together.

    The environment's own vector form is used where it has one, else they are stepped in turn. Of an environment of
    several agents, each agent is one of the `N`; those of one environment are beside each other.

    Args:
        spec: which environment, and what it is made with.
        count: environments.
        pictures: whether `picture` is wanted; of one environment only.
        info: whether the numbers of `environment.info` are wanted. They are kept until they are taken.

    Attributes:
        count: `N`, environments times agents.
        valid: bool `[N]`, False where the *next* step only resets, and for an agent that is over while others of its
            environment go on. A new array after each step.
        mask: bool `[N, K]`, which actions the next step may take; overwritten by it. None before the first
            reset, and where the environments do not tell.
        vectorised: whether the environment's own vector form is used.
        info: the numbers of `environment.info` at the ends of episodes; None where they are not wanted, or the job names
            none.
        games: for copies of them; None for a vector form, and where there are several agents.

    Raises:
        InputError: with a path at or below `environment`, when they cannot be made or used.
    """

    def __init__(
        self, spec: EnvironmentSpec, count: int, pictures: bool = False, info: bool = False
    ) -> None:
        if count < 1:
            raise InputError(f"{count} environments; at least 1 is needed", path="environment")
        assert count == 1 or not pictures
        made = [factory.make_rendered(spec)] if pictures else factory.make(spec, count)
        self._rendered = made[0] if pictures and isinstance(made, list) else None
        self.vectorised = not isinstance(made, list)
        several = isinstance(made, list) and factory.is_parallel(made[0])
        self.games = Games(made) if isinstance(made, list) and not several else None
        self._parallel: ParallelEnvs | None = None
        try:
            agents, state = 1, None
            if isinstance(made, list) and several:
                seen, taken, agents, state = parallel.declared(made[0])
            elif isinstance(made, list):
                seen, taken = made[0].observation_space, made[0].action_space
            else:
                seen, taken = made.single_observation_space, made.single_action_space
            own = Spaces.from_gymnasium(seen, taken, spec.masks is not False, agents, state)
            ignored = IgnoredMasks(is_split(seen), agents) if spec.masks is False else None
            asked = spec.convert or ConversionSpec()
            self._declared, self._label = declared_spaces(spec), spec.label
            observed = own.observation
            if self._declared is not None:
                observed = with_bounds_of(observed, self._declared.own.observation)
            observation, self._observed = convert_observation(observed, asked.observation)
            action, self._taken = convert_action(own.action, asked.action)
            same = (observation, action) == (own.observation, own.action)
            unconverted = None if same else (own.observation, own.action)
            self._spaces = replace(
                own, observation=observation, action=action, unconverted=unconverted
            )
            self._own_spaces = own
            if isinstance(made, list) and several:
                self._parallel = ParallelEnvs(made, own, ignored, spec.max_episode_steps)
            self._stepper = self._parallel or stepper(made, own, ignored)
        except BaseException:
            factory.close(made)
            raise
        self.count = count * own.agents
        self.info = InfoNumbers(spec.info, own.agents) if info and spec.info else None
        self._stepper.keep_infos = self.info is not None
        self.valid = np.ones(self.count, np.bool_)
        self.mask: np.ndarray | None = None

    @cached_property
    def spaces(self) -> Spaces:
        """Those of one environment or agent, as the algorithm sees them. The first use resets the first environment, to
        see whether it gives action masks. Where the job states the spaces of its applications, they are the stated ones.

        Raises:
            InputError: with a path at or below `environment`, when masks cannot be used, or the job states other spaces.
            RunError: it raised.
        """
        if self._declared is not None:
            check_same(self._declared.own, self.own_spaces, self._label)
            return self._declared.spaces
        return replace(self._spaces, masked=self._masks is not None)

    @cached_property
    def own_spaces(self) -> Spaces:
        """Like `spaces`, before `environment.convert`."""
        return replace(self._own_spaces, masked=self._masks is not None)

    @cached_property
    def _masks(self) -> ActionMasks | None:
        masks = self._stepper.find_masks()
        if masks is not None:
            self._convert_mask = convert_mask(self._taken)
        return masks

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Start new episodes in all environments.

        Args:
            seed: of all randomness in the environments; each gets its own, independent of those
                that another seed gives. None takes fresh entropy.

        Returns:
            Observation `[N, *shape]`, as stored; may be overwritten by the next step.

        Raises:
            RunError: an environment raised, or returned something else than its spaces say.
        """
        masks = self._masks
        observation = self._stepper.reset(seed)
        if masks is not None:
            self.mask = self._convert_mask(masks.array)
        self.valid = np.ones(self.count, np.bool_)
        return self._observed.from_environment(observation)

    def step(self, action: np.ndarray) -> Step:
        """One step of each environment: `send` and `receive` in one."""
        self.send(action)
        return self.receive()

    def send(self, action: np.ndarray) -> None:
        """Begin one step of each environment; those that are not `valid` reset instead.

        Args:
            action: `[N, ...]`, as stored.

        Raises:
            RunError: an environment raised, or an action is not allowed.
        """
        if self.mask is not None:
            self._check(self.mask, action)
        self._stepper.send(self._taken.to_environment(action))

    def _check(self, mask: np.ndarray, action: np.ndarray) -> None:
        space = self.spaces.action
        if np.shape(action) != (self.count, *space.shape):
            return
        wrong = np.flatnonzero(forbidden(space, mask, action) & self.valid)
        if len(wrong):
            index = int(wrong[0])
            raise RunError(
                f"the algorithm chose action {action[index]} in {column_name(index, self.spaces.agents)}, whose mask allows "
                f"{allowed_text(space, mask[index])}; actions are counted from 0. Its actor has to choose by "
                "`seen.mask`"
            )

    def receive(self) -> Step:
        """What the step gave that was begun.

        Raises:
            RunError: an environment raised, or returned something else than its spaces say.
        """
        observation, reward, terminated, truncated = self._stepper.receive()
        if self.mask is not None and self._masks is not None:
            self.mask = self._convert_mask(self._masks.array)
        ended = terminated | truncated
        if self.info is not None:
            _, over, some = of_teams(reward, ended, self.valid, self._own_spaces.agents)
            self.info.read(self._stepper.infos, over & some)
        self.valid = ~ended if self._parallel is None else self._parallel.alive
        observation = self._observed.from_environment(observation)
        return Step(observation, reward, terminated, truncated, ended)

    @property
    def state(self) -> np.ndarray | None:
        """Of each whole environment, as stored, `[N / agents, *shape]`; overwritten by the next step. None where they
        tell none."""
        return None if self._parallel is None else self._parallel.state

    def agents_of_each(self) -> Iterator[tuple[list[Any], list[Any], list[Any]]]:
        """See `ParallelEnvs.agents_of_each`; nothing where there are no parallel environments."""
        return iter(()) if self._parallel is None else self._parallel.agents_of_each()

    def picture(self) -> np.ndarray:
        """What it looks like now: uint8 `[height, width, 3]`, red, green and blue.

        Raises:
            InputError: with path `environment`, when it gives none.
        """
        assert self._rendered is not None
        try:
            frame: Any = self._rendered.render()
        except AskedToEnd:
            raise
        except BaseException as error:
            message = f"cannot be recorded: render raised {explain(error)}"
            raise InputError(message, path="environment") from error
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3:
            what = f"shape {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            message = f"cannot be recorded: render returned {what}, expected an array [H, W, 3]"
            raise InputError(message, path="environment")
        return frame.astype(np.uint8, copy=False)

    @property
    def pictures_per_second(self) -> float:
        """Frame rate from the environment's metadata; 30 by default."""
        assert self._rendered is not None
        told = self._rendered.metadata.get("render_fps")
        return float(told) if isinstance(told, int | float) and 0 < told <= 240 else 30.0

    def close(self) -> None:
        """Release what the environments hold; may be called more than once."""
        self._stepper.close()
