"""Makes the environments that an RLJob names; `rljob.envs.vector` steps them."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rljob.envs import time_limit
from rljob.errors import AskedToEnd, InputError
from rljob.user_code.entry_point import import_module, load_entry_point
from rljob.user_code.failure import explain

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec
    from gymnasium.vector import VectorEnv

    from rljob.spec import EnvironmentSpec

    Env = gymnasium.Env[Any, Any]
    Vector = VectorEnv[Any, Any, Any]

RENDER_MODE = "rgb_array"

# Ids of these namespaces exist once a module has been imported, of rljob or of another package.
NAMESPACES = {
    "rljob": "rljob.environments",
    "ALE": "ale_py",
    "MiniGrid": "minigrid",
    "BabyAI": "minigrid",
    "MinAtar": "minatar",
}


def make(spec: EnvironmentSpec, count: int, single: bool = False) -> list[Env] | Vector:
    """`count` environments, not reset: one vector environment where there is one, else each by itself,
    which `single` prefers.

    Whatever is returned resets on the step after an episode's end, or is to be reset then.

    Raises:
        InputError: with a path below `environment`, where they cannot be made.
    """
    if not spec.played:
        message = "has no id and no entryPoint: only applications feed this job, and there is nothing to step or play"
        raise InputError(message, path="environment")
    from gymnasium import logger

    # What Gymnasium advises is meant for authors of environments; its errors are exceptions.
    logger.min_level = logger.ERROR
    if "num_envs" in spec.kwargs:
        raise InputError(
            "is set by rollout.envsPerReplica; leave it out", path="environment.kwargs.num_envs"
        )
    if "" not in sys.path and os.getcwd() not in sys.path:
        # A command that pip installed does not look there; code beside the YAML is to be found.
        sys.path.insert(0, os.getcwd())
    limit = time_limit.as_argument(spec)
    if spec.id is not None:
        return _from_id(spec.id, {**spec.kwargs, **limit}, count, single, bool(limit))
    return _from_factory(str(spec.entry_point), spec.kwargs, count, limit)


def group_sizes(spec: EnvironmentSpec, count: int) -> tuple[int, ...]:
    """`count` environments as groups that are acted for in turn: two halves where they step by themselves,
    so that one steps while the other is acted for, else one.

    Raises:
        InputError: with path `environment.id`, when there is no such id.
    """
    # The class is enough; making such environments takes seconds.
    made = None if spec.id is None else _vector_class(registered(spec.id))
    return (count // 2, count // 2) if made and is_pool(made) and count % 2 == 0 else (count,)


def is_pool(vector: object) -> bool:
    """Whether a vector environment, or a class of them, has `send` and `recv`, as ale-py's and EnvPool's."""
    return all(callable(getattr(vector, name, None)) for name in ("send", "recv"))


def make_rendered(spec: EnvironmentSpec) -> Env:
    """One environment, not reset, whose `render` gives a picture.

    Raises:
        InputError: with path `environment`, where it cannot be made like that.
    """
    name = spec.label
    if len(group_sizes(spec, 2)) > 1:
        message = (
            f"{name} cannot be recorded: the job trains on its vector form, which renders no pictures, and "
            "its single form has other observations"
        )
        raise InputError(message, path="environment")
    asked = spec.model_copy(update={"kwargs": {**spec.kwargs, "render_mode": RENDER_MODE}})
    # Rendering needs no display; pygame would print a greeting to standard output.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        made = make(asked, 1, single=True)
    except InputError as error:
        message = f"{name} cannot be recorded: {error.message}"
        raise InputError(message, path="environment") from error
    if not isinstance(made, list):
        made.close()
        message = f"{name} cannot be recorded: its factory makes vector environments"
        raise InputError(message, path="environment")
    (env,) = made
    if env.render_mode != RENDER_MODE:
        env.close()
        message = (
            f"{name} cannot be recorded: it was made with render_mode={RENDER_MODE!r}, but has "
            f"render_mode {env.render_mode!r}"
        )
        raise InputError(message, path="environment")
    return env


def _from_id(
    name: str, kwargs: Mapping[str, Any], count: int, single: bool, limited: bool
) -> list[Env] | Vector:
    import gymnasium

    entry = registered(name)
    pool = _vector_class(entry) if limited else None
    if pool is not None and is_pool(pool):
        advice = "Limit its episodes by a setting of its own in environment.kwargs"
        time_limit.check_vector_form(pool, f"the vector form of {name}", advice)
    vector = None if single else _from_vector_entry_point(entry, kwargs, count)
    if vector is not None:
        return vector

    # Gymnasium's checks run at every reset and step, ours in `rljob.envs.stepping` at no cost.
    settings = {"disable_env_checker": True, **kwargs}

    def one() -> object:
        return gymnasium.make(entry, **settings)

    try:
        return _each(one, count)
    except (AskedToEnd, InputError):
        raise
    except BaseException as error:
        path = "environment.kwargs" if kwargs and isinstance(error, TypeError) else "environment.id"
        raise InputError(f"{name} cannot be made: {explain(error)}", path=path) from error


def registered(name: str) -> EnvSpec:
    """The registry's entry of an id, `module:id` importing the module first; so are those in `NAMESPACES`."""
    import gymnasium

    module, _, plain = name.rpartition(":")
    home = NAMESPACES.get(plain.partition("/")[0])
    if home is not None and not module:
        with suppress(ImportError):
            importlib.import_module(home)
    if module:
        import_module(module, f"{name}: cannot import {module}", "environment.id")
    entry = gymnasium.registry.get(plain)
    if entry is not None:
        return entry
    ids = {each.lower(): each for each in gymnasium.registry}
    near = [ids[each] for each in difflib.get_close_matches(plain.lower(), ids, n=3, cutoff=0.75)]
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif home is not None and not module and not home.startswith("rljob."):
        hint = f"is it installed? Try: pip install {home.replace('_', '-')}"
    else:
        hint = "an id that another package registers is written module:id"
    raise InputError(f"{name!r} is not registered with Gymnasium; {hint}", path="environment.id")


def _from_vector_entry_point(
    registered: EnvSpec, kwargs: Mapping[str, Any], count: int
) -> Vector | None:
    """The environment's own vector form, or None where it has none that does the same."""
    import gymnasium

    made = _vector_class(registered)
    if made is None or not _same_in_vector_form(kwargs):
        return None
    # By default ale-py uses every core of the machine.
    threads = {"num_threads": 1} if "num_threads" in inspect.signature(made).parameters else {}
    try:
        vector: Vector = gymnasium.make_vec(
            registered,
            num_envs=count,
            vectorization_mode="vector_entry_point",
            **{**threads, **kwargs},
        )
    except Exception:
        # It may lack a dependency, take fewer settings or refuse wrappers. Single environments do
        # the same more slowly, or say what is wrong with the settings.
        return None
    if _resets_on_next_step(vector):
        return vector
    vector.close()
    return None


def _same_in_vector_form(kwargs: Mapping[str, Any]) -> bool:
    """Whether the settings mean the same to a vector form: it has no wrappers, which `gymnasium.make` adds."""
    limit = kwargs.get("max_episode_steps", 1)
    whole = isinstance(limit, int) and not isinstance(limit, bool) and limit > 0
    return whole and not {"disable_env_checker", "additional_wrappers"} & kwargs.keys()


def _vector_class(registered: EnvSpec) -> Callable[..., Any] | None:
    """What makes an id's vector form; None where there is none, or it cannot be imported."""
    from gymnasium.envs.registration import load_env_creator

    made = registered.vector_entry_point
    if not isinstance(made, str):
        return made
    try:
        loaded: Callable[..., Any] = load_env_creator(made)
    except Exception:
        return None
    return loaded


def _from_factory(
    entry_point: str, kwargs: Mapping[str, Any], count: int, limit: Mapping[str, int]
) -> list[Env] | Vector:
    from gymnasium.vector import VectorEnv

    path = "environment.entryPoint"
    factory = load_entry_point(entry_point, path)
    if not callable(factory):
        what = type(factory).__name__
        raise InputError(f"{entry_point} is a {what}, not a function or class", path=path)
    vectorised = _takes_num_envs(factory, kwargs, entry_point)
    if vectorised and limit:
        time_limit.check_vector_form(
            factory,
            entry_point,
            "A factory of vector environments that takes it truncates their episodes",
        )
    try:
        if not vectorised:
            made = _each(lambda: factory(**kwargs), count)
            for steps in limit.values():
                # The steps of several agents are limited where they are counted.
                made = [env if is_parallel(env) else time_limit.limited(env, steps) for env in made]
            return made
        vector = factory(num_envs=count, **kwargs, **limit)
    except AskedToEnd:
        raise
    except InputError as error:
        raise InputError(f"{entry_point} {error.message}", path=path) from error
    except BaseException as error:
        raise InputError(f"{entry_point} raised {explain(error)}", path=path) from error
    if not isinstance(vector, VectorEnv):
        raise InputError(
            f"{entry_point} takes num_envs and returned {_kind(vector)}; such a factory must return a "
            "gymnasium.vector.VectorEnv",
            path=path,
        )
    if vector.num_envs != count:
        message = f"{entry_point} was asked for {count} environments and returned {vector.num_envs}"
        raise InputError(message, path=path)
    if not _resets_on_next_step(vector):
        raise InputError(
            f"{entry_point} returned a VectorEnv whose metadata['autoreset_mode'] is "
            f"{vector.metadata.get('autoreset_mode')}; rljob needs AutoresetMode.NEXT_STEP",
            path=path,
        )
    return vector


def _each(one: Callable[[], object], count: int) -> list[Env]:
    """`count` environments with the same spaces; closes what it made when one cannot be."""
    import gymnasium

    made: list[Env] = []
    try:
        for _ in range(count):
            env: Any = one()
            if not isinstance(env, gymnasium.Env) and not is_parallel(env):
                expected = "a gymnasium.Env, or a parallel environment of PettingZoo's form"
                raise _wrong(f"returned {_kind(env)}, expected {expected}", env)
            if is_parallel(env):
                _check_parallel(env)
            if any(env is other for other in made):
                raise _wrong("returned the same environment twice; each call must make a new one")
            made.append(env)
            for name, space in _declared(env).items():
                if space != _declared(made[0]).get(name):
                    raise _wrong(f"returned environments with different {name}s")
    except BaseException:
        close(made)
        raise
    return made


def _check_parallel(env: Any) -> None:
    """Raises InputError where it lacks a method that every parallel environment has."""
    for name in ("observation_space", "action_space"):
        if not callable(getattr(env, name, None)):
            raise _wrong(
                f"returned {_kind(env)}, whose {name} is no method of an agent's name", env
            )
    if getattr(env, "state_space", None) is not None and not callable(getattr(env, "state", None)):
        raise _wrong(f"returned {_kind(env)}, which has a state_space and no method state()", env)


def is_parallel(env: object) -> bool:
    """Whether this is an environment of several agents that act at the same time; see `rljob.envs.parallel`."""
    return hasattr(env, "possible_agents") and not callable(getattr(env, "last", None))


def _declared(env: Any) -> dict[str, Any]:
    """What all environments of a job have to have in common."""
    if not is_parallel(env):
        return {"observation space": env.observation_space, "action space": env.action_space}
    declared: dict[str, Any] = {"possible_agents": list(env.possible_agents)}
    for agent in env.possible_agents:
        declared[f"observation space of {agent}"] = env.observation_space(agent)
        declared[f"action space of {agent}"] = env.action_space(agent)
    return declared


def close(made: list[Env] | Vector) -> None:
    """Close what was made; what an environment raises then is ignored."""
    for env in made if isinstance(made, list) else [made]:
        try:
            env.close()
        except AskedToEnd:
            raise
        except BaseException:
            continue


def _wrong(message: str, env: object = None) -> InputError:
    from gymnasium.vector import VectorEnv

    if isinstance(env, VectorEnv):
        message += "; a factory of vector environments must take num_envs"
    return InputError(message, path="environment")


def _takes_num_envs(
    factory: Callable[..., Any], kwargs: Mapping[str, Any], entry_point: str
) -> bool:
    """Whether a factory makes vector environments; checks that it takes `kwargs` as well."""
    try:
        signature = inspect.signature(factory)
    except ValueError:
        return False
    vectorised = "num_envs" in signature.parameters
    try:
        signature.bind(**({"num_envs": 1} if vectorised else {}), **kwargs)
    except TypeError as error:
        names = ", ".join(name for name in signature.parameters if name != "num_envs") or "nothing"
        message = f"{error}. {entry_point} takes {names}"
        raise InputError(message, path="environment.kwargs") from error
    return vectorised


def _resets_on_next_step(vector: Vector) -> bool:
    from gymnasium.vector import AutoresetMode

    try:
        return AutoresetMode(vector.metadata.get("autoreset_mode")) is AutoresetMode.NEXT_STEP
    except ValueError:
        return False


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__module__}.{type(value).__name__}"
