"""Sequences of rows that go on over a rollout's segments, in a ring of segments.

Segment `seq + 1` of a rollout's life goes on where `seq` ends. Its environments may have been reset in between,
as at a boundary of a strict run: a column whose first observation is not the last one before ends there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from rljob.spec.experience import Field
from rljob.wire.experience import CORE, MASK, PRIORITY, STATE
from rljob.wire.watermark import Origin

NOT_IN_SEQUENCES = frozenset({"next_row", PRIORITY})
"""Fields of a segment that a batch of sequences does not carry."""


def batch_fields(
    segment: Iterable[Field], length: int, count: int, batch: int, agents: int = 1
) -> tuple[Field, ...]:
    """Arrays of `count` batches of sequences: `[count, length, batch * agents, ...]`, `state` `[..., batch, ...]`.

    `observation`, `mask` and `state` have one row more, and `core` only the row where the sequence begins.
    """
    rows = {"observation": length + 1, MASK: length + 1, STATE: length + 1, CORE: 1}
    columns = {STATE: batch}
    return tuple(
        Field(
            each.name,
            each.dtype,
            (
                count,
                rows.get(each.name, length),
                columns.get(each.name, batch * agents),
                *each.shape[2:],
            ),
        )
        for each in segment
        if each.name not in NOT_IN_SEQUENCES
    )


class Sequences:
    """Which sequences are whole, and their rows. A row's number is `(slot * T + step) * N + environment`.

    Args:
        valid: bool `[slots, T, N]` of the segments in all slots. Agents that are drawn together are one column.
        observation: `[slots, T + 1, N, ...]`.
        length, period, start: see `rljob.spec.experience.Replay`.
        ends: bool `[slots, T, N, ...]` each, where an episode ends.

    Attributes:
        begins: bool `[slots, T, N]`, rows at which a whole sequence begins.
        ready: number of these.
        allowed: bool `[T, 1]`, rows of a segment at which one may begin.
    """

    def __init__(
        self,
        valid: np.ndarray,
        observation: np.ndarray,
        length: int,
        period: int,
        start: Literal["row", "episode"],
        ends: Sequence[np.ndarray] = (),
    ) -> None:
        self._ends = ends
        self._steps, self._period, self._at_episodes = length, period, start == "episode"
        self._valid, self._observation = valid, observation
        slots, self._length, self._envs = self._valid.shape
        self.begins = np.zeros_like(self._valid)
        self._discarded = np.zeros_like(self._valid)
        self.ready = 0
        self._slot_of: dict[Origin, int] = {}
        self._origins: dict[int, Origin] = {}
        # Slots of the segments before and after, -1 for none.
        self._before, self._after = np.full(slots, -1), np.full(slots, -1)
        # Whether a column goes on from the segment before, and how many rows follow each other from its first.
        self._joined = np.zeros((slots, self._envs), np.bool_)
        self._reach = np.zeros((slots, self._envs), np.int64)
        self.allowed = (np.arange(self._length) % period == 0)[:, None]

    def add(self, slot: int, origin: Origin) -> set[int]:
        """Take up the segment in this slot; returns the slots whose `begins` may have changed."""
        actor, epoch, seq = origin
        self._slot_of[origin], self._origins[slot] = slot, origin
        # Of the segment that was in this slot before.
        self._reach[slot], self._discarded[slot] = 0, False
        after = self._slot_of.get((actor, epoch, seq + 1), -1)
        self._link(self._slot_of.get((actor, epoch, seq - 1), -1), slot)
        self._link(slot, after)
        if after < 0:
            return self._changed(slot)
        # Now it is known whether its first row begins an episode.
        self._work_out(after)
        return self._changed(slot) | {after}

    def remove(self, slot: int) -> set[int]:
        """Forget the segment in this slot, and the sequences that reach into it; returns as `add`."""
        origin = self._origins.pop(slot, None)
        if origin is None:
            return set()
        self._slot_of.pop(origin, None)
        before, after = int(self._before[slot]), int(self._after[slot])
        self._before[slot] = self._after[slot] = -1
        self._set_begins(slot, np.zeros((), np.bool_))
        changed = {slot}
        if after >= 0:
            self._before[after] = -1
            self._work_out(after)
            changed.add(after)
        if before >= 0:
            self._after[before] = -1
            changed |= self._changed(before)
        return changed

    def discard(self, rows: np.ndarray) -> set[int]:
        """Let no sequence begin at these rows, int64 `[n]`; returns as `add`."""
        self._discarded.reshape(-1)[rows] = True
        changed = {int(slot) for slot in rows // (self._length * self._envs)}
        for slot in changed:
            self._work_out(slot)
        return changed

    def _link(self, before: int, after: int) -> None:
        if before < 0 or after < 0:
            return
        self._after[before], self._before[after] = after, before
        same = self._observation[before, self._length] == self._observation[after, 0]
        self._joined[after] = same.reshape(self._envs, -1).all(axis=1)
        if self._ends:
            # A rollout's row that only resets lies between two episodes; an application's next segment may begin
            # with the same observation.
            last = np.any([each[before, -1].reshape(self._envs, -1) for each in self._ends], axis=0)
            self._joined[after] &= ~(last.all(axis=1) & self._valid[after, 0])

    def _changed(self, slot: int) -> set[int]:
        """Work out what begins in this segment, and in those before it from which that is in reach."""
        changed = {slot}
        while self._work_out(slot) and (slot := int(self._before[slot])) >= 0:
            changed.add(slot)
        return changed

    def _work_out(self, slot: int) -> bool:
        """Work out what begins in this segment; whether that may change what begins before it."""
        after = int(self._after[slot])
        reach = np.full(self._envs, self._length)
        if after >= 0:
            reach += np.where(self._joined[after], self._reach[after], 0)
        # Up to the end of a sequence from the last row, so that a change ends where it no longer matters.
        reach = np.minimum(reach, self._length + self._steps - 1)
        whole = np.arange(self._length)[:, None] + self._steps <= reach
        begins = whole & self.allowed & self._valid[slot] & ~self._discarded[slot]
        if self._at_episodes:
            begins &= self._episodes(slot)
        self._set_begins(slot, begins)
        different = not np.array_equal(self._reach[slot], reach)
        self._reach[slot] = reach
        return different

    def _episodes(self, slot: int) -> np.ndarray:
        """Rows, bool `[T, N]`, that follow one that only resets, or no row at all."""
        first = np.empty((self._length, self._envs), np.bool_)
        np.logical_not(self._valid[slot, :-1], out=first[1:])
        before, (_, _, seq) = int(self._before[slot]), self._origins[slot]
        first[0] = seq == 0 if before < 0 else ~(self._joined[slot] & self._valid[before, -1])
        return first

    def _set_begins(self, slot: int, begins: np.ndarray) -> None:
        self.ready -= int(np.count_nonzero(self.begins[slot]))
        self.begins[slot] = begins
        self.ready += int(np.count_nonzero(self.begins[slot]))

    def gather(
        self,
        begins: np.ndarray,
        flat: Mapping[str, np.ndarray],
        out: Mapping[str, np.ndarray],
        sharing: int = 1,
    ) -> None:
        """Copy sequences into arrays of `batch_fields`.

        Args:
            begins: numbers of the rows at which they begin, int64 `[K, B]`.
            flat: arrays of all rows, `[slots * T * N, ...]`.
            sharing: columns that share one row of `state`.
        """
        slot, rest = np.divmod(begins, self._length * self._envs)
        first, env = np.divmod(rest, self._envs)
        step = first[:, None] + np.arange(self._steps)[:, None]
        slots, step = self._follow(slot, step)
        rows = (slots * self._length + step) * self._envs + env[:, None]
        seen = (slots * (self._length + 1) + step) * self._envs + env[:, None]
        seen = np.concatenate([seen, seen[:, -1:] + self._envs], axis=1)
        kept = self._length // self._period
        core = (slot * kept + first // self._period) * self._envs + env
        index = {"observation": seen, MASK: seen, STATE: seen // sharing, CORE: core}
        for name, array in out.items():
            if name in flat:
                taken = index.get(name, rows).reshape(-1)
                into = array.reshape(len(taken), *flat[name].shape[1:])
                # Clipping is for speed: without it numpy copies the output twice.
                np.take(flat[name], taken, axis=0, out=into, mode="clip")

    def _follow(self, slot: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slots and steps `[K, L, B]` of steps that are counted from the first row of these slots, `[K, B]`."""
        hops, step = np.divmod(step, self._length)
        chain = [slot]
        for _ in range(int(hops.max())):
            chain.append(self._after[chain[-1]])
        return np.take_along_axis(np.stack(chain, axis=1), hops, axis=1), step
