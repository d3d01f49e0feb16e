"""Which values experience may have: finite, of a size whose square stays in float32, and in their discrete space."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rljob.envs.spaces import BoxSpace, DiscreteSpace, Space, Spaces
from rljob.envs.teams import column_name

LARGEST = 1e15
"""Largest size of a number: its square has to stay in float32."""


def problem(
    arrays: Mapping[str, np.ndarray], spaces: Spaces | None = None, first_step: int = 0
) -> str:
    """What is wrong with the values of a segment, naming array, step, environment and value; empty if nothing is.

    Args:
        arrays: `[T, N, ...]` or `[T + 1, N, ...]`, as stored.
        spaces: those of `observation`, `action` and `state`; None checks numbers only.
        first_step: the number of row 0.
    """
    known: dict[str, Space] = {}
    if spaces is not None:
        known = {"observation": spaces.observation, "action": spaces.action}
        if spaces.state is not None:
            known["state"] = spaces.state
    for name, array in arrays.items():
        space = known.get(name)
        found = _outside(array, space) if space is not None else None
        row = found if found is not None else _wrong_number(array)
        if row is not None:
            step, index = row
            # A state is of a whole environment.
            agents = 1 if spaces is None or name == "state" else spaces.agents
            where = f"at step {first_step + step} of {column_name(index, agents)}"
            value = array[step, index]
            if found is not None:
                return f"{name} {where} is not in its space {space}: counted from 0 it is {value}"
            return f"{name} contains {_shown(value)} {where}"
    return ""


def _outside(array: np.ndarray, space: Space) -> tuple[int, int] | None:
    """Row and environment of the first value that is not in its discrete space."""
    if isinstance(space, BoxSpace) or array.dtype.kind not in "iu" or array.size == 0:
        return None
    # Stored values count from 0.
    limit = space.n if isinstance(space, DiscreteSpace) else np.asarray(space.nvec)
    if array.min() >= 0 and (array < limit).all():
        return None
    row, index = np.argwhere((array < 0) | (array >= limit))[0][:2]
    return int(row), int(index)


def _wrong_number(array: np.ndarray) -> tuple[int, int] | None:
    """Row and environment of the first number that is NaN, infinite or too large."""
    # NaN fails both comparisons.
    if array.dtype.kind != "f" or array.size == 0:
        return None
    if array.max() <= LARGEST and array.min() >= -LARGEST:
        return None
    row, index = np.argwhere(~(np.abs(array) <= LARGEST))[0][:2]
    return int(row), int(index)


def _shown(values: np.ndarray) -> str:
    found = np.asarray(values).reshape(-1)
    number = found[~(np.abs(found) <= LARGEST)][0]
    if np.isnan(number):
        return "NaN"
    if np.isinf(number):
        return "infinity"
    return f"{number:g}, beyond the limit of ±{LARGEST:g},"
