"""Observation and action spaces, described without Gymnasium.

A space knows two forms of the same value: the *environment's* and the *stored* one, which is what
segments, buffers and networks see.

| space         | stored value                                                                         |
|---------------|--------------------------------------------------------------------------------------|
| Box           | `[*shape]`; float64 as float32, integers as they are; an action see `BoxSpace`       |
| Discrete      | `[]` int64, from 0                                                                   |
| MultiDiscrete | `[k]` int64, each from 0; `k` is the number of entries of `nvec`, whatever its shape |

Every method takes any number of leading dimensions and may return its argument itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from rljob.envs import mask_space
from rljob.errors import InputError

if TYPE_CHECKING:
    import gymnasium

Arrays = dict[str, np.ndarray]
"""Arrays by name."""
SpaceBound = float | tuple[float, ...]
"""One bound for every dimension, or one for each in C order."""

_FLOAT32 = np.dtype(np.float32)
_INT64 = np.dtype(np.int64)


@dataclass(frozen=True)
class BoxSpace:
    """An array of numbers within bounds.

    As an action its stored value is float32 in units in which [-1, 1] covers low..high, for each
    dimension with two finite bounds; a dimension without is stored in the environment's own units.

    Args:
        shape: of one value.
        dtype: of a stored value.
        low: lowest values in the environment's units; `-inf` where there is none. Any array-like
            that broadcasts to `shape`; kept as one number where all are equal, else flat.
        high: highest values, likewise.
        environment_dtype: what the environment uses; `dtype` by default.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] = _FLOAT32
    low: SpaceBound = -math.inf
    high: SpaceBound = math.inf
    environment_dtype: np.dtype[Any] | None = None

    def __str__(self) -> str:
        low, high = (np.min(self.low), np.max(self.high))
        return f"Box({low}, {high}, {self.shape}, {self._own})"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        object.__setattr__(self, "environment_dtype", np.dtype(self._own))
        if not {self.dtype.kind, self._own.kind} <= set("biuf"):
            raise ValueError(f"a Box must hold numbers, not {self.dtype}")
        object.__setattr__(self, "low", _bound(self.low, self.shape))
        object.__setattr__(self, "high", _bound(self.high, self.shape))

    @property
    def _own(self) -> np.dtype[Any]:
        return self.dtype if self.environment_dtype is None else self.environment_dtype

    @property
    def image(self) -> bool:
        """Whether `encode` divides by 255: three dimensions of uint8 up to 255."""
        return self.dtype == np.uint8 and len(self.shape) == 3 and self.high == 255

    @property
    def bounded(self) -> bool:
        """Whether every dimension has two finite bounds, so that a stored action is within [-1, 1]."""
        low, high = self.bounds()
        return bool(_finite(low, high).all())

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Low and high as float64 `[*shape]`."""
        return _full(self.low, self.shape), _full(self.high, self.shape)

    @cached_property
    def affine(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Scale, middle, low and high, in a float dtype that holds the environment's values."""
        low, high = self.bounds()
        finite = _finite(low, high)
        work = np.result_type(self._own, np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            scale = np.where(finite, (high - low) / 2, 1.0).astype(work)
            middle = np.where(finite, (high + low) / 2, 0.0).astype(work)
            return scale, middle, low.astype(work), high.astype(work)

    def to_environment(self, value: np.ndarray) -> np.ndarray:
        """A stored action in the environment's units and dtype, within its bounds."""
        scale, middle, low, high = self.affine
        mapped: np.ndarray = np.multiply(value, scale)
        mapped += middle
        np.maximum(mapped, low, out=mapped)
        np.minimum(mapped, high, out=mapped)
        if self._own.kind in "iu":
            np.rint(mapped, out=mapped)
        return mapped.astype(self._own, copy=False)

    def from_environment(self, value: np.ndarray) -> np.ndarray:
        """An observation as it is stored."""
        return value.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class DiscreteSpace:
    """One of `n` choices, in the environment `start` to `start + n - 1`."""

    n: int
    start: int = 0
    environment_dtype: np.dtype[Any] = _INT64

    def __str__(self) -> str:
        return f"Discrete({self.n}{f', start={self.start}' if self.start else ''})"

    def __post_init__(self) -> None:
        object.__setattr__(self, "environment_dtype", np.dtype(self.environment_dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def dtype(self) -> np.dtype[Any]:
        return _INT64

    def to_environment(self, value: np.ndarray) -> np.ndarray:
        """A stored action as the environment counts it."""
        return _shift(value, self.start, self.environment_dtype)

    def from_environment(self, value: np.ndarray) -> np.ndarray:
        """An observation as it is stored, from 0."""
        return _shift(value, -self.start, _INT64)


@dataclass(frozen=True)
class MultiDiscreteSpace:
    """`k` choices at once, the i-th one of `nvec[i]`.

    Args:
        nvec: number of choices, flat.
        start: first value of each in the environment; all 0 by default.
        environment_shape: the shape of one value in the environment; `(k,)` by default.
        environment_dtype: the dtype of one value in the environment.
    """

    nvec: tuple[int, ...]
    start: tuple[int, ...] = ()
    environment_shape: tuple[int, ...] = ()
    environment_dtype: np.dtype[Any] = _INT64

    def __str__(self) -> str:
        return f"MultiDiscrete({list(self.nvec)})"

    def __post_init__(self) -> None:
        flat = tuple(int(n) for n in np.asarray(self.nvec).flat)
        object.__setattr__(self, "nvec", flat)
        start = tuple(int(n) for n in np.asarray(self.start).flat) or (0,) * len(flat)
        object.__setattr__(self, "start", start)
        shape = tuple(int(n) for n in self.environment_shape) or (len(flat),)
        object.__setattr__(self, "environment_shape", shape)
        object.__setattr__(self, "environment_dtype", np.dtype(self.environment_dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.nvec),)

    @property
    def dtype(self) -> np.dtype[Any]:
        return _INT64

    @cached_property
    def _start(self) -> np.ndarray | int:
        return np.array(self.start, _INT64) if any(self.start) else 0

    @cached_property
    def _codes(self) -> tuple[np.ndarray, np.ndarray]:
        """For each element of the one-hot encoding: which choice it belongs to, and its value."""
        owner = np.repeat(np.arange(len(self.nvec)), self.nvec)
        return owner, np.concatenate([np.arange(n) for n in self.nvec])

    def to_environment(self, value: np.ndarray) -> np.ndarray:
        """A stored action as the environment counts and shapes it."""
        value = _shift(value, self._start, self.environment_dtype)
        if len(self.environment_shape) == 1:
            return value
        return value.reshape(value.shape[:-1] + self.environment_shape)

    def from_environment(self, value: np.ndarray) -> np.ndarray:
        """An observation as it is stored: flat, from 0."""
        if len(self.environment_shape) != 1:
            lead = value.ndim - len(self.environment_shape)
            value = value.reshape((*value.shape[:lead], len(self.nvec)))
        return _shift(value, -self._start, _INT64)


Space = BoxSpace | DiscreteSpace | MultiDiscreteSpace


@dataclass(frozen=True)
class Spaces:
    """The observation and action space of one environment, or of each agent of an environment of several.

    Args:
        masked: whether it tells which actions are allowed; not of a Box.
        agents: of one environment. Each is a column of its own; those of one environment are neighbours.
        state: of the whole environment, for the learner alone; None where it tells none.
        unconverted: observation and action space of the environment itself, where `environment.convert` changes them.
    """

    observation: Space
    action: Space
    masked: bool = False
    agents: int = 1
    state: Space | None = None
    unconverted: tuple[Space, Space] | None = None

    def __post_init__(self) -> None:
        if self.masked and isinstance(self.action, BoxSpace):
            raise InputError(unmaskable(self.action), path="environment")

    @property
    def mask_size(self) -> int:
        """`K`, numbers in a mask: one for each action, those of a MultiDiscrete side by side. 0 without masks."""
        return encoded_size(self.action) if self.masked else 0

    @classmethod
    def from_gymnasium(
        cls,
        observation: gymnasium.Space[Any],
        action: gymnasium.Space[Any],
        masks: bool = True,
        agents: int = 1,
        state: gymnasium.Space[Any] | None = None,
    ) -> Spaces:
        """Describe the spaces of a single environment. Of a Dict with a mask, see `mask_space`, the observation is
        what the policy sees.

        Args:
            masks: whether masks are used.

        Raises:
            InputError: with path `environment`, naming a space that is not supported.
        """
        seen, mask = mask_space.split(observation)
        mask = mask if masks else None
        whole = None if state is None else _describe(state, "state")
        each = _describe(seen, "observation"), _describe(action, "action")
        found = cls(*each, mask is not None, agents, whole)
        if mask is not None:
            mask_space.check(mask, found.mask_size, str(found.action))
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without NaN or infinity; `from_json` gives back an equal object."""
        masked = {"masked": True} if self.masked else {}
        agents = {"agents": self.agents} if self.agents > 1 else {}
        state = {"state": space_to_json(self.state)} if self.state is not None else {}
        unconverted = (
            {"unconverted": [*map(space_to_json, self.unconverted)]} if self.unconverted else {}
        )
        return {
            "observation": space_to_json(self.observation),
            "action": space_to_json(self.action),
            **masked,
            **agents,
            **state,
            **unconverted,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Spaces:
        """Raises ValueError where `values` is not what `to_json` writes."""
        masked = values.get("masked", False)
        if not isinstance(masked, bool):
            raise ValueError(f"masked is {str(masked)[:80]}")
        agents = values.get("agents", 1)
        if type(agents) is not int or not 1 <= agents <= MOST_AGENTS:
            raise ValueError(f"agents is {str(agents)[:80]}")
        try:
            found = space_from_json(values["observation"]), space_from_json(values["action"])
            state = space_from_json(values["state"]) if "state" in values else None
            own = [space_from_json(each) for each in values.get("unconverted", ())]
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not the description of spaces: {error!r}") from error
        if masked and isinstance(found[1], BoxSpace):
            raise ValueError(unmaskable(found[1]))
        return cls(*found, masked, agents, state, (own[0], own[1]) if own else None)


def different(one: Spaces, other: Spaces) -> list[str]:
    """Which of `observation` and `action` mean something else to the same weights.

    Actions are stored in units of their bounds, so bounds belong to the form of an action.
    """
    same = {
        "observation": _form(one.observation) == _form(other.observation),
        "action": (_form(one.action), _bounds(one.action))
        == (_form(other.action), _bounds(other.action)),
    }
    return [name for name, equal in same.items() if not equal]


def told_apart(one: Space, other: Space) -> tuple[str, str]:
    """Two spaces that differ, for a message; with all bounds where these alone do."""
    names = str(one), str(other)
    if names[0] != names[1]:
        return names
    first, second = (
        f"{space} with low {np.ravel(space.low).tolist()} and high {np.ravel(space.high).tolist()}"
        if isinstance(space, BoxSpace)
        else str(space)
        for space in (one, other)
    )
    return first, second


def _form(space: Space) -> tuple[object, ...]:
    """What an encoded value of this space means by its place."""
    if isinstance(space, MultiDiscreteSpace):
        return (MultiDiscreteSpace, space.nvec)
    return (type(space), encoded_shape(space))


def _bounds(space: Space) -> tuple[float, ...]:
    """Lowest and then highest values of a Box: one each, or one for each dimension."""
    if not isinstance(space, BoxSpace):
        return ()
    return (*np.ravel(space.low).tolist(), *np.ravel(space.high).tolist())


def unmaskable(action: BoxSpace) -> str:
    """What to say of a mask of such actions."""
    return f"the actions {action} cannot have a mask; Discrete and MultiDiscrete can. environment.masks: false ignores masks"


def encoded_shape(space: Space) -> tuple[int, ...]:
    """The shape of one encoded observation."""
    match space:
        case BoxSpace():
            return space.shape
        case DiscreteSpace():
            return (space.n,)
        case MultiDiscreteSpace():
            return (sum(space.nvec),)


def encoded_size(space: Space) -> int:
    """How many numbers one encoded observation has."""
    return math.prod(encoded_shape(space))


def encode(space: Space, observation: np.ndarray) -> np.ndarray:
    """Encode for a network: stored observations `[..., *shape]` to float32 `[..., *encoded_shape]`.

    A Box is taken as it is (images divided by 255), Discrete and MultiDiscrete as one-hot vectors side
    by side. A float32 Box returns `observation` itself.
    """
    match space:
        case BoxSpace():
            if space.image:
                return cast("np.ndarray", np.divide(observation, 255, dtype=np.float32))
            return observation.astype(np.float32, copy=False)
        case DiscreteSpace():
            hot = observation[..., None] == np.arange(space.n)
        case MultiDiscreteSpace():
            owner, code = space._codes
            hot = observation[..., owner] == code
    return cast("np.ndarray", hot.astype(np.float32))


def _describe(space: gymnasium.Space[Any], role: str) -> Space:
    from gymnasium import spaces

    if isinstance(space, spaces.Box) and 0 not in space.shape:
        # Integer boxes write "no bound" as the end of their range.
        low = np.where(space.bounded_below, space.low.astype(object), -math.inf)
        high = np.where(space.bounded_above, space.high.astype(object), math.inf)
        return stored_box(space.shape, np.dtype(space.dtype), low, high, role)
    if isinstance(space, spaces.Discrete):
        return DiscreteSpace(int(space.n), int(space.start), _dtype(space.dtype))
    if isinstance(space, spaces.MultiDiscrete):
        return MultiDiscreteSpace(
            tuple(space.nvec.flat), tuple(space.start.flat), space.nvec.shape, _dtype(space.dtype)
        )
    raise InputError(
        f"the {role} space {space} is not supported. rljob takes Box (not empty), Discrete and "
        f"MultiDiscrete{_HINTS.get((type(space).__name__, role), '')}.",
        path="environment",
    )


def stored_box(
    shape: tuple[int, ...], own: np.dtype[Any], low: ArrayLike, high: ArrayLike, role: str
) -> BoxSpace:
    """A Box with the dtype in which its values are stored.

    Args:
        own: the environment's dtype.
        role: `action`, or another.
    """
    as_is = role != "action" and own.kind in "biu"
    bounds = _bound(low, shape), _bound(high, shape)
    return BoxSpace(shape, own if as_is else _FLOAT32, *bounds, environment_dtype=own)


MOST_NUMBERS, MOST_CHOICES, MOST_AGENTS = 2**28, 2**24, 2**16
"""Of spaces that come as JSON: numbers of a Box, choices of a Discrete or MultiDiscrete, agents."""
_HINTS = {
    ("Dict", "observation"): "; gymnasium.wrappers.FlattenObservation makes a Box of it",
    ("Tuple", "observation"): "; gymnasium.wrappers.FlattenObservation makes a Box of it",
    ("MultiBinary", "observation"): "; gymnasium.wrappers.FlattenObservation makes a Box of it",
    ("MultiBinary", "action"): "; MultiDiscrete with 2 choices each is the same",
}


def _dtype(dtype: DTypeLike | None) -> np.dtype[Any]:
    return _INT64 if dtype is None else np.dtype(dtype)


def _shift(value: np.ndarray, by: np.ndarray | int, dtype: np.dtype[Any]) -> np.ndarray:
    """`value + by` in int64, then as `dtype`; the same array where nothing changes."""
    if isinstance(by, np.ndarray) or by:
        value = value.astype(_INT64, copy=False) + by
    return value.astype(dtype, copy=False)


def _bound(value: ArrayLike, shape: tuple[int, ...]) -> SpaceBound:
    """Python numbers (integers stay exact): one where all are equal."""
    flat = np.asarray(value, dtype=object).reshape(-1)
    if flat.size not in (1, math.prod(shape)):
        flat = np.broadcast_to(np.asarray(value, dtype=object), shape).reshape(-1)
    numbers = tuple(_number(each) for each in flat)
    return numbers[0] if all(each == numbers[0] for each in numbers) else numbers


def _number(value: Any) -> float:
    """A Python number; JSON has infinities as text."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, (int, float)) else float(value)


def _finite(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where there are two bounds. One at the end of float32's range is how some environments say "none"."""
    largest = np.finfo(np.float32).max
    finite: np.ndarray = (np.abs(low) < largest) & (np.abs(high) < largest)
    return finite


def _full(bound: SpaceBound, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(bound, tuple):
        return np.array(bound, np.float64).reshape(shape)
    return np.full(shape, bound, np.float64)


def space_to_json(space: Space) -> dict[str, Any]:
    """Plain JSON values, as `Spaces.to_json`."""
    kind = next(kind for kind, known in _KINDS.items() if isinstance(space, known))
    values = {each.name: _plain(getattr(space, each.name)) for each in fields(space)}
    return {"type": kind, **values}


def space_from_json(values: Mapping[str, Any]) -> Space:
    """A space from JSON that may come from anybody: its size is checked before anything is made of it."""
    rest = {name: value for name, value in values.items() if name != "type"}
    if "shape" in rest:
        size = math.prod(int(n) for n in rest["shape"])
        if not 0 < size <= MOST_NUMBERS or any(n < 1 for n in rest["shape"]):
            raise ValueError(f"shape {str(rest['shape'])[:80]}; at most {MOST_NUMBERS} numbers")
        for name in ("low", "high"):
            if isinstance(rest.get(name), list) and len(rest[name]) != size:
                raise ValueError(f"{name} has {len(rest[name])} numbers instead of {size}")
    choices = sum(rest["nvec"]) if "nvec" in rest else rest.get("n", 1)
    if not 0 < choices <= MOST_CHOICES:
        raise ValueError(f"{choices} choices; at most {MOST_CHOICES}")
    return _KINDS[values["type"]](**rest)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.dtype):
        return value.name
    return str(value) if isinstance(value, float) and math.isinf(value) else value


_KINDS: dict[str, type[Space]] = {
    "Box": BoxSpace,
    "Discrete": DiscreteSpace,
    "MultiDiscrete": MultiDiscreteSpace,
}
