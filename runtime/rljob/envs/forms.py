"""The form of what environments return: how many values, and of which shape and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from rljob.errors import InputError, RunError

STEP = "(observation, reward, terminated, truncated, info)"
RESET = "(observation, info)"
OLD = ". It is written for the old Gym; Gymnasium's form is needed"


def parts(answer: Any, count: int, who: str, form: str, steps: int) -> Any:
    """The parts of what `reset` or `step` returned."""
    if isinstance(answer, tuple | list) and len(answer) == count:
        return answer
    if not isinstance(answer, tuple | list):
        what = f"{who} returned a {type(answer).__name__}, expected {count} values {form}"
    else:
        what = f"{who} returned {len(answer)} values, expected {count} {form}"
    old = (count, type(answer).__name__) == (2, "ndarray") or (
        count == 5 and isinstance(answer, tuple) and len(answer) == 4
    )
    raise wrong_form(f"{what}{OLD if old else ''}", steps)


def checked(
    value: object, shape: tuple[int, ...], dtype: np.dtype[Any], what: str, steps: int
) -> np.ndarray:
    """The array that a value stands for, which fits into `dtype`."""
    try:
        array = np.asarray(value)
    except Exception:
        kind = type(value).__name__
        message = f"{what} that is a {kind} and no array, expected shape {shape}"
        raise wrong_form(message, steps) from None
    if array.shape != shape:
        kind = "" if isinstance(value, np.ndarray) else f" (a {type(value).__name__})"
        raise wrong_form(f"{what} of shape {array.shape}{kind}, expected {shape}", steps)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise wrong_form(f"{what} of {array.dtype}, expected {dtype}", steps)
    if dtype.kind in "iu" and array.dtype != dtype and (array.astype(dtype) != array).any():
        raise wrong_form(f"{what} of {array.dtype} that does not fit into {dtype}", steps)
    return array


def wrong_form(message: str, steps: int) -> InputError | RunError:
    """At the first step an error of the environment's author, for which no restart is a remedy."""
    return RunError(message) if steps else InputError(message, path="environment")
