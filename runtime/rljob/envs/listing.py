"""The environments registered with Gymnasium, and their spaces."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterable
from contextlib import closing, redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from rljob.envs.factory import NAMESPACES, registered
from rljob.envs.spaces import Spaces
from rljob.envs.vector import Environments
from rljob.errors import InputError, RunError
from rljob.spec import EnvironmentSpec
from rljob.user_code.failure import explain, package_of

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

_OWN = "gymnasium.envs"
_QUICK = (f"{_OWN}.", f"{NAMESPACES['rljob']}.")


@dataclass(frozen=True)
class Listed:
    """One environment.

    Attributes:
        id: as in `environment.id`; `NAMESPACE/*` for all of a package that is not installed.
        group: the id's namespace. Without one: the package, or for Gymnasium's own environments the
            part of Gymnasium, e.g. `classic_control`.
        spaces: as they are trained on; None if it was not made or cannot be trained on.
        problem: why it cannot be trained on; empty if it can, or if it was not made.
        package: what to install for it; empty if nothing is known to be missing.
        max_steps: steps after which an episode is cut off.
        solved: mean return from which its authors call it solved.
    """

    id: str
    group: str
    spaces: Spaces | None = None
    problem: str = ""
    package: str = ""
    max_steps: int | None = None
    solved: float | None = None


def listed() -> tuple[list[Listed], list[str]]:
    """The newest version of each environment, by group, and a line for each package that fails to import.

    Those of Gymnasium and of rljob are made, which takes milliseconds each. Others can take seconds and are
    not made.
    """
    import gymnasium

    found, broken = list[Listed](), dict[str, str]()
    with _third_party(), warnings.catch_warnings():
        # Those of packages that are only looked at. Some, e.g. Box2D's, crash Python where they are errors.
        warnings.simplefilter("ignore")
        for namespace, module in NAMESPACES.items():
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                package = package_of(error.name or module)
                found.append(Listed(f"{namespace}/*", namespace, package=package))
            except BaseException as error:
                broken[module] = f"{module} cannot be imported: {explain(error)}"
        known = [
            made(entry) if _module(entry).startswith(_QUICK) else _unmade(entry)
            for entry in newest(gymnasium.registry.values())
            # Functions that only raise, for environments that Gymnasium no longer has.
            if _module(entry) != _OWN
        ]
    groups: dict[str, list[Listed]] = {}
    for each in known + found:
        groups.setdefault(each.group, []).append(each)
    return [each for group in groups.values() for each in group], list(broken.values())


def look_up(name: str) -> Listed:
    """One environment, made.

    Raises:
        InputError: with path `environment.id`, when there is no such id.
    """
    with _third_party():
        return made(registered(name))


def made(entry: EnvSpec) -> Listed:
    """One environment with its spaces, or with what is wrong with it."""
    about = _unmade(entry)
    try:
        with closing(Environments(EnvironmentSpec(id=entry.id), 1)) as one:
            return replace(about, spaces=one.spaces)
    except InputError as error:
        return replace(about, problem=error.message, package=_missing(error))
    except RunError as error:
        # One reset tells whether there are action masks.
        return replace(about, problem=str(error), package=_missing(error))


def newest(entries: Iterable[EnvSpec]) -> list[EnvSpec]:
    """The newest version of each environment, in the order of their first versions."""
    best: dict[tuple[str | None, str], EnvSpec] = {}
    for entry in entries:
        known = best.setdefault((entry.namespace, entry.name), entry)
        if (entry.version or 0) > (known.version or 0):
            best[entry.namespace, entry.name] = entry
    return list(best.values())


def _third_party() -> redirect_stdout[TextIO]:
    """What a package prints when it is imported is not part of the output."""
    return redirect_stdout(sys.stderr)


def _unmade(entry: EnvSpec) -> Listed:
    module = _module(entry).split(".")
    own = module[:2] == _OWN.split(".") and len(module) > 2
    group = entry.namespace or (module[2] if own else module[0])
    return Listed(entry.id, group, max_steps=entry.max_episode_steps, solved=entry.reward_threshold)


def _module(entry: EnvSpec) -> str:
    """The module of what makes the environment."""
    made_by = entry.entry_point
    if isinstance(made_by, str):
        return made_by.partition(":")[0]
    return str(getattr(made_by, "__module__", ""))


def _missing(error: BaseException | None) -> str:
    """What to install for the module whose absence caused the error; empty if none did."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name is not None:
            return package_of(error.name)
        error = error.__cause__
    return ""
