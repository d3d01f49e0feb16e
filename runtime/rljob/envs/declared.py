"""The spaces that a job states itself, in `environment.spaces`: what its applications observe, and how they act.

They mean what Gymnasium's spaces with the same arguments mean, and are converted likewise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rljob.envs.conversion import (
    FromEnvironment,
    ToEnvironment,
    convert_action,
    convert_mask,
    convert_observation,
)
from rljob.envs.spaces import (
    MOST_CHOICES,
    MOST_NUMBERS,
    BoxSpace,
    DiscreteSpace,
    MultiDiscreteSpace,
    Space,
    Spaces,
    stored_box,
    told_apart,
)
from rljob.errors import InputError
from rljob.spec import ConversionSpec, EnvironmentSpec
from rljob.spec.applications import SpaceSpec
from rljob.spec.invalid import show

_PATH = "environment.spaces"


@dataclass(frozen=True)
class DeclaredSpaces:
    """The spaces of a job's applications.

    Attributes:
        own: as the application has them.
        spaces: as the algorithm sees them, after `environment.convert`.
        observed: makes stored observations `[N, ...]` of the application's.
        taken: makes the application's actions of stored ones `[N, ...]`.
        masked: makes masks of the algorithm's actions, bool `[N, K]`, of those of the application's; None without masks.
    """

    own: Spaces
    spaces: Spaces
    observed: FromEnvironment
    taken: ToEnvironment
    masked: Callable[[np.ndarray], np.ndarray] | None


def declared_spaces(spec: EnvironmentSpec) -> DeclaredSpaces | None:
    """What a job says of its applications' spaces; None if it has no applications.

    Raises:
        InputError: with a path below `environment`, where they are no spaces or cannot be converted.
    """
    if spec.spaces is None:
        return None
    asked = spec.convert or ConversionSpec()
    masked = spec.spaces.mask and spec.masks is not False
    own = Spaces(
        _space(spec.spaces.observation, "observation"), _space(spec.spaces.action, "action"), masked
    )
    observation, observed = convert_observation(own.observation, asked.observation)
    action, taken = convert_action(own.action, asked.action)
    mask = convert_mask(taken) if masked else None
    return DeclaredSpaces(own, Spaces(observation, action, masked), observed, taken, mask)


def check_same(declared: Spaces, environment: Spaces, label: str) -> None:
    """That an environment has the spaces that the applications have. A bound of observations that is not stated fits any.

    Args:
        declared: the applications', before conversion.
        environment: the environment's own.
        label: its id or import path.

    Raises:
        InputError: with the path of what differs.
    """
    for name in ("observation", "action"):
        stated, found = getattr(declared, name), getattr(environment, name)
        if not _same(stated, found, loose=name == "observation"):
            said, seen = told_apart(stated, found)
            raise InputError(f"is {said}, but {label} has {seen}", path=f"{_PATH}.{name}")
    if declared.masked != environment.masked:
        gives = "gives masks" if environment.masked else "gives none"
        message = f"is {show(declared.masked)}, but {label} {gives}"
        raise InputError(message, path=f"{_PATH}.mask")
    if environment.agents > 1:
        message = f"{label} has {environment.agents} agents, and applications have one"
        raise InputError(message, path=_PATH)


def with_bounds_of(environment: Space, declared: Space) -> Space:
    """The environment's space with the stated bounds, so that a conversion divides both alike."""
    if isinstance(environment, BoxSpace) and isinstance(declared, BoxSpace):
        return replace(environment, low=declared.low, high=declared.high)
    return environment


def _same(stated: Space, found: Space, loose: bool) -> bool:
    match stated, found:
        case BoxSpace(), BoxSpace():
            form = (stated.shape, stated.dtype, stated.image)
            return form == (found.shape, found.dtype, found.image) and all(
                _same_bound(own, other, loose)
                for own, other in zip(stated.bounds(), found.bounds(), strict=True)
            )
        case DiscreteSpace(), DiscreteSpace():
            return (stated.n, stated.start) == (found.n, found.start)
        case MultiDiscreteSpace(), MultiDiscreteSpace():
            return (stated.nvec, stated.start) == (found.nvec, found.start)
    return False


def _same_bound(stated: np.ndarray, found: np.ndarray, loose: bool) -> bool:
    """Equal as far as float32 can tell."""
    with np.errstate(over="ignore"):
        one, other = stated.astype(np.float32), found.astype(np.float32)
    equal = np.isclose(one, other, rtol=1e-6, atol=0.0)
    return bool((equal | np.isinf(one)).all() if loose else equal.all())


def _space(spec: SpaceSpec, role: str) -> Space:
    path = f"{_PATH}.{role}"
    if spec.type == "Box":
        return _box(spec, role, path)
    if spec.type == "Discrete":
        if isinstance(spec.start, list):
            message = f"{show(spec.start)} is not allowed for a Discrete; one whole number"
            raise InputError(message, path=f"{path}.start")
        return DiscreteSpace(spec.choices or 1, spec.start or 0)
    nvec = tuple(spec.nvec or ())
    if sum(nvec) > MOST_CHOICES:
        message = f"has {sum(nvec)} choices; at most {MOST_CHOICES} are possible"
        raise InputError(message, path=f"{path}.nvec")
    start = [0] * len(nvec) if spec.start is None else spec.start
    if not isinstance(start, list) or np.shape(start) != (len(nvec),):
        message = f"{show(start)} is not allowed; a list of {len(nvec)} whole numbers, as nvec has"
        raise InputError(message, path=f"{path}.start")
    return MultiDiscreteSpace(nvec, tuple(start))


def _box(spec: SpaceSpec, role: str, path: str) -> BoxSpace:
    shape, dtype = tuple(spec.shape or ()), np.dtype(spec.dtype or "float32")
    if math.prod(shape) > MOST_NUMBERS:
        message = f"{show(list(shape))} has {math.prod(shape)} numbers; at most {MOST_NUMBERS}"
        raise InputError(message, path=f"{path}.shape")
    bounds = {
        name: _numbers(getattr(spec, name), missing, shape, dtype, f"{path}.{name}")
        for name, missing in (("low", -math.inf), ("high", math.inf))
    }
    low, high = bounds["low"].astype(np.float64), bounds["high"].astype(np.float64)
    if (low > high).any():
        index = int(np.argmax(np.ravel(low > high)))
        message = f"{np.ravel(low)[index]:g} is not allowed; at most high, which is {np.ravel(high)[index]:g}"
        raise InputError(message, path=f"{path}.low")
    return stored_box(shape, dtype, bounds["low"], bounds["high"], role)


def _numbers(
    value: object, missing: float, shape: tuple[int, ...], dtype: np.dtype[Any], path: str
) -> np.ndarray:
    """A bound of each number, `[*shape]` of Python numbers: integers stay exact, others are what `dtype` makes of them."""
    try:
        given = np.array(missing if value is None else _with_infinity(value), dtype=object)
        flat = [float(each) for each in given.flat]
    except (TypeError, ValueError):
        flat = []
    if not flat or given.shape not in ((), shape):
        message = (
            f"{show(value)} is not allowed; one number, or nested lists of the shape {list(shape)}"
        )
        raise InputError(message, path=path)
    if dtype.kind in "iu":
        ends = np.iinfo(dtype)
        for number in flat:
            whole = number.is_integer() and ends.min <= number <= ends.max
            if not whole and math.isfinite(number):
                allowed = f"a whole number from {ends.min} to {ends.max}, as dtype is {dtype}"
                raise InputError(f"{number:g} is not allowed; {allowed}", path=path)
    else:
        given = given.astype(dtype).astype(object)
    return np.broadcast_to(given, shape)


def _with_infinity(value: object) -> object:
    if isinstance(value, list):
        return [_with_infinity(each) for each in value]
    return float(value) if isinstance(value, str) else value
