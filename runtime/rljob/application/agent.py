"""`rljob.Agent`: the part of a user's program that acts for a job."""

from __future__ import annotations

import atexit
import math
import os
import re
import sys
import time
import uuid
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from rljob.algorithms import make_algorithm
from rljob.algorithms.base import Algorithm
from rljob.algorithms.recorded_discount import discount_of
from rljob.application.core import AgentCore
from rljob.application.courier import CourierOrders
from rljob.application.episode import Episode
from rljob.application.link import CourierLink
from rljob.application.places import find_job
from rljob.application.policies import Policies
from rljob.application.ring import Control, FrameRing, PolicySlot
from rljob.application.values import ValueReader
from rljob.envs.declared import DeclaredSpaces, declared_spaces
from rljob.envs.spaces import Spaces, different, told_apart
from rljob.errors import InputError, RunError
from rljob.nets import build_acting
from rljob.nets.acting import ActingNetworks
from rljob.roles.evaluator.random_play import AtRandom
from rljob.wire.application import is_application
from rljob.wire.application_keys import read_application_key
from rljob.wire.description import JobDescription
from rljob.wire.experience import ExperienceFormat
from rljob.wire.weights import NOTHING

if TYPE_CHECKING:
    import gymnasium

AgentMode = Literal["train", "act", "random"]
MODES: tuple[AgentMode, ...] = ("train", "act", "random")
DELIVER_SECONDS = 10.0
"""Longest time that `close` waits for the delivery of what the program reported."""
BACKLOG_BYTES = 64 * 2**20
LEAST_BACKLOG, MOST_BACKLOG = 8, 256
"""Segments that wait for delivery: as many as fit into `BACKLOG_BYTES`, within these bounds."""


class Agent:
    """Acts for a job, and reports what came of it.

    A program may use one agent in several threads, and in coroutines: no call waits for the network, for a disk or for another process.

    Args:
        job: the folder of a run on this machine; the name of a job on the cluster that this program runs on; or the
            address of the job's buffer, as in `tcp://host:5555`.
        keys: file of the application's key, as `rljob applications add` makes it, or a folder with `application.json`.
            None where only this machine can connect, for the folder of a run, and for a name, where it is in `/etc/rljob`.
        mode: `train` explores and reports; `act` takes the best actions and reports nothing; `random` draws actions and
            reports nothing.
        name: of the application, a DNS label. By default that of the key, or of the program.
        spaces: what the program observes and how it acts, `(observation, action)` as Gymnasium spaces or a `Spaces`; if
            given, it is compared with the job's.
        namespace: of the job on the cluster; None is that of this program.
        timeout: seconds to wait for the job, until it admits a new key, and for its first policy.

    Raises:
        InputError: a wrong argument, or spaces that are not the job's.
        RunError: the job does not answer, or refuses this application.
    """

    def __init__(
        self,
        job: str | Path,
        *,
        keys: str | Path | None = None,
        mode: AgentMode = "train",
        name: str | None = None,
        spaces: Spaces | tuple[gymnasium.Space[Any], gymnasium.Space[Any]] | None = None,
        namespace: str | None = None,
        timeout: float = 120.0,
    ) -> None:
        if mode not in MODES:
            raise InputError(f"mode is {mode!r:.80}; allowed are {', '.join(MODES)}")
        deadline = time.monotonic() + _seconds(timeout)
        place = find_job(job, keys, namespace)
        self.mode: AgentMode = mode
        self.name = name if name is not None else _default_name(place.keys)
        if not is_application(self.name):
            raise InputError(
                f"name is {self.name!r:.80}; allowed are up to 63 lower-case letters, digits and '-'"
            )
        given = None if place.keys is None else str(place.keys)
        # Unique in the job: several processes may be one application.
        unique = f"{self.name}-{uuid.uuid4().hex[:8]}"
        orders = CourierOrders(unique, self.name, place.address, place.weights, given)
        self._link = CourierLink(orders)
        try:
            told = JobDescription.from_json(self._link.await_description(deadline))
            self.job = told.name
            try:
                self._core, orders = self._prepare(told, spaces, orders)
            except OSError as error:
                raise RunError(
                    f"no memory to share with the process that sends, in {self._link.folder}: {error.strerror or error}; "
                    "set TMPDIR to a folder with more room"
                ) from error
            self._link.begin(orders, self._core.look)
            if mode != "random":
                self._await_policy(orders.weights, deadline)
        except BaseException:
            self._link.close(0.0, kill=True)
            raise
        self._episodes: weakref.WeakSet[Episode] = weakref.WeakSet()
        self._closed = False
        myself = weakref.ref(self)
        self._at_exit = _closer(myself)
        atexit.register(self._at_exit)
        os.register_at_fork(after_in_child=lambda: _forked(myself))

    @property
    def policy_version(self) -> int:
        """The newest policy version that has come; -1 before the first."""
        with self._core.lock:
            return self._core.policies.newest().stamp[1]

    @property
    def counted(self) -> dict[str, int]:
        """What went wrong so far: segments `evicted` or `stale`, `late_reward`, `no_reward`, `invalid` calls."""
        return self._control.faults

    def episode(self) -> Episode:
        """Begin an episode. Several may go on at a time.

        Raises:
            RunError: the job refused this application, or the agent is closed.
        """
        core = self._core
        with core.lock:
            core.check_open()
            episode = Episode(core, core.take_group())
            self._episodes.add(episode)
            return episode

    def close(self, timeout: float = DELIVER_SECONDS) -> None:
        """Give up the episodes that are open, and wait until what was reported is delivered. Decisions that wait for rewards
        leave without.

        Args:
            timeout: seconds to wait at most.
        """
        core = self._core
        with core.lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self._at_exit)
        try:
            with core.lock:
                for episode in list(self._episodes):
                    episode.abandon()
                for episode in list(core.waiting):
                    episode.leave_all(time.monotonic(), 0.0)
        finally:
            core.trouble = core.trouble or "this agent is closed"
            self._link.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _prepare(
        self,
        told: JobDescription,
        spaces: Spaces | tuple[gymnasium.Space[Any], gymnasium.Space[Any]] | None,
        orders: CourierOrders,
    ) -> tuple[AgentCore, CourierOrders]:
        """What acts, and what the courier is to do."""
        declared = _declared(told)
        if spaces is not None:
            _check_spaces(told.name, declared.own, spaces)
        algorithm, networks = _acting(told, declared.spaces, self.mode)
        folder = self._link.folder
        self._control = Control(folder, make=True)
        policies = Policies(PolicySlot(folder, self._control), networks)
        plan, ring, frames = None, None, 0
        if self.mode == "train":
            plan = _plan(told, algorithm, declared.spaces, policies.core_size)
            size = plan.layout.size
            frames = min(MOST_BACKLOG, max(LEAST_BACKLOG, BACKLOG_BYTES // size))
            ring = FrameRing(folder, self._control, size, plan.episode_numbers, frames, make=True)
        core = AgentCore(
            ValueReader(declared),
            algorithm,
            policies,
            self._control,
            self._link,
            self.mode == "act",
            plan,
            ring,
            told.limits,
            _discount(told),
        )
        told_plan = None if plan is None else plan.to_json()
        weights = orders.weights or told.weights_from(orders.address)
        ready = replace(orders, weights=weights, job=told.job, plan=told_plan, frames=frames)
        return core, ready

    def _await_policy(self, weights: str, deadline: float) -> None:
        policies = self._core.policies
        while policies.newest().stamp == NOTHING:
            self._core.check_open()
            if time.monotonic() > deadline:
                raise RunError(
                    self._link.waits
                    or f"the job {self.job} has given no policy: its learner does not answer at {weights}, or has "
                    "not started"
                )
            time.sleep(0.005)


def _seconds(timeout: Any) -> float:
    if isinstance(timeout, bool | int | float) and 0 <= timeout < math.inf:
        return timeout
    raise InputError(f"timeout is {timeout!r:.80}; a number of seconds is expected")


def _declared(told: JobDescription) -> DeclaredSpaces:
    if told.environment is not None:
        found = declared_spaces(told.environment)
        if found is not None:
            return found
    spaces = told.spaces
    assert spaces is not None
    same = (lambda mask: mask) if spaces.masked else None
    return DeclaredSpaces(spaces, spaces, spaces.observation, spaces.action, same)


def _check_spaces(
    job: str, own: Spaces, given: Spaces | tuple[gymnasium.Space[Any], gymnasium.Space[Any]]
) -> None:
    """Raises InputError where the program's spaces are not the job's."""
    if not isinstance(given, Spaces):
        try:
            observation, action = given
        except (TypeError, ValueError):
            raise InputError("spaces must be (observation, action), as Gymnasium spaces") from None
        given = Spaces.from_gymnasium(observation, action)
    for name in different(given, own):
        mine, theirs = told_apart(getattr(given, name), getattr(own, name))
        raise InputError(
            f"the program's {name} space is {mine}, and that of the job {job} {theirs}"
        )


def _acting(
    told: JobDescription, spaces: Spaces, mode: AgentMode
) -> tuple[Algorithm, Callable[[], ActingNetworks]]:
    """The algorithm, and what makes its acting networks."""
    if mode == "random":
        return AtRandom(AtRandom.Config(), spaces), lambda: ActingNetworks({})
    algorithm = make_algorithm(told.algorithm, spaces)
    nets = algorithm.networks
    return algorithm, lambda: build_acting(
        told.network, nets, spaces, told.precision, told.networks
    )


def _plan(
    told: JobDescription, algorithm: Algorithm, spaces: Spaces, core_size: int
) -> ExperienceFormat:
    """The segments that the job takes.

    Raises:
        InputError: it takes none from applications, or others.
    """
    if told.limits is None:
        raise InputError(
            f"the job {told.name} learns from no applications; set rollout.applications in it, or use mode='act'"
        )
    info = (told.environment and told.environment.info) or ()
    plan = ExperienceFormat.of(algorithm.data, algorithm.fields, 1, spaces, core_size, info)
    if told.plan is not None and plan != told.plan:
        raise InputError(
            f"this rljob makes other segments of the description of the job {told.name} than the job; use the release "
            "that the job runs with"
        )
    return plan


def _discount(told: JobDescription) -> float:
    if told.discount is not None:
        return told.discount
    return discount_of(told.algorithm)


def _default_name(keys: Path | None) -> str:
    if keys is not None:
        return read_application_key(keys).name
    program = Path(sys.argv[0] if sys.argv else "").stem.lower()
    return re.sub(r"[^a-z0-9]+", "-", program)[:63].strip("-") or "application"


def _closer(agent: weakref.ref[Agent]) -> Callable[[], None]:
    def close() -> None:
        if (found := agent()) is not None:
            found.close()

    return close


def _forked(agent: weakref.ref[Agent]) -> None:
    """A child of the program shares memory that has one writer, and has a copy of the socket by whose end the courier
    notices that of the program."""
    if (found := agent()) is not None:
        found._closed = True
        found._core.forked(
            "this agent belongs to the process that made it; make one in each process"
        )
