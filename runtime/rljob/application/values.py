"""What the program passes to its agent, checked, and as it is stored; and actions as the program takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rljob.envs.declared import DeclaredSpaces
from rljob.envs.masks import allowed_text, forbidden
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space
from rljob.envs.values import LARGEST
from rljob.errors import InputError, RunError

_NUMBERS = "biuf"
_SAFE = 1e30
"""A sum of squares up to here has no number beyond `LARGEST`."""


class ValueReader:
    """Of one job.

    Args:
        declared: the job's spaces, and how they are stored.
    """

    def __init__(self, declared: DeclaredSpaces) -> None:
        self._declared = declared
        self.spaces = declared.spaces
        self._columns = declared.own.agents
        own = declared.own.observation
        self._own = own
        self._shape = _own_shape(own)
        self._dtype = own.environment_dtype or np.dtype(np.float32)
        if self._columns > 1:
            self._shape = (self._columns, *self._shape)
        self._single = self._columns == 1
        action = declared.own.action
        self._discrete = isinstance(action, DiscreteSpace) and self._single
        self._action = action
        self._mask_shape: tuple[int, ...] = (declared.own.mask_size,)
        if self._columns > 1:
            self._mask_shape = (self._columns, *self._mask_shape)
        starts = [0]
        if isinstance(action, MultiDiscreteSpace):
            starts = [0, *np.cumsum(action.nvec)[:-1].tolist()]
        self._starts = starts

    def observation(self, value: Any, what: str = "the observation") -> np.ndarray:
        """As stored: `[N, *shape]`.

        Raises:
            InputError: it is not in the job's space, or has a number that is not finite or too large.
        """
        array = value if type(value) is np.ndarray else _array(value, what)
        if array.shape != self._shape:
            raise InputError(
                f"{what} has the shape {list(array.shape)}, expected {list(self._shape)} of {self._own}"
            )
        if array.dtype != self._dtype:
            self._check_kind(array, what)
        flat = array.reshape(-1)
        # One call in the usual case. Integers are checked below, where they mean choices.
        if array.dtype.kind == "f" and not flat.dot(flat) <= _SAFE:
            self._check_numbers(flat, what)
        stored = self._declared.observed.from_environment(array[None] if self._single else array)
        if not isinstance(self.spaces.observation, BoxSpace):
            self._check_choices(stored, array, what)
        return stored

    def mask(self, value: Any, what: str = "the mask") -> np.ndarray | None:
        """Of the algorithm's actions, bool `[N, K]`; None where the job has no masks.

        Raises:
            InputError: there is none and has to be, or the reverse; it is no mask, or allows no action.
        """
        if self._declared.masked is None:
            if value is not None:
                raise InputError(
                    "the job's actions have no masks; set environment.spaces.mask: true in the job, or pass none"
                )
            return None
        if value is None:
            raise InputError(
                "needs mask=, as environment.spaces.mask is true: one 0 or 1 for each action of "
                f"{self._action}"
            )
        array = value if type(value) is np.ndarray else _array(value, what)
        if array.shape != self._mask_shape:
            raise InputError(
                f"{what} has the shape {list(array.shape)}, expected {list(self._mask_shape)}, one 0 or 1 for each "
                f"action of {self._action}"
            )
        if array.dtype != np.bool_:
            array = self._binary(array, what)
        rows = array.reshape(self._columns, -1)
        if len(self._starts) == 1:
            allows = rows.any() if self._single else rows.any(axis=1).all()
        else:
            allows = np.logical_or.reduceat(rows, self._starts, axis=1).all()
        if not allows:
            raise InputError(f"{what} allows no action of {self._action}")
        return self._declared.masked(rows)

    def reward(self, value: Any) -> np.ndarray | float:
        """One number, or one for each agent.

        Raises:
            InputError: it is neither, not finite, or beyond the limit.
        """
        if not isinstance(value, float):
            array = _array(value, "the reward")
            shapes = ((), (1,)) if self._single else ((), (self._columns,))
            if array.shape not in shapes or array.dtype.kind not in _NUMBERS:
                raise InputError(
                    f"the reward is {value!r:.80}, expected one number"
                    + ("" if self._single else f", or {self._columns}")
                )
            if array.size > 1:
                self._check_numbers(array.astype(np.float64), "the reward")
                return array.astype(np.float64)
            value = float(array.reshape(-1)[0])
        if not -LARGEST <= value <= LARGEST:
            raise InputError(f"the reward is {value}, expected a finite number up to {LARGEST:g}")
        return float(value)

    def info(self, told: Mapping[str, Any], names: tuple[str, ...]) -> list[float]:
        """The numbers of these names; NaN for one that is not told, or is no finite number.

        Raises:
            InputError: it has no names.
        """
        if not isinstance(told, Mapping):
            raise InputError(f"info is {told!r:.80}, expected numbers by their names")
        return [_number(told.get(name)) for name in names]

    def action(self, action: np.ndarray, mask: np.ndarray | None) -> Any:
        """As the program takes it: an int for a Discrete, an array for another space, `[agents, ...]` for several.

        Args:
            action: `[N, ...]` as stored.

        Raises:
            RunError: the algorithm chose one that the mask forbids.
        """
        if mask is not None and forbidden(self.spaces.action, mask, action).any():
            column = int(np.argmax(forbidden(self.spaces.action, mask, action)))
            raise RunError(
                f"the algorithm chose action {action[column]}, and the mask allows "
                f"{allowed_text(self.spaces.action, mask[column])}; its actor has to choose by `seen.mask`"
            )
        taken = self._declared.taken.to_environment(action)
        if self._discrete:
            return int(taken[0])
        if not self._single:
            return taken
        row = taken[0]
        return row.copy() if isinstance(row, np.ndarray) else row

    def _check_kind(self, array: np.ndarray, what: str) -> None:
        if array.dtype.kind in _NUMBERS and np.can_cast(array.dtype, self._dtype, "same_kind"):
            return
        # Python has one kind of integer, whatever the space counts in.
        if array.dtype.kind in "iu" and self._dtype.kind in "iu":
            ends = np.iinfo(self._dtype)
            if array.size and ends.min <= array.min() and array.max() <= ends.max:
                return
        raise InputError(f"{what} has the dtype {array.dtype}, expected {self._dtype}")

    def _check_numbers(self, flat: np.ndarray, what: str) -> None:
        wrong = np.flatnonzero(~(np.abs(flat) <= LARGEST))
        if len(wrong):
            raise InputError(
                f"{what} has {flat[wrong[0]]} as element {int(wrong[0])}, expected finite numbers up to {LARGEST:g}"
            )

    def _check_choices(self, stored: np.ndarray, array: np.ndarray, what: str) -> None:
        space = self.spaces.observation
        limit = space.n if isinstance(space, DiscreteSpace) else np.asarray(space.nvec)  # type: ignore[union-attr]
        if (stored < 0).any() or (stored >= limit).any():
            raise InputError(f"{what} is {array.tolist()!s:.80}, which is not in {self._own}")

    def _binary(self, array: np.ndarray, what: str) -> np.ndarray:
        if array.dtype.kind in _NUMBERS:
            found: np.ndarray = array != 0
            if (found == array).all():
                return found
        raise InputError(f"{what} holds other values than 0 and 1")


def _number(value: Any) -> float:
    try:
        number = float(value)
    except Exception:
        return math.nan
    return number if abs(number) <= LARGEST else math.nan


def _own_shape(space: Space) -> tuple[int, ...]:
    return space.environment_shape if isinstance(space, MultiDiscreteSpace) else space.shape


def _array(value: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except Exception as error:
        raise InputError(
            f"{what} is a {type(value).__name__} that makes no array: {error}"
        ) from None
    if array.dtype.kind not in _NUMBERS:
        raise InputError(f"{what} is {value!r:.80}, expected numbers")
    return array
