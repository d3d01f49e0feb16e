"""The form of what a user's algorithm answers, checked before it is used."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from rljob.algorithms.base import Acted, Actor, Algorithm, Learner, Place, Policy, Update
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
    kept: dict[str, Any] = acted.kept
    for name, value in kept.items():
        if name in rows:
            raise RunError(
                f"{actor}.act returned kept[{name!r}], and the segment has an array {name}"
            )
        if not isinstance(value, np.ndarray) or value.shape[:1] != acted.action.shape[:1]:
            raise RunError(
                f"{actor}.act returned kept[{name!r}] as {_kind(value)}, expected an array with "
                f"{len(acted.action)} rows"
            )


def check_update(learner: object, update: object, batch: Mapping[str, np.ndarray]) -> Update:
    """Returns the answer of `Learner.update`; raises RunError where it is no Update, or does not fit the batch."""
    name = f"{type(learner).__name__}.update"
    if not isinstance(update, Update):
        raise RunError(f"{name} returned {_kind(update)}, expected Update(metrics)")
    for metric, value in update.metrics.items():
        try:
            float(value)
        except (TypeError, ValueError):
            raise RunError(
                f"{name} returned the metric {metric!r} as {_kind(value)}, expected a number"
            ) from None
    if update.priorities is not None:
        _check_priorities(name, update.priorities, batch.get("key"))
    return update


def _check_priorities(update: str, priorities: Any, key: np.ndarray | None) -> None:
    if key is None:
        raise RunError(f"{update} returned priorities, and its data is no Replay")
    fits = isinstance(priorities, np.ndarray) and priorities.size == key.size
    if not fits or not np.issubdtype(priorities.dtype, np.number):
        raise RunError(
            f"{update} returned priorities as {_kind(priorities)}, expected an array of {key.size} numbers"
        )
    if not (np.isfinite(priorities).all() and (priorities >= 0).all()):
        raise RunError(f"{update} returned priorities that are not finite or below 0")


def make_actor(algorithm: Algorithm, policy: Policy, place: Place) -> Actor:
    """The acting half; RunError where the algorithm returns something else."""
    name = f"{type(algorithm).__name__}.actor"
    _check_takes(name, algorithm.actor, "policy, place", policy, place)
    actor: object = algorithm.actor(policy, place)
    if not isinstance(actor, Actor):
        raise RunError(f"{name} returned {_kind(actor)}, expected an Actor")
    return actor


def make_learner(algorithm: Algorithm, networks: Mapping[str, Any], seed: int) -> Learner:
    """The learning half; RunError where the algorithm returns something else."""
    name = f"{type(algorithm).__name__}.learner"
    _check_takes(name, algorithm.learner, "networks, seed", networks, seed)
    learner: object = algorithm.learner(networks, seed)
    if not isinstance(learner, Learner):
        raise RunError(f"{name} returned {_kind(learner)}, expected a Learner")
    return learner


def _check_takes(name: str, method: Any, wanted: str, *values: object) -> None:
    try:
        inspect.signature(method).bind(*values)
    except TypeError:
        raise RunError(f"{name}{inspect.signature(method)} does not take ({wanted})") from None


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    return f"a {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")
