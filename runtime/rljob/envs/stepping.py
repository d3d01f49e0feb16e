"""Steps environments in their own vector form, which may have threads, or one after the other.

Calls the user's `reset`, `step` and `close`, and checks the form of what they return; `rljob.envs.vector`
interprets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

import numpy as np

from rljob.envs import factory
from rljob.envs.factory import is_pool
from rljob.envs.spaces import MultiDiscreteSpace, Space
from rljob.errors import InputError, RunError
from rljob.user_code.failure import rethrow, trace

if TYPE_CHECKING:
    from rljob.envs.factory import Env, Vector

Arrays4 = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Observation, reward, terminated, truncated, of all environments."""

_STEP = "(observation, reward, terminated, truncated, info)"
_RESET = "(observation, info)"
_OLD = ". It is written for the old Gym; Gymnasium's form is needed"


class Stepper(Protocol):
    """Resets on the step after an end. `send` begins a step, `receive` has what it gave; the arrays may be
    overwritten by the next one.

    All raise UserCodeError when an environment does. What has another form than Gymnasium's or the space's is an
    InputError at the first reset and step, later a RunError.
    """

    def reset(self, seed: int | None) -> np.ndarray: ...
    def send(self, action: np.ndarray) -> None: ...
    def receive(self) -> Arrays4: ...
    def close(self) -> None: ...


def stepper(made: list[Env] | Vector, space: Space) -> Stepper:
    """For what `factory.make` made, which observes `space`."""
    if isinstance(made, list):
        return SequentialVectorEnv(made, space)
    return _Pool(made, space) if is_pool(made) else _Vectorised(made, space)


class _Vectorised:
    """A vector environment that resets on the next step, checked at every step."""

    def __init__(self, env: Vector, space: Space) -> None:
        self._env: Any = env
        self._shape = (env.num_envs, *_environment_shape(space))
        self._dtype = space.dtype
        self._steps = 0

    def reset(self, seed: int | None) -> np.ndarray:
        try:
            answer = self._env.reset(seed=seed)
        except BaseException as error:
            rethrow("the environments raised at reset", error)
        observation, _ = _parts(answer, 2, "the environments: reset", _RESET, self._steps)
        return self._conform("observation", observation, self._shape, self._dtype)

    def send(self, action: np.ndarray) -> None:
        self._action = action

    def _answer(self) -> Any:
        return self._env.step(self._action)

    def receive(self) -> Arrays4:
        try:
            answer = self._answer()
        except BaseException as error:
            self._broke(error)
        observation, reward, terminated, truncated, _ = _parts(
            answer, 5, "the environments: step", _STEP, self._steps
        )
        self._steps += 1
        flat = self._shape[:1]
        return (
            self._conform("observation", observation, self._shape, self._dtype),
            self._conform("reward", reward, flat, _FLOAT32).astype(np.float32, copy=False),
            self._conform("terminated", terminated, flat, _BOOL),
            self._conform("truncated", truncated, flat, _BOOL),
        )

    def close(self) -> None:
        factory.close(self._env)

    def _broke(self, error: BaseException) -> NoReturn:
        rethrow(f"the environments raised at step {self._steps}", error)

    def _conform(
        self, field: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> np.ndarray:
        if (
            type(value) is not np.ndarray
            or value.dtype != dtype
            or cast("np.ndarray", value).shape != shape
        ):
            what = f"the environments returned {field}s"
            return _checked(value, shape, dtype, what, self._steps)
        return value


class _Pool(_Vectorised):
    """A vector environment that steps in threads of its own, from `send` on."""

    def reset(self, seed: int | None) -> np.ndarray:
        # Such pools are written in C++, take seeds of 31 bits, and count on from the first one.
        return super().reset(None if seed is None else seed % (2**31 - self._env.num_envs))

    def send(self, action: np.ndarray) -> None:
        try:
            self._env.send(action)
        except BaseException as error:
            self._broke(error)

    def _answer(self) -> Any:
        return self._env.recv()


class SequentialVectorEnv:
    """Single environments, stepped one after the other and reset on the step after an end.

    Rows go straight into one array, and what an environment tells in `info` is not gathered; that is
    what makes it faster than `gymnasium.vector.SyncVectorEnv`.
    """

    def __init__(self, envs: list[Env], space: Space) -> None:
        self._envs = envs
        self._shape = _environment_shape(space)
        self._environment_dtype = space.environment_dtype
        self._observation = np.zeros((len(envs), *self._shape), space.dtype)
        self._over = [False] * len(envs)
        self._steps = 0

    def reset(self, seed: int | None) -> np.ndarray:
        seeds: list[int | None] = [None] * len(self._envs)
        if seed is not None:
            seeds = cast(
                "list[int | None]",
                np.random.SeedSequence(seed).generate_state(len(self._envs)).tolist(),
            )
        for index, env in enumerate(self._envs):
            try:
                answer = env.reset(seed=seeds[index])
            except BaseException as error:
                if isinstance(error, TypeError) and not trace(error):
                    what = f"environment {index}: reset cannot be called with a seed: {error}{_OLD}"
                    raise _wrong_form(what, self._steps) from error
                rethrow(f"environment {index} raised at reset", error)
            self._put_first(index, answer)
            self._over[index] = False
        return self._observation

    def send(self, action: np.ndarray) -> None:
        self._action = action

    def receive(self) -> Arrays4:
        rewards: list[Any] = []
        ends: list[Any] = []
        cuts: list[Any] = []
        over, action = self._over, self._action
        for index, env in enumerate(self._envs):
            try:
                answer: Any = env.reset() if over[index] else env.step(action[index])
            except BaseException as error:
                rethrow(f"environment {index} raised at step {self._steps}", error)
            if over[index]:
                self._put_first(index, answer)
                reward, end, cut = 0.0, False, False
            else:
                # Before the common form, so that what is common costs nothing.
                if type(answer) is not tuple or len(answer) != 5:
                    answer = _parts(answer, 5, f"environment {index}: step", _STEP, self._steps)
                observation, reward, end, cut, _ = answer
                self._put(index, observation)
            rewards.append(reward)
            ends.append(end)
            cuts.append(cut)
            try:
                over[index] = bool(end or cut)
            except (TypeError, ValueError):
                what = f"environment {index} returned terminated {end!r} and truncated {cut!r}, expected two booleans"
                raise _wrong_form(what, self._steps) from None
        flags = self._flags("terminated", ends), self._flags("truncated", cuts)
        numbers = self._numbers(rewards)
        self._steps += 1
        return self._observation, numbers, *flags

    def close(self) -> None:
        factory.close(self._envs)

    def _put_first(self, index: int, answer: Any) -> None:
        observation, _ = _parts(answer, 2, f"environment {index}: reset", _RESET, self._steps)
        self._put(index, observation)

    def _put(self, index: int, observation: Any) -> None:
        if (
            type(observation) is not np.ndarray
            or observation.shape != self._shape
            or observation.dtype != self._environment_dtype
        ):
            what = f"environment {index} returned an observation"
            dtype = self._observation.dtype
            observation = _checked(observation, self._shape, dtype, what, self._steps)
        self._observation[index] = observation

    def _numbers(self, rewards: list[Any]) -> np.ndarray:
        try:
            row = np.array(rewards)
        except ValueError:
            row = np.empty(0)
        # None would become NaN, and text a number.
        if row.shape != (len(rewards),) or row.dtype.kind not in "fiub":
            odd = [not isinstance(each, (int, float, np.number)) for each in rewards]
            index = odd.index(True) if True in odd else 0
            what = (
                f"environment {index} returned the reward {rewards[index]!r}, expected one number"
            )
            raise _wrong_form(what, self._steps)
        return row.astype(np.float32, copy=False)

    def _flags(self, name: str, values: list[Any]) -> np.ndarray:
        if all(type(value) in (bool, np.bool_) for value in values):
            return np.array(values, np.bool_)
        for index, value in enumerate(values):
            # 0 and 1 are what older environments and NumPy's comparisons give.
            if np.ndim(value) or value not in (0, 1):
                what = f"environment {index} returned {name} {value!r}, expected True or False"
                raise _wrong_form(what, self._steps)
        return np.array(values).astype(np.bool_)


_FLOAT32 = np.dtype(np.float32)
_BOOL = np.dtype(np.bool_)


def _environment_shape(space: Space) -> tuple[int, ...]:
    return space.environment_shape if isinstance(space, MultiDiscreteSpace) else space.shape


def _parts(answer: Any, count: int, who: str, form: str, steps: int) -> Any:
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
    raise _wrong_form(f"{what}{_OLD if old else ''}", steps)


def _checked(
    value: object, shape: tuple[int, ...], dtype: np.dtype[Any], what: str, steps: int
) -> np.ndarray:
    """The array that a value stands for, which fits into `dtype`."""
    try:
        array = np.asarray(value)
    except Exception:
        kind = type(value).__name__
        message = f"{what} that is a {kind} and no array, expected shape {shape}"
        raise _wrong_form(message, steps) from None
    if array.shape != shape:
        kind = "" if isinstance(value, np.ndarray) else f" (a {type(value).__name__})"
        raise _wrong_form(f"{what} of shape {array.shape}{kind}, expected {shape}", steps)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise _wrong_form(f"{what} of {array.dtype}, expected {dtype}", steps)
    if dtype.kind in "iu" and array.dtype != dtype and (array.astype(dtype) != array).any():
        raise _wrong_form(f"{what} of {array.dtype} that does not fit into {dtype}", steps)
    return array


def _wrong_form(message: str, steps: int) -> InputError | RunError:
    """At the first step an error of the environment's author, for which no restart is a remedy."""
    return RunError(message) if steps else InputError(message, path="environment")
