"""What the episodes of one agent share. All of it is used with `lock` held."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from rljob.algorithms.acting_group import ActingGroup
from rljob.algorithms.base import Algorithm, Place
from rljob.application.link import CourierLink
from rljob.application.policies import LoadedPolicy, Policies
from rljob.application.ring import Control, FrameRing
from rljob.application.segments import OpenSegment
from rljob.application.values import ValueReader
from rljob.envs.values import problem
from rljob.errors import InputError, RunError
from rljob.user_code.failure import explain
from rljob.wire.description import ApplicationLimits
from rljob.wire.experience import ExperienceFormat

if TYPE_CHECKING:
    from rljob.application.episode import Episode

MOST_UNREWARDED = 1024
"""Closed segments that wait for rewards; a further one replaces the oldest."""
_PLACES = 256
"""Exploration may differ between so many places of a job's environments; each draws one."""
_NO_RECORDS = np.zeros((0, 2))


class AgentCore:
    """See the module.

    Args:
        plan, ring, limits: None where nothing is reported.
        discount: of the discounted returns in records of episodes.

    Attributes:
        lock: for every call of the program, and for what is due without one.
        trouble: why nothing can be done any more; empty while all is well.
        waiting: episodes with closed segments, which have not left.
        valid: bool `[N]`, all True.
    """

    def __init__(
        self,
        values: ValueReader,
        algorithm: Algorithm,
        policies: Policies,
        control: Control,
        link: CourierLink,
        greedy: bool,
        plan: ExperienceFormat | None,
        ring: FrameRing | None,
        limits: ApplicationLimits | None,
        discount: float = 1.0,
    ) -> None:
        self.lock = threading.RLock()
        self.trouble = ""
        self.values, self.plan, self.policies = values, plan, policies
        self.discount = discount
        self.flush_after = limits.flush_after if limits else 0.0
        self._reward_timeout = limits.reward_timeout if limits else 0.0
        self.waiting: dict[Episode, None] = {}
        self._waiting_segments = 0
        self.columns = values.spaces.agents
        self.valid = np.ones(self.columns, np.bool_)
        self._algorithm, self._control, self._link, self._ring = algorithm, control, link, ring
        self._greedy = greedy
        self._segments: list[OpenSegment] = []
        self._groups: list[ActingGroup] = []
        self._seeds = np.random.SeedSequence()

    def check_open(self) -> None:
        """Raises RunError once the agent is closed, or the job has refused it."""
        if self.trouble or self._link.trouble:
            raise RunError(self.trouble or self._link.trouble)

    def invalid(self, error: InputError) -> InputError:
        """Count a call that is refused; returns the error to raise."""
        self._control.count("invalid")
        return error

    def late(self) -> InputError:
        """Count a reward that came too late; returns the error to raise."""
        self._control.count("late_reward")
        return InputError(
            "this decision has left without the reward: it came after rollout.applications.rewardTimeout of the job, "
            f"{self._reward_timeout:g} s, or its episode was given up"
        )

    def take_group(self) -> ActingGroup:
        """What acts in one episode."""
        if self._groups:
            group = self._groups.pop()
            group.begin()
            return group
        rng = np.random.default_rng(self._seeds.spawn(1)[0])
        first, total = int(rng.integers(_PLACES)) * self.columns, _PLACES * self.columns
        place = Place(self.columns, rng, first, total, greedy=self._greedy)
        return ActingGroup(self._algorithm, self.policies.newest().networks, place)

    def open_segment(self, now: float) -> tuple[OpenSegment, LoadedPolicy]:
        """A segment that acts with the newest policy."""
        assert self.plan is not None
        policy = self.policies.newest()
        segment = self._segments.pop() if self._segments else OpenSegment(self.plan)
        segment.begin(now)
        segment.policy, segment.generation, segment.stamp = policy, policy.generation, policy.stamp
        return segment, policy

    def closed(self, episode: Episode) -> None:
        """An episode has one more closed segment. Too many that wait for rewards replace the oldest."""
        self._waiting_segments += 1
        self.waiting[episode] = None
        episode.leave_all(time.monotonic(), self._reward_timeout)
        if self._waiting_segments > MOST_UNREWARDED:
            self._control.count("evicted")
            next(iter(self.waiting)).drop_oldest()

    def look(self) -> None:
        """Let go what has waited too long for its rewards. What fails then is told with the next call of the program."""
        with self.lock:
            now = time.monotonic()
            try:
                for episode in list(self.waiting):
                    episode.leave_all(now, self._reward_timeout)
            except RunError as error:
                self.trouble = self.trouble or str(error)
            except Exception as error:
                self.trouble = self.trouble or explain(error)

    def forked(self, trouble: str) -> None:
        """In a child of the program: nothing can be done any more. Another thread may have held the lock."""
        self.lock, self.trouble = threading.RLock(), trouble
        self._link.forget()

    def send(self, segment: OpenSegment, group: ActingGroup, records: np.ndarray) -> None:
        """Hand a closed segment over.

        Raises:
            RunError: the algorithm chose an action that is not in its space.
        """
        assert self._ring is not None
        if segment.unrewarded:
            self._control.count("no_reward", len(segment.unrewarded))
        group.finish(segment.taken())
        found = problem({"action": segment.arrays["action"]}, self.values.spaces)
        if found:
            raise RunError(found)
        self._ring.put(segment.payload, records, segment.stamp)
        self._link.wake()

    def free_segment(self, segment: OpenSegment, waited: bool = True) -> None:
        """Take back a segment's memory: its decisions have left."""
        segment.serial += 1
        self._waiting_segments -= waited
        self._segments.append(segment)

    def free_group(self, group: ActingGroup) -> None:
        """Take back what acted in an episode that is over."""
        self._groups.append(group)
