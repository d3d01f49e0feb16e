"""Action masks: what environments tell of the actions that they allow next, checked and kept as one array.

An environment gives a mask with every observation, or never: as `info["action_mask"]`, or as that key of a Dict
observation (see `mask_space`). It has one 0 or 1 for each action; that of a MultiDiscrete is flat, or a tuple of
one array for each choice, as `gymnasium.spaces.MultiDiscrete.sample` takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from rljob.envs.forms import wrong_form
from rljob.envs.mask_space import ACTION_MASK, OBSERVATION
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, unmaskable
from rljob.envs.teams import column_name

GIVEN = f"_{ACTION_MASK}"
"""Key of a vector environment's info that says which environments gave a mask."""
_NUMBERS = frozenset("biuf")
_MISSING = object()


def told(info: object) -> bool:
    """Whether an info holds a mask."""
    return isinstance(info, dict) and ACTION_MASK in info


def forbidden(space: Space, mask: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Which environments, bool `[N]`, do not allow these actions, `[N]` or `[N, k]` as stored.

    Args:
        mask: bool `[N, K]`.
    """
    choices, starts = _choices(space)
    taken = action.reshape(len(mask), -1).astype(np.int64, copy=False)
    inside = (taken >= 0) & (taken < choices)
    places = np.where(inside, taken, 0) + starts
    allowed = inside & np.take_along_axis(mask, places, axis=1)
    wrong: np.ndarray = np.any(~allowed, axis=1)
    return wrong


def allowed_text(space: Space, mask: np.ndarray) -> str:
    """The actions that a mask, bool `[K]`, allows, in words."""
    choices, starts = _choices(space)
    each = [
        np.flatnonzero(mask[start : start + n]).tolist()
        for start, n in zip(starts, choices, strict=True)
    ]
    return str(each if space.shape else each[0])


def _choices(space: Space) -> tuple[tuple[int, ...], np.ndarray]:
    """Numbers of each choice, and where those of each begin in a mask."""
    assert not isinstance(space, BoxSpace)
    choices = space.nvec if isinstance(space, MultiDiscreteSpace) else (space.n,)
    return choices, np.cumsum((0, *choices[:-1]))


class ActionMasks:
    """The masks of `N` environments.

    Args:
        count: `N`.
        action: of one environment, or agent.
        observed: whether masks are part of the observation; otherwise of the info.
        agents: columns that are one environment, for messages.

    Attributes:
        array: bool `[N, K]`, which actions the next step may take. The next step overwrites it.
    """

    def __init__(
        self,
        count: int,
        action: DiscreteSpace | MultiDiscreteSpace,
        observed: bool,
        agents: int = 1,
    ) -> None:
        self._action, self._observed, self._agents = action, observed, agents
        self._choices, self._starts = _choices(action)
        self._shape = (sum(self._choices),)
        self._problems: dict[int, str] = {}
        self.array = np.ones((count, *self._shape), np.bool_)

    def read(self, index: int, observation: Any, info: Any, steps: int) -> Any:
        """Take the mask of environment `index`; returns its observation without it."""
        if not self._observed:
            self._keep(index, info[ACTION_MASK] if told(info) else _MISSING)
            return observation
        if type(observation) is not dict or OBSERVATION not in observation:
            who = column_name(index, self._agents)
            observation = opened(f"{who} returned", observation, steps)
        self._keep(index, observation.get(ACTION_MASK, _MISSING))
        return observation[OBSERVATION]

    def read_all(self, observation: Any, info: Any, steps: int) -> Any:
        """Take the masks of a vector environment; returns its observations without them."""
        given: Any = None
        if self._observed:
            observation = opened("the environments returned", observation, steps)
            values = observation.get(ACTION_MASK, _MISSING)
            observation = observation[OBSERVATION]
        else:
            values = info[ACTION_MASK] if told(info) else _MISSING
            given = info.get(GIVEN) if values is not _MISSING else None
        every = given is None or bool(np.all(given))
        if (
            every
            and type(values) is np.ndarray
            and values.shape == self.array.shape
            and values.dtype.kind in _NUMBERS
        ):
            np.not_equal(values, 0, out=self.array)
            if (self.array == values).all():
                return observation
        for index in range(len(self.array)):
            here = every or bool(given[index])
            self._keep(index, _row(values, index) if here else _MISSING)
        return observation

    def settle(self, ended: np.ndarray | None, steps: int) -> None:
        """Check what was read. Where an episode ended no action follows, so anything goes and counts as all allowed.

        Args:
            ended: bool `[N]`; None after a reset.

        Raises:
            InputError, RunError: a mask is missing, has another form, or allows no action.
        """
        some = np.logical_or.reduceat(self.array, self._starts, axis=1).all(axis=1)
        if not self._problems and some.all():
            return
        where = "at reset" if ended is None else f"at step {steps}"
        problems, self._problems = self._problems, {}
        for index in np.flatnonzero(~some).tolist():
            problems[index] = f"an action mask that allows no action of {self._action}"
        for index in sorted(problems):
            if ended is None or not ended[index]:
                who = column_name(index, self._agents)
                raise wrong_form(f"{who} gave {where} {problems[index]}", steps)
            self.array[index] = True

    def _keep(self, index: int, value: Any) -> None:
        if isinstance(value, tuple) and isinstance(self._action, MultiDiscreteSpace):
            value = self._joined(value)
        if type(value) is not np.ndarray or value.shape != self._shape:
            value = self._conform(index, value)
        row = self.array[index]
        if value.dtype.kind not in _NUMBERS:
            self._problems[index] = f"an action mask of dtype {value.dtype}, expected 0 or 1"
            row[:] = True
            return
        np.not_equal(value, 0, out=row)
        odd = row != value
        if odd.any():
            number = value[odd][0]
            self._problems[index] = f"an action mask that holds {number}, expected 0 or 1"

    def _conform(self, index: int, value: Any) -> np.ndarray:
        """The flat array that a value stands for; one that allows all where there is none."""
        expected = f"expected {self._shape}, one 0 or 1 for each action of {self._action}"
        try:
            if value is _MISSING or value is None:
                raise LookupError
            array = np.asarray(value)
        except LookupError:
            place = "the observation" if self._observed else "info"
            where = f"{place}[{ACTION_MASK!r}]"
            self._problems[index] = f"no action mask; every reset and step has to give {where}"
        except Exception:
            kind = type(value).__name__
            self._problems[index] = f"a {kind} as action mask, {expected}"
        else:
            if array.shape == self._shape:
                return array
            self._problems[index] = f"an action mask of shape {array.shape}, {expected}"
        return np.ones(self._shape, np.bool_)

    def _joined(self, value: tuple[Any, ...]) -> Any:
        """One flat array of a mask that has an array for each choice; otherwise the value itself."""
        each = [np.asarray(part) for part in _leaves(value)]
        fits = [part.shape for part in each] == [(n,) for n in self._choices]
        return np.concatenate(each) if fits else value


class NoMasks:
    """Refuses the masks of environments that cannot have any, or gave none at their first reset.

    Args:
        why: what to say.
        agents: columns that are one environment, for messages.
    """

    def __init__(self, why: str, agents: int = 1) -> None:
        self._why, self._agents = why, agents

    @classmethod
    def of(cls, action: Space, pool: bool, agents: int = 1) -> NoMasks:
        """For environments without masks.

        Args:
            pool: whether they step by themselves; infos of such are not looked at before the first reset.
        """
        if isinstance(action, BoxSpace):
            return cls(unmaskable(action), agents)
        if pool:
            return cls("environments with send and recv can give one by a Dict observation only")
        return cls("there was none at the first reset; give one at every reset and step", agents)

    def read(self, index: int, observation: Any, info: Any, steps: int) -> Any:
        """Returns the observation.

        Raises:
            InputError, RunError: there is a mask.
        """
        if told(info):
            self._refuse(column_name(index, self._agents), steps)
        return observation

    def read_all(self, observation: Any, info: Any, steps: int) -> Any:
        """See `read`."""
        if told(info):
            self._refuse("the environments", steps)
        return observation

    def _refuse(self, who: str, steps: int) -> NoReturn:
        text = f"{who} gave info[{ACTION_MASK!r}] after {steps} steps: {self._why}"
        raise wrong_form(text, steps)


def opened(who: str, observation: Any, steps: int) -> Mapping[str, Any]:
    """An observation that holds a mask.

    Raises:
        InputError, RunError: it has another form.
    """
    if isinstance(observation, Mapping) and OBSERVATION in observation:
        return observation
    kind = type(observation).__name__
    raise wrong_form(f"{who} a {kind} without the key {OBSERVATION!r} as observation", steps)


def _row(values: Any, index: int) -> Any:
    """What a vector environment's masks hold for one environment; a tuple has an array for each choice."""
    if values is _MISSING:
        return values
    try:
        if isinstance(values, tuple):
            return tuple(part[index] for part in values)
        return values[index]
    except (TypeError, LookupError):
        return values


def _leaves(value: Any) -> list[Any]:
    """The arrays in tuples of tuples, in order."""
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]
