"""A loaded policy: acts in numpy on the environment's own observations."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from rljob.algorithms.acting import Actor, Place, Policy, Seen
from rljob.envs.spaces import Spaces
from rljob.errors import AskedToEnd, InputError, RLJobError, RunError
from rljob.nets.acting import ActingNetworks
from rljob.policies.interface import Observation, PolicyInterface

if TYPE_CHECKING:
    from rljob.algorithms.base import Algorithm
    from rljob.envs.games import Games
    from rljob.spec import RLJob


class TrainedPolicy:
    """A policy that acts outside of its run; made by `rljob.load_policy`. Several threads may use it.

    Args:
        version: of the policy.
        path: the checkpoint that it came from.
        lineage: of the learner's life that made it; in a later one, versions may begin lower.
        spaces: as the algorithm sees them.
        convert: the job's `environment.convert`.
        networks: that act, with their weights.
        make_actor: makes the acting half of the algorithm.
        form: see `acting_form`; None where the job's own code acts.
        seed: of what is drawn at random; None takes fresh entropy.
        keep: something that has to live as long as the policy.
        job: without a form, the job.
        algorithm: without a form, the job's algorithm.

    Attributes:
        version: of the policy; grows during training.
        path: the checkpoint that it came from.
    """

    def __init__(
        self,
        *,
        version: int,
        path: Path,
        spaces: Spaces,
        convert: Mapping[str, Any] | None,
        networks: ActingNetworks,
        make_actor: Callable[[Policy, Place], Actor],
        form: Mapping[str, Any] | None,
        seed: int | None = None,
        keep: object = None,
        job: RLJob | None = None,
        algorithm: Algorithm | None = None,
        lineage: int = 0,
    ) -> None:
        self.version, self.path, self._lineage = version, path, lineage
        self.spaces, self.form, self.networks = spaces, form, networks
        self.interface = PolicyInterface(spaces, convert)
        self._make_actor = make_actor
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._keep = keep
        self.job, self.algorithm = job, algorithm

    def __repr__(self) -> str:
        return f"<policy version {self.version}: {self.interface.observation} to {self.interface.action}>"

    @property
    def stamp(self) -> tuple[int, int]:
        """Lineage and version: what is newer has a higher one."""
        return self._lineage, self.version

    @property
    def memory_size(self) -> int:
        """Numbers that it remembers of each episode; 0 for a policy without memory."""
        return self.networks.core_size

    def draws_like(self, other: TrainedPolicy) -> None:
        """From now on, draw at random what the other policy draws from now on."""
        self._rng = copy.deepcopy(other._rng)

    def act(
        self,
        observation: Observation,
        *,
        deterministic: bool = True,
        mask: ArrayLike | None = None,
    ) -> np.ndarray:
        """The actions for one observation `[...]`, or for a batch `[N, ...]`, as the environment takes them.

        Args:
            observation: as the environment returns it.
            deterministic: whether to take the best action, as evaluations do. Otherwise actions are drawn: of a
                distribution as it says, of values with the share of random actions that rollouts had at last.
            mask: bool `[K]` or `[N, K]`, which actions are allowed; None allows all. That of a MultiDiscrete is flat.

        Raises:
            InputError: the observation or the mask is not of the policy's spaces, or the policy has a memory.
            UserCodeError: the job's own algorithm or network raised.
        """
        if self.memory_size:
            raise InputError(
                "this policy has a memory of its episode: use episode = policy.episode(), then episode.act(observation)"
            )
        stored, allowed, single = self.interface.observations(observation, mask)
        actions, _ = self.choose(stored, allowed, None, deterministic=deterministic)
        found: np.ndarray = actions[0] if single else actions
        return found

    def predict(
        self,
        observation: Observation,
        state: np.ndarray | None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = False,
        *,
        mask: ArrayLike | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """As `predict` of Stable-Baselines3: the actions, and the memory for the next call.

        Args:
            state: what the call before returned; None before the first.
            episode_start: bool `[N]`, where an episode begins and the memory is cleared.
            deterministic: see `act`. The default is that of Stable-Baselines3.
            mask: see `act`.

        Raises:
            InputError: as `act`, or `episode_start` is not one for each observation.
        """
        stored, allowed, single = self.interface.observations(observation, mask)
        rows = len(stored)
        memory = self.checked_memory(state, rows)
        begins = _rows_of(False if episode_start is None else episode_start, rows, "episode_start")
        if memory is not None:
            memory[begins.astype(np.bool_)] = 0
        actions, after = self.choose(stored, allowed, memory, deterministic=deterministic)
        return (actions[0] if single else actions), after

    def checked_memory(self, memory: ArrayLike | None, rows: int) -> np.ndarray | None:
        """A copy of a memory, float32 `[N, size]`; zeros for None, and None for a policy without memory.

        Raises:
            InputError: it has another shape, or a number that is not finite.
        """
        if not self.memory_size:
            return None
        if memory is None:
            return np.zeros((rows, self.memory_size), np.float32)
        try:
            with np.errstate(over="ignore"):
                found = np.array(memory, np.float32)
        except (ValueError, TypeError, OverflowError):
            raise InputError("memory: is no array of numbers") from None
        if found.shape != (rows, self.memory_size):
            raise InputError(
                f"memory: has the shape {list(found.shape)}; this policy needs {[rows, self.memory_size]}"
            )
        if not np.isfinite(found).all():
            raise InputError("memory: has a number that is infinite or NaN")
        return found

    def choose(
        self,
        stored: np.ndarray,
        mask: np.ndarray | None,
        memory: np.ndarray | None,
        *,
        deterministic: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The environment's actions `[N, ...]` for observations as stored, and the memory after them.

        Args:
            stored: `[N, ...]`, from `interface.observations`.
            mask: bool `[N, K]`, from there.
            memory: `[N, size]`, of a policy with memory; it is overwritten.
        """
        rows = len(stored)
        with self._lock:
            policy = Policy(self.networks, rows)
            if memory is not None:
                policy.core = memory
            if deterministic:
                policy.use_means()
            actor = self._actor(policy, rows, deterministic, None)
            chosen = _act(actor, _seen(stored, mask, np.ones(rows, np.bool_)))
        return self.interface.actions(chosen, single=False), memory

    def episode(self, *, deterministic: bool = True, env: Any = None) -> PolicyEpisode:
        """Acts through one episode, or a batch of episodes that begin together, with the policy's memory of it.

        Args:
            deterministic: see `act`.
            env: the `gymnasium.Env` that is played, for an algorithm that plans in copies of it.
        """
        return PolicyEpisode(self, deterministic, env)

    def _actor(self, policy: Policy, rows: int, greedy: bool, games: Games | None) -> Actor:
        place = Place(rows, self._rng, total=rows, greedy=greedy, games=games)
        return self._make_actor(policy, place)


class PolicyEpisode:
    """One episode, or a batch of episodes that begin together; made by `TrainedPolicy.episode`."""

    def __init__(self, policy: TrainedPolicy, deterministic: bool, env: Any) -> None:
        self._of, self._deterministic, self._env = policy, deterministic, env
        self._policy: Policy | None = None
        self._actor: Actor | None = None
        self._rows = 0

    def act(
        self,
        observation: Observation,
        *,
        mask: ArrayLike | None = None,
        reward: ArrayLike = 0.0,
    ) -> np.ndarray:
        """The next action; see `TrainedPolicy.act`. All calls have as many observations as the first.

        Args:
            reward: of the step before; an algorithm of your own may look at it.

        Raises:
            InputError: as `TrainedPolicy.act`.
            UserCodeError: likewise.
        """
        of = self._of
        stored, allowed, single = of.interface.observations(observation, mask)
        rows = len(stored)
        rewards = _rows_of(reward, rows, "reward")
        with of._lock:
            begins = self._actor is None
            if self._actor is None:
                self._policy, self._rows = Policy(of.networks, rows), rows
                self._actor = of._actor(self._policy, rows, self._deterministic, self._games())
            if rows != self._rows:
                raise InputError(
                    f"{rows} observations; this episode began with {self._rows}. Use another policy.episode()"
                )
            if self._deterministic:
                Policy(of.networks, rows).use_means()
            seen = _seen(stored, allowed, np.full(rows, begins), rewards)
            chosen = _act(self._actor, seen)
        return of.interface.actions(chosen, single)

    def _games(self) -> Games | None:
        if self._env is None:
            return None
        from rljob.envs.games import Games

        return Games([self._env])


def _rows_of(given: ArrayLike, rows: int, what: str) -> np.ndarray:
    """One number for each row, float32 `[rows]`, of one for all or one for each."""
    try:
        return np.broadcast_to(np.asarray(given, np.float32), rows).copy()
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{what}: is {given!r:.80}; one number, or {rows}, are expected") from None


def _seen(
    stored: np.ndarray,
    mask: np.ndarray | None,
    begins: np.ndarray,
    rewards: np.ndarray | None = None,
) -> Seen:
    rows = len(stored)
    if rewards is None:
        rewards = np.zeros(rows, np.float32)
    return Seen(stored, begins, np.ones(rows, np.bool_), rewards, mask)


def _act(actor: Actor, seen: Seen) -> np.ndarray:
    """Stored actions `[N, ...]`; what the user's actor raises is told in one sentence."""
    name = f"{type(actor).__name__}.act"
    try:
        acted: Any = actor.act(seen)
    except (AskedToEnd, KeyboardInterrupt, RLJobError):
        raise
    except BaseException as error:
        from rljob.user_code.failure import explain

        hint = ""
        if actor.place.games is None:
            hint = "; an algorithm that plans in copies of its environment needs policy.episode(env=ENV), or rljob eval"
        raise RunError(f"{name} raised {explain(error)}{hint}") from error
    action = getattr(acted, "action", None)
    if not isinstance(action, np.ndarray) or len(action) != len(seen.observation):
        raise RunError(
            f"{name} returned no Acted with an action for each of {len(seen.begins)} observations"
        )
    return action
