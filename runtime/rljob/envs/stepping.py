"""Steps environments in their own vector form, which may have threads, or one after the other.

Checks what environments return; `rljob.envs.vector` interprets it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from rljob.envs.factory import explain, is_pool
from rljob.envs.spaces import MultiDiscreteSpace, Space
from rljob.errors import RunError

if TYPE_CHECKING:
    from rljob.envs.factory import Env, Vector

Arrays4 = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Observation, reward, terminated, truncated, of all environments."""


class Stepper(Protocol):
    """Resets on the step after an end. `send` begins a step, `receive` has what it gave; the arrays may be
    overwritten by the next one. All raise RunError when an environment does, or breaks its promises."""

    def reset(self, seed: int | None) -> np.ndarray: ...
    def send(self, action: np.ndarray) -> None: ...
    def receive(self) -> Arrays4: ...
    def close(self) -> None: ...


def stepper(made: list[Env] | Vector, space: Space) -> Stepper:
    """For what `envfactory.make` made, which observes `space`."""
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
            observation, _ = self._env.reset(seed=seed)
        except Exception as error:
            raise RunError(f"the environments raised at reset: {explain(error)}") from error
        return self._conform("observation", observation, self._shape, self._dtype)

    def send(self, action: np.ndarray) -> None:
        self._action = action

    def _answer(self) -> tuple[Any, ...]:
        answer: tuple[Any, ...] = self._env.step(self._action)
        return answer

    def receive(self) -> Arrays4:
        try:
            observation, reward, terminated, truncated, _ = self._answer()
        except Exception as error:
            raise self._broke(error) from error
        self._steps += 1
        flat = self._shape[:1]
        return (
            self._conform("observation", observation, self._shape, self._dtype),
            self._conform("reward", reward, flat, _FLOAT32).astype(np.float32, copy=False),
            self._conform("terminated", terminated, flat, _BOOL),
            self._conform("truncated", truncated, flat, _BOOL),
        )

    def close(self) -> None:
        with suppress(Exception):
            self._env.close()

    def _broke(self, error: Exception) -> RunError:
        return RunError(f"the environments raised at step {self._steps}: {explain(error)}")

    def _conform(
        self, field: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> np.ndarray:
        array = np.asarray(value)
        if array.shape != shape or array.dtype != dtype:
            _check(array, shape, dtype, f"the environments returned {field}s")
        return array


class _Pool(_Vectorised):
    """A vector environment that steps in threads of its own, from `send` on."""

    def reset(self, seed: int | None) -> np.ndarray:
        # Such pools are written in C++, take seeds of 31 bits, and count on from the first one.
        return super().reset(None if seed is None else seed % (2**31 - self._env.num_envs))

    def send(self, action: np.ndarray) -> None:
        try:
            self._env.send(action)
        except Exception as error:
            raise self._broke(error) from error

    def _answer(self) -> tuple[Any, ...]:
        answer: tuple[Any, ...] = self._env.recv()
        return answer


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
                observation, _ = env.reset(seed=seeds[index])
            except Exception as error:
                message = f"environment {index} raised at reset: {explain(error)}"
                raise RunError(message) from error
            self._put(index, observation)
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
                if over[index]:
                    observation, _ = env.reset()
                    reward, end, cut = 0.0, False, False
                else:
                    observation, reward, end, cut, _ = env.step(action[index])  # type: ignore[assignment]
            except Exception as error:
                message = f"environment {index} raised at step {self._steps}: {explain(error)}"
                raise RunError(message) from error
            self._put(index, observation)
            rewards.append(reward)
            ends.append(end)
            cuts.append(cut)
            over[index] = bool(end or cut)
        self._steps += 1
        flags = np.array(ends, np.bool_), np.array(cuts, np.bool_)
        return self._observation, _numbers(rewards), *flags

    def close(self) -> None:
        for env in self._envs:
            with suppress(Exception):
                env.close()

    def _put(self, index: int, observation: Any) -> None:
        if (
            type(observation) is not np.ndarray
            or observation.shape != self._shape
            or observation.dtype != self._environment_dtype
        ):
            what = f"environment {index} returned an observation"
            observation = np.asarray(observation)
            _check(observation, self._shape, self._observation.dtype, what)
        self._observation[index] = observation


_FLOAT32 = np.dtype(np.float32)
_BOOL = np.dtype(np.bool_)


def _environment_shape(space: Space) -> tuple[int, ...]:
    return space.environment_shape if isinstance(space, MultiDiscreteSpace) else space.shape


def _check(array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> None:
    if array.shape != shape:
        raise RunError(f"{what} of shape {array.shape}, expected {shape}")
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise RunError(f"{what} of {array.dtype}, expected {dtype}")


def _numbers(rewards: list[Any]) -> np.ndarray:
    try:
        row = np.array(rewards, np.float32)
    except (TypeError, ValueError):
        row = np.empty(0, np.float32)
    if row.shape != (len(rewards),):
        odd = [not isinstance(each, (int, float, np.number)) for each in rewards]
        index = odd.index(True) if True in odd else 0
        message = f"environment {index} returned the reward {rewards[index]!r}, expected one number"
        raise RunError(message)
    return row
