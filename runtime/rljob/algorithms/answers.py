"""The form of what a user's algorithm answers, checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rljob.algorithms.acting import Acted
from rljob.algorithms.learning import Update
from rljob.errors import RunError


def check_acted(actor: str, acted: object, rows: Mapping[str, np.ndarray]) -> None:
    """Raises RunError where `Actor.act` answered what a segment cannot hold.

    Args:
        actor: name of its class.
        acted: the answer.
        rows: where it goes: the row `[N, ...]` of each array of the segment.
    """
    if not isinstance(acted, Acted):
        raise RunError(f"{actor}.act returned {_kind(acted)}, expected Acted(action)")
    values: dict[str, Any] = {"action": acted.action, **acted.extras}
    for name, value in values.items():
        what = "the action" if name == "action" else f"extras[{name!r}]"
        if name not in rows:
            raise RunError(
                f"{actor}.act returned {what}, which is none of the algorithm's `fields`"
            )
        row = rows[name]
        fits = isinstance(value, np.ndarray) and value.shape == row.shape
        if not fits or not np.can_cast(value.dtype, row.dtype, "same_kind"):
            raise RunError(
                f"{actor}.act returned {what} as {_kind(value)}, expected an array {list(row.shape)} "
                f"of {row.dtype}"
            )


def check_update(learner: object, update: object) -> Update:
    """Returns the answer of `Learner.update`; raises RunError where it is no Update."""
    if not isinstance(update, Update):
        name = type(learner).__name__
        raise RunError(f"{name}.update returned {_kind(update)}, expected Update(metrics)")
    return update


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    return f"a {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")
