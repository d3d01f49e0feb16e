"""An environment's spaces in the form that an algorithm takes: continuous as discrete, and the reverse.

A conversion stands where the environment's own space would: `from_environment` for observations,
`to_environment` for actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from rljob.envs.spaces import (
    MOST_CHOICES,
    BoxSpace,
    DiscreteSpace,
    MultiDiscreteSpace,
    Space,
)
from rljob.errors import InputError, RunError

if TYPE_CHECKING:
    from rljob.spec import ActionConversionSpec, ObservationConversionSpec

Number = TypeVar("Number", int, float)

MOST_ACTIONS = 4096
"""Choices of an action that stands for several; a network has an output for each."""


class ToEnvironment(Protocol):
    """How actions get to the environment: a conversion, or the space itself."""

    def to_environment(self, value: np.ndarray) -> np.ndarray:
        """Stored actions `[N, ...]` as the environment takes them."""
        ...


class FromEnvironment(Protocol):
    """How observations come from the environment: a conversion, or the space itself."""

    def from_environment(self, value: np.ndarray) -> np.ndarray:
        """The environment's observations `[N, ...]` as they are stored."""
        ...


def convert_observation(
    space: Space, spec: ObservationConversionSpec | None
) -> tuple[Space, FromEnvironment]:
    """The space that the algorithm sees, and how observations get into it.

    Raises:
        InputError: with a path below `environment.convert.observation`, when `space` cannot be converted like that.
    """
    if spec is None:
        return space, space
    path = "environment.convert.observation"
    if isinstance(space, BoxSpace):
        divided = _divide(space, spec.divisions, path, spec.low, spec.high)
        bins = Bins(*divided)
        return _discrete(bins.counts, MOST_CHOICES, path), bins
    for name in ("divisions", "low", "high"):
        if getattr(spec, name) is not None:
            raise InputError(f"is for a Box; the space is {space}", path=f"{path}.{name}")
    if isinstance(space, DiscreteSpace):
        return space, space
    return _discrete(space.nvec, MOST_CHOICES, path), JointChoice(space)


def convert_action(space: Space, spec: ActionConversionSpec | None) -> tuple[Space, ToEnvironment]:
    """The space that the algorithm acts in, and how its actions become the environment's.

    Raises:
        InputError: with a path below `environment.convert.action`, when `space` cannot be converted like that.
    """
    if spec is None:
        return space, space
    path = "environment.convert.action"
    if spec.divisions is not None and (spec.to != "discrete" or not isinstance(space, BoxSpace)):
        message = f"is for a Box as discrete actions; the space is {space}, to is {spec.to}"
        raise InputError(message, path=f"{path}.divisions")
    match space:
        case BoxSpace() if spec.to == "discrete":
            grid = Grid(*_divide(space, spec.divisions, path), space)
            return _discrete(grid.counts, MOST_ACTIONS, path), grid
        case MultiDiscreteSpace() if spec.to == "discrete":
            return _discrete(space.nvec, MOST_ACTIONS, path), JointChoice(space)
        case DiscreteSpace() | MultiDiscreteSpace() if spec.to == "continuous":
            numbers = ChoiceByNumber(space)
            return BoxSpace(numbers.shape, low=-1.0, high=1.0), numbers
    return space, space


def convert_mask(taken: ToEnvironment) -> Callable[[np.ndarray], np.ndarray]:
    """What makes masks of the algorithm's actions from those of the environment's, bool `[N, K]`; it may return its
    argument.

    Args:
        taken: from `convert_action`.

    Raises:
        InputError: with path `environment.convert.action`, when actions have become numbers.
    """
    if isinstance(taken, ChoiceByNumber):
        message = (
            "the environment gives action masks, which continuous actions cannot have; environment.masks: false "
            "ignores them"
        )
        raise InputError(message, path="environment.convert.action")
    return taken.combinations if isinstance(taken, JointChoice) else lambda mask: mask


class Bins:
    """An observation of numbers as the number of the cell in which it lies; cells of equal size.

    Args:
        counts: cells of each dimension.
        low: where the first cell of each begins, float64 `[k]`. What is below belongs to it.
        high: where the last cell of each ends.

    Attributes:
        cells: in a distance of 1, float64 `[k]`.
    """

    def __init__(self, counts: tuple[int, ...], low: np.ndarray, high: np.ndarray) -> None:
        self.counts = counts
        self.low, self.cells = low, np.array(counts) / (high - low)
        self._last = np.array(counts) - 1.0

    def from_environment(self, value: np.ndarray) -> np.ndarray:
        """Raises RunError where a number is not one."""
        flat = value.reshape(len(value), -1)
        cell = np.floor((flat.astype(np.float64) - self.low) * self.cells)
        if np.isnan(cell).any():
            index = int(np.isnan(cell).any(axis=1).argmax())
            raise RunError(f"environment {index} returned an observation that is not a number")
        digits = np.clip(cell, 0, self._last).astype(np.int64)
        return _number_of(digits, self.counts)


class Grid:
    """An action of numbers, chosen from a grid that includes both bounds of each dimension.

    Args:
        counts: values of each dimension.
        low: lowest value of each, float64 `[k]`.
        high: highest.
        space: the environment's.

    Attributes:
        steps: between two values of each dimension, where its bounds are -1 and 1; float64 `[k]`.
    """

    def __init__(
        self, counts: tuple[int, ...], low: np.ndarray, high: np.ndarray, space: BoxSpace
    ) -> None:
        self.counts, self._space = counts, space
        # Stored actions of the Box: -1 is its lower bound, 1 its upper.
        self.steps = 2.0 / (np.array(counts) - 1.0)

    def to_environment(self, value: np.ndarray) -> np.ndarray:
        digits = np.stack(np.unravel_index(value, self.counts), axis=-1)
        stored = (digits * self.steps - 1.0).astype(np.float32)
        return self._space.to_environment(stored.reshape(-1, *self._space.shape))


class JointChoice:
    """Several choices as one: every combination has a number."""

    def __init__(self, space: MultiDiscreteSpace) -> None:
        self._space = space

    def to_environment(self, value: np.ndarray) -> np.ndarray:
        each = np.stack(np.unravel_index(value, self._space.nvec), axis=-1)
        return self._space.to_environment(each)

    def from_environment(self, value: np.ndarray) -> np.ndarray:
        each = self._space.from_environment(value)
        return _number_of(each, self._space.nvec)

    def combinations(self, mask: np.ndarray) -> np.ndarray:
        """Which combinations are allowed where each choice has a mask, bool `[N, sum of nvec]`."""
        first, *others = np.split(mask, np.cumsum(self._space.nvec)[:-1], axis=1)
        for part in others:
            first = (first[:, :, None] & part[:, None, :]).reshape(len(mask), -1)
        return first


class ChoiceByNumber:
    """Each choice by a number from -1 to 1, of which every choice has an equal part."""

    def __init__(self, space: DiscreteSpace | MultiDiscreteSpace) -> None:
        self._space = space
        nvec = (space.n,) if isinstance(space, DiscreteSpace) else space.nvec
        self.shape = (len(nvec),)
        self._counts = np.array(nvec)

    def to_environment(self, value: np.ndarray) -> np.ndarray:
        part = np.floor((value.astype(np.float64) + 1.0) / 2.0 * self._counts)
        each = np.clip(part, 0, self._counts - 1).astype(np.int64)
        return self._space.to_environment(
            each[:, 0] if isinstance(self._space, DiscreteSpace) else each
        )


def _number_of(digits: np.ndarray, counts: tuple[int, ...]) -> np.ndarray:
    """Of the combinations `[N, k]`, int64 `[N]`, the last digit counting fastest."""
    number: np.ndarray = np.ravel_multi_index(tuple(digits.T), counts)
    return number.astype(np.int64, copy=False)


def _discrete(counts: tuple[int, ...], most: int, path: str) -> DiscreteSpace:
    choices = math.prod(counts)
    if choices > most:
        parts = " x ".join(map(str, counts[:8])) + (" x ..." if len(counts) > 8 else "")
        raise InputError(f"{parts} are {choices} choices; at most {most} are possible", path=path)
    return DiscreteSpace(choices)


def _divide(
    space: BoxSpace,
    divisions: list[int] | None,
    path: str,
    low: list[float] | None = None,
    high: list[float] | None = None,
) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Divisions and bounds of each dimension, flat."""
    size = math.prod(space.shape)
    if divisions is None:
        message = f"is needed for {space}: in how many parts each of its {size} numbers is divided"
        raise InputError(message, path=f"{path}.divisions")
    counts = _each(divisions, size, f"{path}.divisions")
    own_low, own_high = (bound.reshape(-1) for bound in space.bounds())
    low_, high_ = (
        own if given is None else np.array(_each(given, size, f"{path}.{name}"), np.float64)
        for name, own, given in (("low", own_low, low), ("high", own_high, high))
    )
    with np.errstate(invalid="ignore", over="ignore"):
        usable = (high_ > low_) & (high_ - low_ < np.finfo(np.float32).max)
    if not usable.all():
        index = int(usable.argmin())
        bounds = f"{low_[index]:g} to {high_[index]:g}"
        message = f"number {index} of {space} goes from {bounds}, which cannot be divided"
        if path.endswith("observation"):
            message += "; set low and high"
        raise InputError(message, path=path)
    return tuple(int(count) for count in counts), low_, high_


def _each(given: list[Number], size: int, path: str) -> list[Number]:
    if len(given) not in (1, size):
        needed = "1" if size == 1 else f"1 or {size}"
        message = f"has {len(given)} entries; the space has {size} numbers, so {needed} are needed"
        raise InputError(message, path=path)
    return given * size if len(given) == 1 else given
