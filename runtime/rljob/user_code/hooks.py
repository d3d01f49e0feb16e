"""The hooks of a job: a class of the user's own, made and checked before training."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rljob.errors import AskedToEnd, InputError
from rljob.spec.hooks import HooksSpec
from rljob.spec.invalid import nearest
from rljob.user_code.entry_point import load_entry_point
from rljob.user_code.failure import explain

HookName = Literal[
    "on_start", "on_episode", "on_update", "on_evaluation", "on_checkpoint", "on_end"
]
HOOKS: tuple[HookName, ...] = get_args(HookName)
SAVES, LOADS = "state_dict", "load_state_dict"
"""Optional methods for what a hook remembers over a restart of the learner."""
_PATH = "hooks.entryPoint"
_LOOKS_LIKE_ONE = re.compile(r"on(_|[A-Z])")
_ELSEWHERE: Mapping[str, HookName] = {
    "on_fit_start": "on_start",
    "on_train_begin": "on_start",
    "on_train_start": "on_start",
    "on_training_start": "on_start",
    "on_episode_end": "on_episode",
    "on_batch_end": "on_update",
    "on_learn_on_batch": "on_update",
    "on_rollout_end": "on_update",
    "on_step": "on_update",
    "on_train_batch_end": "on_update",
    "on_train_result": "on_update",
    "on_evaluate_end": "on_evaluation",
    "on_validation_end": "on_evaluation",
    "on_validation_epoch_end": "on_evaluation",
    "on_checkpoint_saved": "on_checkpoint",
    "on_save_checkpoint": "on_checkpoint",
    "on_fit_end": "on_end",
    "on_train_end": "on_end",
    "on_training_end": "on_end",
}
"""Names of the same methods in other libraries."""


@dataclass(frozen=True)
class UserHooks:
    """The user's object.

    Attributes:
        label: its import path.
        methods: those of `HOOKS` that it has.
        saves, loads: give and take what it remembers, JSON; None where it has not both.
    """

    label: str
    methods: Mapping[HookName, Callable[[Any], object]]
    saves: Callable[[], object] | None = None
    loads: Callable[[Any], object] | None = None


def load_hooks(spec: HooksSpec) -> UserHooks:
    """Make the object that a job names, and look at its methods; none is called.

    Raises:
        InputError: with path `hooks.entryPoint` or `hooks.config`.
    """
    label = spec.entry_point
    found = load_entry_point(label, _PATH)
    if not isinstance(found, type):
        raise InputError(f"{label} is a {type(found).__name__}, expected a class", path=_PATH)
    try:
        inspect.signature(found).bind(**spec.config)
    except ValueError:
        pass  # Some classes have no signature.
    except TypeError as error:
        names = ", ".join(inspect.signature(found).parameters) or "nothing"
        raise InputError(f"{error}. {label} takes {names}", path="hooks.config") from error
    try:
        return _looked_at(label, found(**spec.config))
    except (AskedToEnd, InputError):
        raise
    except BaseException as error:
        raise InputError(f"{label} raised {explain(error)}", path=_PATH) from error


def _looked_at(label: str, made: object) -> UserHooks:
    names = dir(made)
    for name in names:
        if name not in HOOKS and _LOOKS_LIKE_ONE.match(name) and callable(getattr(made, name)):
            raise InputError(f"{label} has {name}, which is no hook{_hint(name)}", path=_PATH)
        if name.startswith("_") and name[1:] in _ELSEWHERE:
            raise InputError(f"{label} has {name}, which is no hook{_hint(name[1:])}", path=_PATH)
    methods = {name: _method(label, made, name, "event") for name in HOOKS if name in names}
    if not methods:
        raise InputError(f"{label} has none of the methods {', '.join(HOOKS)}", path=_PATH)
    state = [name for name in (SAVES, LOADS) if name in names]
    if not state:
        return UserHooks(label, methods)
    if len(state) == 1:
        (missing,) = {SAVES, LOADS} - set(state)
        message = f"{label} has {state[0]} and no {missing}: a restart needs both"
        raise InputError(message, path=_PATH)
    saves, loads = _method(label, made, SAVES), _method(label, made, LOADS, "state")
    return UserHooks(label, methods, saves, loads)


def _method(label: str, made: object, name: str, *takes: str) -> Callable[..., object]:
    method = getattr(made, name)
    if not callable(method):
        kind = type(method).__name__
        raise InputError(f"{label}.{name} is a {kind}, expected a method", path=_PATH)
    if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
        kind = "is async" if inspect.iscoroutinefunction(method) else "has a yield"
        message = f"{label}.{name} {kind}: it would never run. Make it a plain method"
        raise InputError(message, path=_PATH)
    try:
        inspect.signature(method).bind(*takes)
    except ValueError:
        pass
    except TypeError:
        wanted = ", ".join(("self", *takes))
        message = f"{label}.{name}{inspect.signature(method)} does not take ({wanted})"
        raise InputError(message, path=_PATH) from None
    return method  # type: ignore[no-any-return]


def _hint(name: str) -> str:
    near = _ELSEWHERE.get(name) or nearest(name, HOOKS)
    meant = f". Did you mean {near}?" if near else "."
    return f"{meant} Hooks are {', '.join(HOOKS)}"
