"""`environment.maxEpisodeSteps`: a limit of the steps of an episode, for each way in which environments are made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.envs.factory import Env
    from rljob.spec import EnvironmentSpec

ARGUMENT = "max_episode_steps"
PATH = "environment.maxEpisodeSteps"


def as_argument(spec: EnvironmentSpec) -> dict[str, Any]:
    """The limit as `gymnasium.make` takes it; empty without one.

    Raises:
        InputError: `environment.kwargs` has one too.
    """
    if spec.max_episode_steps is None:
        return {}
    if ARGUMENT in spec.kwargs:
        raise InputError(
            f"is {spec.max_episode_steps}, and environment.kwargs.{ARGUMENT} is {spec.kwargs[ARGUMENT]}; only one of "
            "the two is allowed",
            path=PATH,
        )
    return {ARGUMENT: spec.max_episode_steps}


def limited(env: Env, steps: int) -> Env:
    """The environment with episodes that are truncated after `steps`, instead of after those of limits that it has."""
    from gymnasium import Wrapper
    from gymnasium.wrappers import TimeLimit

    inner: Any = env
    found = False
    while isinstance(inner, Wrapper):
        if isinstance(inner, TimeLimit):
            inner._max_episode_steps, found = steps, True
        inner = inner.env
    return env if found else TimeLimit(env, steps)


def check_vector_form(made: Callable[..., Any], name: str, advice: str) -> None:
    """Refuse the limit where environments that step by themselves do not take it.

    Args:
        made: makes the vector environment.
        name: of it, for the message.

    Raises:
        InputError: it has no such argument.
    """
    if ARGUMENT not in inspect.signature(made).parameters:
        message = f"is not possible: {name} has no argument {ARGUMENT}. {advice}"
        raise InputError(message, path=PATH)
