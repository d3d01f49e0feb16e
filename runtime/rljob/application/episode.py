"""One episode of an application: decisions, rewards, its end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from rljob.algorithms.acting_group import ActingGroup
from rljob.algorithms.answers import check_acted
from rljob.application.core import AgentCore
from rljob.application.policies import LoadedPolicy
from rljob.application.segments import Cut, OpenSegment
from rljob.envs.values import LARGEST
from rljob.errors import InputError
from rljob.wire.experience import CORE, MASK

_NO_RECORDS = np.zeros((0, 2))


class PendingDecision:
    """One decision of `Episode.decide`.

    Attributes:
        action: what to do, as the job's action space has it.
    """

    __slots__ = ("_core", "_episode", "_row", "_segment", "_serial", "action")

    def __init__(
        self, core: AgentCore, episode: Episode, segment: OpenSegment | None, action: Any
    ) -> None:
        self.action = action
        self._core, self._episode, self._segment = core, episode, segment
        self._row = segment.rows - 1 if segment is not None else 0
        self._serial = segment.serial if segment is not None else 0

    def reward(self, value: float) -> None:
        """What came of the decision. Further calls add to it, until the decision has left.

        Raises:
            InputError: no finite number, or the decision has left; its reward then counts as 0.
        """
        core, segment = self._core, self._segment
        with core.lock:
            if segment is None:
                self._episode._checked_reward(value)
                return
            if segment.serial != self._serial or self._row >= segment.rows:
                raise core.late()
            self._episode._add(segment, self._row, value)
            if segment.complete:
                self._episode.leave_all(time.monotonic())


class Episode:
    """One episode; made by `Agent.episode`.

    As a context manager, with `with` or `async with`, it ends as terminated where the block is left, unless `end` was called. Where the
    block is left by an exception, it is given up: its last decision is forgotten, and no return is counted.
    """

    def __init__(self, core: AgentCore, group: ActingGroup) -> None:
        self._core = core
        self._group: ActingGroup | None = group
        self._acts_with: tuple[LoadedPolicy, int] | None = None
        self._segment: OpenSegment | None = None
        self._closed: deque[OpenSegment] = deque()
        self._over = self._given_up = False
        self._decisions = 0
        self._return, self._discounted, self._steps = 0.0, 0.0, 0
        self._info: list[float] = []

    def act(self, observation: Any, mask: Any = None) -> Any:
        """Choose an action. `reward` tells what came of it; without, its reward is 0.

        Args:
            observation: in the job's observation space; it is copied.
            mask: one 0 or 1 for each action, which are allowed now; for jobs with `environment.spaces.mask`.

        Returns:
            An int for a Discrete, else an array.

        Raises:
            InputError: a value that does not fit, or the episode has ended.
            RunError: the job refused this application, or the agent is closed.
        """
        with self._core.lock:
            return self._choose(observation, mask, False)

    def decide(self, observation: Any, mask: Any = None) -> PendingDecision:
        """As `act`, for a decision whose reward is known later: it does not leave without, or only after the job's
        `rewardTimeout`."""
        core = self._core
        with core.lock:
            action = self._choose(observation, mask, True)
            return PendingDecision(core, self, self._segment, action)

    def reward(self, value: float) -> None:
        """What came of the newest decision. Further calls add to it.

        Raises:
            InputError: no finite number, no decision, or the episode has ended.
        """
        core = self._core
        with core.lock:
            self._check_going()
            if not self._decisions:
                raise core.invalid(InputError("there is no decision to reward yet"))
            if self._segment is None:
                self._checked_reward(value)
                return
            self._add(self._segment, self._segment.rows - 1, value)

    def end(
        self,
        terminated: bool | None = None,
        truncated: bool = False,
        final_observation: Any = None,
        mask: Any = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        """End the episode.

        Args:
            terminated: it came to an end of its own, after which nothing is worth anything; so it is unless `truncated`.
            truncated: it was cut off, for example by a time limit.
            final_observation: what followed the last decision; needed if `truncated`.
            mask: which actions were allowed then; all, by default.
            info: numbers of the job's `environment.info`, by their keys; others are ignored.

        Raises:
            InputError: a value that does not fit, or the episode has ended.
        """
        core = self._core
        with core.lock:
            self._check_going()
            over = bool(terminated) if terminated is not None else not truncated
            if not over and not truncated:
                raise core.invalid(
                    InputError(
                        "neither terminated nor truncated; an episode that goes on has no end"
                    )
                )
            if not over and final_observation is None and self._decisions:
                raise core.invalid(
                    InputError(
                        "a truncated episode needs final_observation, from which its value goes on"
                    )
                )
            stored = allowed = None
            try:
                if final_observation is not None:
                    stored = core.values.observation(final_observation, "final_observation")
                if mask is not None:
                    allowed = core.values.mask(mask)
                names = () if core.plan is None else core.plan.info
                self._info = core.values.info({} if info is None else info, names)
            except InputError as error:
                raise core.invalid(error) from None
            self._over = True
            if self._segment is not None:
                self._close("terminated" if over else "truncated", stored, allowed)
            self._release()

    def abandon(self) -> None:
        """Give the episode up: its last decision is forgotten, as what followed is not known, and no return is counted. An
        episode that is over stays as it is."""
        with self._core.lock:
            if self._over:
                return
            self._over = self._given_up = True
            segment = self._segment
            if segment is not None:
                segment.drop_last()
                if segment.rows:
                    seen, allowed = segment.arrays["observation"], segment.arrays.get(MASK)
                    row = segment.rows
                    self._close("goes on", seen[row], None if allowed is None else allowed[row])
                else:
                    self._segment = None
                    self._core.free_segment(segment, waited=False)
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abandon()
        elif not self._over:
            self.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    # -- with the lock held ----------------------------------------------------------------------

    def leave_all(self, now: float, timeout: float = float("inf")) -> None:
        """Hand over closed segments in their order, as far as they have their rewards, or have waited for `timeout`."""
        closed = self._closed
        while closed and closed[0].may_leave(now, timeout):
            segment = closed.popleft()
            discount = self._core.discount
            plain, discounted = segment.returned(discount)
            self._return += plain
            self._discounted += discount**self._steps * discounted
            self._steps += segment.rows
            records = _NO_RECORDS
            if self._over and not self._given_up and not closed:
                told = [self._return, self._steps, self._discounted, *self._info]
                records = np.array([told], np.float64)
            assert self._group is not None
            try:
                self._core.send(segment, self._group, records)
            finally:
                self._core.free_segment(segment)
                if not closed:
                    self._core.waiting.pop(self, None)
                    self._release()

    def drop_oldest(self) -> None:
        """Forget the oldest closed segment."""
        self._core.free_segment(self._closed.popleft())
        self._given_up = True
        if not self._closed:
            self._core.waiting.pop(self, None)
            self._release()

    def _choose(self, observation: Any, mask: Any, late: bool) -> Any:
        core, group = self._core, self._group
        self._check_going()
        assert group is not None
        try:
            stored, allowed = core.values.observation(observation), core.values.mask(mask)
        except InputError as error:
            raise core.invalid(error) from None
        if core.plan is None:
            return self._play(group, stored, allowed)
        now, segment = time.monotonic(), self._segment
        if segment is None or self._is_due(segment, now):
            if segment is not None:
                self._close("goes on", stored, allowed)
            segment, policy = core.open_segment(now)
            self._segment = segment
            group.change_to(policy.networks)
        try:
            return self._take(segment, group, stored, allowed, now if late else None)
        except BaseException:
            if not segment.rows:
                # The algorithm failed at its first decision, so there is nothing to send.
                self._segment = None
                core.free_segment(segment, waited=False)
            raise

    def _take(
        self,
        segment: OpenSegment,
        group: ActingGroup,
        stored: np.ndarray,
        allowed: np.ndarray | None,
        late: float | None,
    ) -> Any:
        """Act, and record the decision. `late` is its time, if its reward is known later."""
        core = self._core
        row, arrays = segment.rows, segment.arrays
        if row:
            group.reward = arrays["reward"][row - 1]
        seen = arrays["observation"][row]
        seen[...] = stored
        if allowed is not None:
            arrays[MASK][row] = allowed
        every = segment.core_every
        memory = arrays[CORE][row // every] if every and row % every == 0 else None
        acted = group.act(seen, core.valid, allowed, memory)
        if row == 0:
            check_acted(group.name, acted, {name: array[0] for name, array in arrays.items()})
        arrays["action"][row] = acted.action
        arrays["reward"][row] = 0
        for name, value in acted.extras.items():
            arrays[name][row] = value
        if acted.kept:
            segment.keep(acted)
        action = core.values.action(acted.action, allowed)
        segment.rows = row + 1
        if late is not None:
            segment.unrewarded[row] = late
        self._decisions += 1
        return action

    def _play(self, group: ActingGroup, stored: np.ndarray, allowed: np.ndarray | None) -> Any:
        """Act without a record."""
        policy = self._core.policies.newest()
        if self._acts_with != (policy, policy.generation):
            self._acts_with = policy, policy.generation
            group.change_to(policy.networks)
        acted = group.act(stored, self._core.valid, allowed)
        self._decisions += 1
        return self._core.values.action(acted.action, allowed)

    def _is_due(self, segment: OpenSegment, now: float) -> bool:
        """Whether the next decision belongs to another segment."""
        return (
            segment.rows == segment.length
            or segment.policy.generation != segment.generation
            or now - segment.opened >= self._core.flush_after
        )

    def _close(self, cut: Cut, observation: np.ndarray | None, mask: np.ndarray | None) -> None:
        segment, self._segment = self._segment, None
        assert segment is not None
        assert self._group is not None
        self._group.reward = segment.arrays["reward"][segment.rows - 1].copy()
        segment.close(cut, observation, mask)
        self._closed.append(segment)
        self._core.closed(self)

    def _add(self, segment: OpenSegment, row: int, value: Any) -> None:
        number = self._checked_reward(value)
        reward = segment.arrays["reward"]
        total: Any
        if self._core.columns == 1 and isinstance(number, float):
            total = reward.item(row, 0) + number
            fits = -LARGEST <= total <= LARGEST
        else:
            total = reward[row] + number
            fits = bool(np.abs(total).max() <= LARGEST)
        if not fits:
            raise self._core.invalid(
                InputError(f"the rewards of one decision add up to more than {LARGEST:g}")
            )
        reward[row] = total
        segment.unrewarded.pop(row, None)

    def _checked_reward(self, value: Any) -> np.ndarray | float:
        try:
            return self._core.values.reward(value)
        except InputError as error:
            raise self._core.invalid(error) from None

    def _check_going(self) -> None:
        self._core.check_open()
        if self._over:
            raise self._core.invalid(
                InputError("this episode has ended; agent.episode() begins another one")
            )

    def _release(self) -> None:
        """Give back what acted, once all has left."""
        if self._over and not self._closed and self._group is not None:
            group, self._group = self._group, None
            self._core.free_group(group)
