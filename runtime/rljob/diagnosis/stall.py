"""Finds why a job with all its processes makes no progress, from the state of each process. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from rljob.diagnosis.probes import RoleProbe
from rljob.spec.roles import RoleName
from rljob.spec.stall import StallSpec
from rljob.telemetry.role_state import FIRST_APPLICATION, STARTING, RoleState

StallReason = Literal[
    "LearnerStalled", "RolloutStarved", "BufferFull", "Disconnected", "EnvironmentHung"
]
STALL_REASONS: tuple[StallReason, ...] = get_args(StallReason)
FIRST_STEP_SECONDS = 600.0
"""Default of `stall.startTimeout`, unless `stall.timeout` is longer."""
START_SECONDS = 60.0
"""Seconds that a process may take to start, even with a shorter timeout."""


@dataclass(frozen=True)
class Stall:
    """The cause of a stall.

    Attributes:
        message: a sentence for people.
        role, name: the process that causes it, if it is one process.
        stack: where it is, innermost last.
        stuck: names of all processes that hang; replacing them may help.
        ends: whether it ends the job, whatever the policy: nothing was ever trained on, and nothing will be.
    """

    reason: StallReason
    message: str
    role: RoleName | None = None
    name: str | None = None
    stack: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    ends: bool = False


@dataclass(frozen=True)
class StallLimits:
    """When a job counts as stalled, and when it is given up.

    Attributes:
        timeout: seconds without progress after which it counts as stalled.
        give_up: seconds from its start after which it ends if all its environments hang; infinite once it has made
            a step, or when stuck roles are restarted.
    """

    timeout: float
    give_up: float = math.inf

    @classmethod
    def of(cls, spec: StallSpec, begun: bool) -> StallLimits:
        """Of a job that has made a step or an update, or has `begun` neither."""
        if begun:
            return cls(spec.timeout.seconds)
        start = max(FIRST_STEP_SECONDS, spec.timeout.seconds)
        if spec.start_timeout is not None:
            start = spec.start_timeout.seconds
        give_up = math.inf if spec.policy == "Restart" else start
        return cls(min(spec.timeout.seconds, start), give_up)

    def last_look(self, started: float, now: float) -> float:
        """The latest time until now at which a stalled job may be given up; minus infinity before the first."""
        late = now - started - self.give_up
        return now - late % self.timeout if late >= 0 else -math.inf

    def next_look(self, started: float, now: float) -> float:
        """The next such time; infinite if there is none."""
        return max(started + self.give_up, self.last_look(started, now) + self.timeout)


@dataclass(frozen=True)
class ProgressWatch:
    """The last progress of a job and its time.

    Attributes:
        since: seconds of the caller's clock.
    """

    since: float
    steps: int = -1
    updates: int = -1

    def look(self, steps: int, updates: int, now: float) -> ProgressWatch:
        """The same when neither steps nor updates have increased since."""
        if (steps, updates) == (self.steps, self.updates):
            return self
        return ProgressWatch(now, steps, updates)


def stalled_at(since: float, starting: Iterable[float], timeout: float) -> float:
    """Time at which a job without further progress counts as stalled.

    Args:
        since: when it went on last, or when the last of its processes was started.
        starting: when those were started that have not yet begun to work.
    """
    return max([since + timeout, *(start + max(timeout, START_SECONDS) for start in starting)])


def diagnose(asked: Sequence[RoleProbe], timeout: float) -> Stall:
    """The cause of the stall of a job that made no progress for `timeout` seconds."""
    learner = [one for one in asked if one.role == "learner"]
    buffer = [one for one in asked if one.role == "buffer"]
    rollouts = [one for one in asked if one.role == "rollout"]
    if asked and all(one.state is None for one in asked):
        return Stall("Disconnected", "No process of the job answers.")
    stuck = _stuck(learner, timeout)
    if stuck is not None:
        return _blame("LearnerStalled", stuck)
    stuck = _stuck(buffer, timeout)
    if stuck is not None:
        return _blame("Disconnected", stuck)
    if not rollouts:
        return _waiting([*learner, *buffer]) or _alone(learner)
    hung = [one for one in rollouts if _is_stuck(one, timeout)]
    if len(hung) == len(rollouts):
        return _blame("EnvironmentHung", *hung)
    return _waiting([*learner, *buffer, *rollouts]) or _unbalanced(learner, rollouts, hung)


def waits_for_applications(asked: Sequence[RoleProbe], timeout: float) -> bool:
    """Whether nothing is wrong with a job that only applications feed: its processes work, and its learner has no data."""
    processes = [one for one in asked if one.role != "evaluator"]
    if not processes or _stuck(processes, timeout) is not None:
        return False
    states = [one.state for one in processes if one.state is not None]
    return any(_has_no_data(state) for state in states if state.role == "learner") and all(
        state.waits_for in ("", FIRST_APPLICATION) for state in states
    )


def _has_no_data(state: RoleState) -> bool:
    return state.doing == "data" or state.waits_for == FIRST_APPLICATION


def _alone(learner: Sequence[RoleProbe]) -> Stall:
    """A job without a rollout."""
    if learner and learner[0].state is not None and learner[0].state.doing not in ("", "data"):
        return _at_work(learner[0])
    return Stall("RolloutStarved", "There is no rollout.")


def _at_work(learner: RoleProbe) -> Stall:
    message = f"The learner is working but makes no progress{_where(learner)}."
    return Stall("LearnerStalled", message, "learner", learner.name, _stack(learner))


def given_up(stall: Stall, asked: Sequence[RoleProbe], limits: StallLimits) -> Stall:
    """The same, and it ends the job if no environment answers."""
    rollouts = {one.name for one in asked if one.role == "rollout"}
    if stall.reason != "EnvironmentHung" or not rollouts <= set(stall.stuck):
        return stall
    since = f"{limits.give_up:g} s after the start"
    message = f"No environment has answered {since} (stall.startTimeout): {stall.message}"
    return replace(stall, message=message, ends=True)


def _waiting(asked: Sequence[RoleProbe]) -> Stall | None:
    """A process that waits for another role."""
    for one in asked:
        if one.state is not None and one.state.waits_for not in ("", STARTING):
            message = f"{one.name} waits for {one.state.waits_for}."
            return Stall("Disconnected", message, one.role, one.name, _stack(one), (one.name,))
    return None


def _unbalanced(
    learner: Sequence[RoleProbe], rollouts: Sequence[RoleProbe], hung: Sequence[RoleProbe]
) -> Stall:
    blocked = [one for one in rollouts if one.state is not None and one.state.doing == "credit"]
    if len(blocked) == len(rollouts) - len(hung):
        message = "All rollouts wait for credit: the buffer accepts no more experience."
        return Stall("BufferFull", message)
    if hung:
        return _blame("EnvironmentHung", *hung)
    if not learner:
        return Stall("LearnerStalled", "There is no learner.")
    found = learner[0]
    if found.state is not None and found.state.doing == "data":
        slow = max(rollouts, key=lambda one: one.state.silent_seconds if one.state else 0.0)
        message = f"The learner waits for experience; {slow.name} is working{_where(slow)}."
        return Stall("RolloutStarved", message, "rollout", slow.name, _stack(slow))
    return _at_work(found)


def _stuck(asked: Sequence[RoleProbe], timeout: float) -> RoleProbe | None:
    return next((one for one in asked if _is_stuck(one, timeout)), None)


def _is_stuck(one: RoleProbe, timeout: float) -> bool:
    state = one.state
    # Half of the timeout is enough: one late iteration may have interrupted the silence.
    return state is None or state.waits_for == STARTING or state.silent_seconds >= timeout / 2


def _blame(reason: StallReason, one: RoleProbe, *others: RoleProbe) -> Stall:
    state = one.state
    if state is None:
        said = "does not answer: it is stopped, cannot be reached, or runs code that never yields"
    elif state.waits_for == STARTING:
        said = f"has not finished its start{_where(one)}"
    else:
        said = f"has done nothing for {state.silent_seconds:.0f} s{_where(one)}"
    verb = "are" if len(others) > 1 else "is"
    more = f" {', '.join(other.name for other in others)} {verb} stuck too." if others else ""
    stuck = tuple(each.name for each in (one, *others))
    return Stall(reason, f"{one.name} {said}.{more}", one.role, one.name, _stack(one), stuck)


def _stack(one: RoleProbe) -> tuple[str, ...]:
    return tuple(one.state.stack) if one.state is not None else ()


def _where(one: RoleProbe) -> str:
    """The innermost frame."""
    stack = _stack(one)
    return f", in {stack[-1]}" if stack else ""
