"""What goes into a policy and comes out of it, checked and converted: the environment's own observations and actions."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rljob.envs.conversion import convert_action, convert_mask, convert_observation
from rljob.envs.mask_space import ACTION_MASK, OBSERVATION
from rljob.envs.spaces import (
    BoxSpace,
    DiscreteSpace,
    MultiDiscreteSpace,
    Space,
    Spaces,
    encoded_size,
)
from rljob.errors import InputError

Observation = ArrayLike | Mapping[str, ArrayLike]
"""One observation, or a batch of them; a Dict with a mask has the keys `observation` and `action_mask`."""


class PolicyInterface:
    """The environment's side of a policy.

    Args:
        spaces: as the algorithm sees them.
        convert: the job's `environment.convert`; None where nothing is converted.

    Attributes:
        observation: the environment's own space.
        action: likewise.
        observed: how observations come from the environment.
        taken: how actions get to the environment.
        convert: what is converted, and how.
        mask_size: numbers in a mask of the environment's actions; 0 where they cannot have one.
    """

    def __init__(self, spaces: Spaces, convert: Mapping[str, Any] | None = None) -> None:
        own = spaces.unconverted or (spaces.observation, spaces.action)
        self.observation, self.action = own
        self.convert = {
            name: values for name, values in (convert or {}).items() if values is not None
        }
        self._chosen = spaces.action
        asked = {
            name: _section(values) if values is not None else None
            for name, values in (convert or {}).items()
        }
        _, self.observed = convert_observation(self.observation, asked.get(OBSERVATION))
        _, self.taken = convert_action(self.action, asked.get("action"))
        maskable = not isinstance(spaces.action, BoxSpace)
        self.mask_size = encoded_size(self.action) if maskable else 0
        self._convert_mask = convert_mask(self.taken) if maskable else None

    def observations(
        self, observation: Observation, mask: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray | None, bool]:
        """As stored.

        Args:
            mask: which actions are allowed, `[K]` or `[N, K]`; None allows all.

        Returns:
            Observations `[N, ...]`, mask bool `[N, K]` or None, and whether it was one observation alone.

        Raises:
            InputError: what is given is not what the space says.
        """
        if isinstance(observation, Mapping):
            observation, given = _split(observation)
            if mask is None:
                mask = given
        array, single = self._batch(observation)
        return self.observed.from_environment(array), self._mask(mask, len(array), single), single

    def actions(self, stored: np.ndarray, single: bool) -> np.ndarray:
        """The environment's own actions `[N, ...]`; one alone, `[...]`, for one observation."""
        actions = self.taken.to_environment(stored)
        found: np.ndarray = actions[0] if single else actions
        return found

    def _batch(self, observation: ArrayLike) -> tuple[np.ndarray, bool]:
        space, shape = self.observation, environment_shape(self.observation)
        try:
            array = np.asarray(observation)
        except ValueError as error:
            raise InputError(f"the observation is no array: {error}") from None
        single = array.shape == shape
        if not single and (array.shape[1:] != shape or not array.ndim or not len(array)):
            raise InputError(
                f"the observation has the shape {list(array.shape)}; {space} needs {list(shape)}, or "
                f"{['N', *shape]} for a batch".replace("'", "")
            )
        return _as_dtype(array[None] if single else array, space), single

    def _mask(self, mask: ArrayLike | None, rows: int, single: bool) -> np.ndarray | None:
        if mask is None:
            return None
        if not self.mask_size or self._convert_mask is None:
            raise InputError(f"mask: the actions {self.action} cannot have a mask; leave it out")
        try:
            array = np.asarray(mask)
        except ValueError as error:
            raise InputError(f"mask: is no array: {error}") from None
        wanted = (self.mask_size,) if single else (rows, self.mask_size)
        if (
            array.shape != wanted
            or array.dtype.kind not in "biu"
            or not np.isin(array, (0, 1)).all()
        ):
            raise InputError(
                f"mask: has the shape {list(array.shape)} and dtype {array.dtype}; {self.action} needs 0 or 1 in "
                f"{list(wanted)}"
            )
        array = self._convert_mask(array.reshape(rows, -1).astype(np.bool_))
        if not all(part.any(axis=1).all() for part in self._parts(array)):
            raise InputError("mask: allows no action; at least one must be allowed")
        return array

    def _parts(self, mask: np.ndarray) -> list[np.ndarray]:
        """The mask of each of the algorithm's choices, `[N, n]`."""
        if isinstance(self._chosen, MultiDiscreteSpace):
            return np.split(mask, np.cumsum(self._chosen.nvec)[:-1], axis=1)
        return [mask]


def environment_shape(space: Space) -> tuple[int, ...]:
    """Of one of the environment's own values."""
    return space.environment_shape if isinstance(space, MultiDiscreteSpace) else space.shape


def _section(values: Mapping[str, Any]) -> Any:
    """Settings of a conversion; what is not set is None."""
    names = ("to", "divisions", "low", "high")
    return SimpleNamespace(**{name: values.get(name) for name in names})


def _split(observation: Mapping[str, ArrayLike]) -> tuple[ArrayLike, ArrayLike | None]:
    known = {OBSERVATION, ACTION_MASK}
    if OBSERVATION not in observation or not observation.keys() <= known:
        keys = ", ".join(map(str, observation)) or "no keys"
        raise InputError(
            f"the observation has {keys}; a Dict needs {OBSERVATION}, and may have {ACTION_MASK}"
        )
    return observation[OBSERVATION], observation.get(ACTION_MASK)


def _as_dtype(array: np.ndarray, space: Space) -> np.ndarray:
    """The batch in the environment's dtype; InputError where that changes a value, or one is not in the space."""
    own: np.dtype[Any] | None = space.environment_dtype
    assert own is not None
    if array.dtype.kind not in "biuf":
        raise InputError(f"the observation has dtype {array.dtype}; {space} needs {own}")
    if own.kind in "biu" and array.dtype != own:
        with np.errstate(invalid="ignore"):
            whole = array.astype(own)
        if not np.array_equal(whole, array):
            raise InputError(
                f"the observation has numbers that {own} cannot hold; {space} needs {own}"
            )
        array = whole
    elif array.dtype != own:
        with np.errstate(over="ignore"):
            array = array.astype(own)
    if isinstance(space, BoxSpace):
        if own.kind == "f" and not np.isfinite(array).all():
            raise InputError("the observation has a number that is infinite or NaN")
        return array
    low, count = _choices(space)
    flat = array.reshape(len(array), -1).astype(np.int64, copy=False) - low
    if ((flat < 0) | (flat >= count)).any():
        raise InputError(f"the observation has a number that is not in {space}")
    return array


def _choices(space: DiscreteSpace | MultiDiscreteSpace) -> tuple[np.ndarray, np.ndarray]:
    """First value and number of values of each choice."""
    if isinstance(space, DiscreteSpace):
        return np.array([space.start]), np.array([space.n])
    return np.array(space.start), np.array(space.nvec)
