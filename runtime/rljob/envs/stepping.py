"""Steps environments in their own vector form, which may have threads, or one after the other.

Calls the user's `reset`, `step` and `close`, and checks the form of what they return; `rljob.envs.vector`
interprets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

import numpy as np

from rljob.envs import factory
from rljob.envs.factory import is_pool
from rljob.envs.forms import OLD, RESET, STEP, checked, parts, wrong_form
from rljob.envs.mask_readers import IgnoredMasks, MaskReaders
from rljob.envs.mask_space import ACTION_MASK
from rljob.envs.masks import ActionMasks, NoMasks
from rljob.envs.spaces import MultiDiscreteSpace, Space, Spaces
from rljob.user_code.failure import rethrow, trace

if TYPE_CHECKING:
    from rljob.envs.factory import Env, Vector

Arrays4 = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Observation, reward, terminated, truncated, of all environments."""

PROBE_SEED = 0
"""Of the reset that tells whether there are masks; every reset after it has a seed of its own."""


class Stepper(Protocol):
    """Resets on the step after an end. `send` begins a step, `receive` has what it gave; the arrays may be
    overwritten by the next one.

    All raise UserCodeError when an environment does. What has another form than Gymnasium's or the space's is an
    InputError at the first reset and step, later a RunError.

    Attributes:
        keep_infos: whether `infos` is wanted.
        infos: what the last step told: of each environment or agent, or of all in Gymnasium's vector form.
    """

    keep_infos: bool
    infos: Any

    def find_masks(self) -> ActionMasks | None:
        """What will keep the masks; None where the environments give none. Call it once, before the first reset."""
        ...

    def reset(self, seed: int | None) -> np.ndarray: ...
    def send(self, action: np.ndarray) -> None: ...
    def receive(self) -> Arrays4: ...
    def close(self) -> None: ...


def stepper(made: list[Env] | Vector, spaces: Spaces, ignored: IgnoredMasks | None) -> Stepper:
    """For what `factory.make` made.

    Args:
        ignored: passes over masks, where the job wants none.
        spaces: `masked` where observations hold masks. Otherwise `find_masks` resets the first environment, or the
            vector environment, to see whether infos do. Pools are not asked: their infos hold none.
    """
    if isinstance(made, list):
        return SequentialVectorEnv(made, spaces, ignored)
    return (_Pool if is_pool(made) else _Vectorised)(made, spaces, ignored)


class _Vectorised:
    """A vector environment that resets on the next step, checked at every step."""

    def __init__(self, env: Vector, spaces: Spaces, ignored: IgnoredMasks | None) -> None:
        self._env: Any = env
        space = spaces.observation
        self._shape = (env.num_envs, *environment_shape(space))
        self._dtype = space.dtype
        self._steps = 0
        self._spaces = spaces
        self._readers = MaskReaders(ignored, NoMasks.of(spaces.action, is_pool(env)))
        self.keep_infos, self.infos = False, None

    def find_masks(self) -> ActionMasks | None:
        return self._readers.find(self._env.num_envs, self._spaces, self._probe)

    def reset(self, seed: int | None) -> np.ndarray:
        observation, info = self._reset(self._seed(seed))
        observation = self._readers.at_reset.read_all(observation, info, self._steps)
        self._readers.settle(None, self._steps)
        return self._conform("observation", observation, self._shape, self._dtype)

    def _reset(self, seed: int | None) -> Any:
        try:
            answer = self._env.reset(seed=seed)
        except BaseException as error:
            rethrow("the environments raised at reset", error)
        return parts(answer, 2, "the environments: reset", RESET, self._steps)

    def _probe(self) -> object:
        return self._reset(PROBE_SEED)[1]

    def _seed(self, seed: int | None) -> int | None:
        return seeds(None, 1)[0] if seed is None else seed

    def send(self, action: np.ndarray) -> None:
        self._action = action

    def _answer(self) -> Any:
        return self._env.step(self._action)

    def receive(self) -> Arrays4:
        try:
            answer = self._answer()
        except BaseException as error:
            self._broke(error)
        observation, reward, terminated, truncated, info = parts(
            answer, 5, "the environments: step", STEP, self._steps
        )
        masks = self._readers.at_step
        if masks is not None:
            observation = masks.read_all(observation, info, self._steps)
        if self.keep_infos:
            self.infos = info
        step, self._steps = self._steps, self._steps + 1
        flat = self._shape[:1]
        found = (
            self._conform("observation", observation, self._shape, self._dtype),
            self._conform("reward", reward, flat, _FLOAT32).astype(np.float32, copy=False),
            self._conform("terminated", terminated, flat, _BOOL),
            self._conform("truncated", truncated, flat, _BOOL),
        )
        if masks is not None:
            self._readers.settle(found[2] | found[3], step)
        return found

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
            return checked(value, shape, dtype, what, self._steps)
        return value


class _Pool(_Vectorised):
    """A vector environment that steps in threads of its own, from `send` on."""

    def _probe(self) -> object:
        # Its first reset takes long, and those that there are tell nothing of actions in their infos.
        return None

    def _seed(self, seed: int | None) -> int | None:
        # Such pools are written in C++, take seeds of 31 bits, and count on from the first one.
        return None if seed is None else seed % (2**31 - self._env.num_envs)

    def send(self, action: np.ndarray) -> None:
        try:
            self._env.send(action)
        except BaseException as error:
            self._broke(error)

    def _answer(self) -> Any:
        return self._env.recv()


class SequentialVectorEnv:
    """Single environments, stepped one after the other and reset on the step after an end.

    Rows go straight into one array, and of what an environment tells in `info` only an action mask and the numbers
    of `environment.info` are looked at; that is what makes it faster than `gymnasium.vector.SyncVectorEnv`.
    """

    def __init__(self, envs: list[Env], spaces: Spaces, ignored: IgnoredMasks | None) -> None:
        self._envs = envs
        space = spaces.observation
        self._shape = environment_shape(space)
        self._environment_dtype = space.environment_dtype
        self._observation = np.zeros((len(envs), *self._shape), space.dtype)
        self._over = [False] * len(envs)
        self._steps = 0
        self._spaces = spaces
        self._readers = MaskReaders(ignored, NoMasks.of(spaces.action, pool=False))
        self.keep_infos, self.infos = False, [None] * len(envs)

    def find_masks(self) -> ActionMasks | None:
        return self._readers.find(
            len(self._envs), self._spaces, lambda: self._reset(0, PROBE_SEED)[1]
        )

    def reset(self, seed: int | None) -> np.ndarray:
        for index, each in enumerate(seeds(seed, len(self._envs))):
            self._put_first(index, self._reset(index, each))
            self._over[index] = False
        self._readers.settle(None, self._steps)
        return self._observation

    def _reset(self, index: int, seed: int) -> Any:
        try:
            answer = self._envs[index].reset(seed=seed)
        except BaseException as error:
            if isinstance(error, TypeError) and not trace(error):
                what = f"environment {index}: reset cannot be called with a seed: {error}{OLD}"
                raise wrong_form(what, self._steps) from error
            rethrow(f"environment {index} raised at reset", error)
        return parts(answer, 2, f"environment {index}: reset", RESET, self._steps)

    def send(self, action: np.ndarray) -> None:
        self._action = action

    def receive(self) -> Arrays4:
        rewards: list[Any] = []
        ends: list[Any] = []
        cuts: list[Any] = []
        over, action, masks = self._over, self._action, self._readers.at_step
        keep = self.keep_infos
        for index, env in enumerate(self._envs):
            try:
                answer: Any = env.reset() if over[index] else env.step(action[index])
            except BaseException as error:
                rethrow(f"environment {index} raised at step {self._steps}", error)
            if over[index]:
                answer = parts(answer, 2, f"environment {index}: reset", RESET, self._steps)
                self._put_first(index, answer)
                reward, end, cut = 0.0, False, False
            else:
                # Before the common form, so that what is common costs nothing.
                if type(answer) is not tuple or len(answer) != 5:
                    answer = parts(answer, 5, f"environment {index}: step", STEP, self._steps)
                observation, reward, end, cut, info = answer
                if keep:
                    self.infos[index] = info
                if masks is not None:
                    observation = masks.read(index, observation, info, self._steps)
                self._put(index, observation)
            rewards.append(reward)
            ends.append(end)
            cuts.append(cut)
            try:
                over[index] = bool(end or cut)
            except (TypeError, ValueError):
                what = f"environment {index} returned terminated {end!r} and truncated {cut!r}, expected two booleans"
                raise wrong_form(what, self._steps) from None
        flags = self._flags("terminated", ends), self._flags("truncated", cuts)
        found = self._observation, self._numbers(rewards), *flags
        if masks is not None:
            self._readers.settle(flags[0] | flags[1], self._steps)
        self._steps += 1
        return found

    def close(self) -> None:
        factory.close(self._envs)

    def _put_first(self, index: int, answer: Any) -> None:
        observation, info = answer
        # Where episodes are short this is a part of the cost of a step: an info without a mask is passed over here.
        if self._readers.after is not None or (isinstance(info, dict) and ACTION_MASK in info):
            observation = self._readers.at_reset.read(index, observation, info, self._steps)
        self._put(index, observation)

    def _put(self, index: int, observation: Any) -> None:
        if (
            type(observation) is not np.ndarray
            or observation.shape != self._shape
            or observation.dtype != self._environment_dtype
        ):
            what = f"environment {index} returned an observation"
            dtype = self._observation.dtype
            observation = checked(observation, self._shape, dtype, what, self._steps)
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
            raise wrong_form(what, self._steps)
        return row.astype(np.float32, copy=False)

    def _flags(self, name: str, values: list[Any]) -> np.ndarray:
        if all(type(value) in (bool, np.bool_) for value in values):
            return np.array(values, np.bool_)
        for index, value in enumerate(values):
            # 0 and 1 are what older environments and NumPy's comparisons give.
            if np.ndim(value) or value not in (0, 1):
                what = f"environment {index} returned {name} {value!r}, expected True or False"
                raise wrong_form(what, self._steps)
        return np.array(values).astype(np.bool_)


_FLOAT32 = np.dtype(np.float32)
_BOOL = np.dtype(np.bool_)


def environment_shape(space: Space) -> tuple[int, ...]:
    """The shape of one value as an environment gives it."""
    return space.environment_shape if isinstance(space, MultiDiscreteSpace) else space.shape


def seeds(seed: int | None, count: int) -> list[int]:
    """Seeds of `count` environments; None takes fresh entropy."""
    return cast("list[int]", np.random.SeedSequence(seed).generate_state(count).tolist())
