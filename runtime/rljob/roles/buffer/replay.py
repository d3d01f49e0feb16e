"""Transitions, or sequences of them, in a ring of segments, sampled uniformly or by priority."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rljob.envs.values import LARGEST
from rljob.roles.buffer.arena import Arena
from rljob.roles.buffer.drawing import Drawing, make_drawing
from rljob.roles.buffer.sequences import Sequences, batch_fields
from rljob.spec.experience import Field, Weighting
from rljob.wire.arrays import Layout, nbytes
from rljob.wire.experience import MASK, PRIORITY, STATE

NOT_SAMPLED = frozenset({"observation", MASK, STATE, "valid", "truncated", "next_row", PRIORITY})
"""Fields of a segment that a batch of single transitions does not carry unchanged. Of agents that are drawn together,
some may be over: their batch has `valid`."""
_BOTH_ENDS = ("observation", MASK, STATE)
"""Of these, a transition has the row before its step, and under the name `next_...` the one that followed."""
_STATES = (STATE, f"next_{STATE}")
_FLOAT = 8


def data_bytes(layout: Layout, slots: int, priority_exponent: float) -> int:
    """Bytes of arena that `slots` segments of a layout need, with their priorities if any."""
    fields = slots * sum(_padded(field) for field in layout.fields)
    rows = slots * next(f.shape[0] * f.shape[1] for f in layout.fields if f.name == "reward")
    return fields + (_FLOAT * (rows + 1) if priority_exponent else 0)


def _padded(field: Field) -> int:
    return -(-nbytes(field) // 64) * 64


@dataclass(frozen=True, eq=False)
class Drawn:
    """The transitions of one delivery; each draw is another one, even of the same transitions.

    Attributes:
        rows: int64 `[K * B]`, over all slots. Agents that are drawn together are one row.
        order: place in the order of the newest segment at that time.
    """

    rows: np.ndarray
    order: int


@dataclass(frozen=True)
class Sampled:
    """A delivery's worth of batches: arrays `[K, B, ...]` in one payload.

    Attributes:
        payload: what is sent.
        drawn: what it was gathered from.
        versions: policy versions that acted, int64, for up to 64 of the transitions, or of the rows at which
            sequences begin.
        ages: seconds since these were stored, float64.
    """

    payload: np.ndarray
    drawn: Drawn
    versions: np.ndarray
    ages: np.ndarray


class ReplayStore:
    """The ring. Each field is one array over all slots, so that a batch is one `take` a field.

    Columns that are drawn together are one column here, whose elements have one dimension more.

    Args:
        arena: with `data_bytes(...)` of data; what it holds already can be sampled.
        layout: of one segment, see `rljob.algorithms.base`; `next_row` is optional.
        priority_exponent: 0 for uniform sampling.
        length, period, start, agents: of what is drawn, see `rljob.spec.experience.Replay`.
        weighting: how chances follow from priorities, see there.
    """

    def __init__(
        self,
        arena: Arena,
        layout: Layout,
        priority_exponent: float,
        length: int = 1,
        period: int = 1,
        start: Literal["row", "episode"] = "row",
        agents: int = 1,
        weighting: Weighting = "proportional",
    ) -> None:
        self._arena = arena
        self._layout = layout
        self._steps, self._agents = length, agents
        self._slots = len(arena.slots)
        self._length, columns = next(f.shape for f in layout.fields if f.name == "reward")
        self._envs = columns // agents
        self._rows = self._length * self._envs
        self._fields: dict[str, np.ndarray] = {}
        at = 0
        for field in layout.fields:
            size = self._slots * _padded(field)
            self._fields[field.name] = (
                arena.data[at : at + self._slots * nbytes(field)]
                .view(np.dtype(field.dtype))
                .reshape(self._slots, *field.shape)
            )
            at += size
        together = {name: _together(name, array, agents) for name, array in self._fields.items()}
        self._flat = {
            name: array.reshape(array.shape[0] * array.shape[1] * array.shape[2], *array.shape[3:])
            for name, array in together.items()
        }
        # Columns that share one state.
        self._sharing = self._envs // self._fields[STATE].shape[2] if STATE in self._fields else 1
        self._sequences: Sequences | None = None
        # Of agents that are drawn together: whether any of them takes the step.
        self._each_valid = together["valid"]
        self._valid = self._each_valid
        if agents > 1:
            self._valid = np.zeros(self._each_valid.shape[:3], np.bool_)
        # Rows at which what is drawn may begin.
        self._drawable = self._valid.reshape(-1)
        if length > 1:
            valid, observation = self._valid, together["observation"]
            ends = together["terminated"], together["truncated"]
            self._sequences = Sequences(valid, observation, length, period, start, ends)
            self._drawable = self._sequences.begins.reshape(-1)
        self._priorities: np.ndarray | None = None
        self._drawing: Drawing | None = None
        # Sequences begin at few rows, which a tree finds without many vain proposals.
        if priority_exponent or self._sequences is not None:
            self._drawing = make_drawing(
                self._slots * self._rows, weighting, priority_exponent or 1.0
            )
        if priority_exponent:
            # In the arena as well, so that a restarted buffer samples as its predecessor would have.
            end = at + _FLOAT * self._slots * self._rows
            self._priorities = arena.data[at:end].view(np.float64)
            self._top = arena.data[end : end + _FLOAT].view(np.float64)
            self._top[0] = max(self._top[0], 1.0)
        self._batch: tuple[tuple[int, int], Layout] | None = None
        self._held = self._groups = 0
        # Slots are filled from 0 on, so those in use are always the first ones.
        self._used = 0
        for slot in arena.stored():
            if agents > 1:
                self._join(slot)
            self._admit(slot)
        # A slot that a killed process was writing counts as empty.
        torn = np.flatnonzero(arena.slots["stored"][: self._used] == 0)
        self._fields["valid"][torn] = False
        self._next = int(arena.slots["order"].argmin()) if self._used == self._slots else self._used

    @property
    def held(self) -> int:
        """Transitions that are stored."""
        return self._held

    @property
    def ready(self) -> int:
        """Transitions, or sequences, that can be drawn."""
        if self._sequences is not None:
            return self._sequences.ready
        return self._held if self._agents == 1 else self._groups

    def valid(self, slot: int) -> int:
        """Transitions in one slot."""
        return int(np.count_nonzero(self._fields["valid"][slot]))

    @property
    def fill(self) -> float:
        """Share of the slots in use, in [0, 1]."""
        return self._used / self._slots

    def put(
        self,
        arrays: dict[str, np.ndarray],
        origin: tuple[int, int, int],
        stamp: tuple[int, int],
        now: float,
    ) -> int:
        """Store a segment over the oldest one; returns how many segments that evicted (0 or 1)."""
        slot = self._next
        evicted = int(self._arena.slots["stored"][slot])
        if evicted:
            self._count(slot, -1)
        if self._sequences is not None:
            self._weigh(self._sequences.remove(slot))
        self._arena.begin(slot)
        for name, array in arrays.items():
            self._fields[name][slot] = array
        if self._agents > 1:
            self._join(slot)
        if self._priorities is not None:
            self._priorities[self._range(slot)] = self._initial(slot)
        self._arena.commit(slot, origin, stamp, now)
        self._admit(slot)
        self._next = (slot + 1) % self._slots
        return evicted

    def _initial(self, slot: int) -> np.ndarray:
        """Priorities, float64, of rows that no learner has seen: the actor's, otherwise the highest so far."""
        if PRIORITY not in self._fields:
            return self._top[:1]
        given = self._fields[PRIORITY][slot]
        if self._agents > 1:
            given = given.reshape(*self._valid.shape[1:], self._agents).max(axis=-1)
        fit = (given > 0) & (given <= LARGEST)
        counts = fit & self._valid[slot]
        if self._sequences is not None:
            counts &= self._sequences.allowed
        self._top[0] = max(self._top[0], given.max(initial=0, where=counts))
        initial: np.ndarray = np.where(fit, given, self._top[0]).reshape(-1)
        return initial

    def _join(self, slot: int) -> None:
        """Work out which groups of this slot take a step."""
        np.any(self._each_valid[slot], axis=-1, out=self._valid[slot])

    def _count(self, slot: int, sign: int) -> None:
        self._held += sign * self.valid(slot)
        if self._agents > 1:
            self._groups += sign * int(np.count_nonzero(self._valid[slot]))

    def _admit(self, slot: int) -> None:
        self._count(slot, 1)
        self._used = max(self._used, slot + 1)
        if self._sequences is not None:
            row = self._arena.slots[slot]
            origin = (int(row["actor"]), int(row["epoch"]), int(row["seq"]))
            self._weigh(self._sequences.add(slot, origin))
        elif self._drawing is not None:
            self._weigh((slot,))

    def _weigh(self, slots: Iterable[int]) -> None:
        """Tell the drawing the priorities of all rows of these slots."""
        assert self._drawing is not None
        for slot in slots:
            rows = self._range(slot)
            each = 1.0 if self._priorities is None else self._priorities[rows]
            self._drawing.set(np.arange(rows.start, rows.stop), self._drawable[rows] * each)

    def _range(self, slot: int) -> slice:
        return slice(slot * self._rows, (slot + 1) * self._rows)

    def batch_bytes(self, count: int, batch: int) -> int:
        """Size of the payload of `sample`."""
        return self._batch_layout(count, batch).size

    def sample(
        self,
        count: int,
        batch: int,
        rng: np.random.Generator,
        now: float,
        memory: memoryview | None = None,
    ) -> Sampled:
        """Draw `count` batches of `batch` with replacement; into `memory`, if it is given.

        For transitions, the payload holds `action`, `reward`, `terminated` and the algorithm's fields as they
        were stored, `observation` and `next_observation`, and likewise `mask` and `state` where there are any; for
        sequences, see `sequences.batch_fields`. With `agents` drawn together, arrays are `[K, B * agents, ...]`,
        `valid` is among them, and `state` and what is told of each draw remain `[K, B, ...]`. For prioritised replay it also has, for each drawn, `key` (uint64, for `reprioritise`), `probability`
        (float64) and `stored` (int64), the number that could be drawn.
        """
        rows = self._draw(count * batch, rng)
        payload, out = self._batch_layout(count, batch).allocate_empty(memory)
        slots = rows // self._rows
        if self._sequences is None:
            self._gather(rows, slots, out)
        else:
            self._sequences.gather(rows.reshape(count, batch), self._flat, out, self._sharing)
        if self._priorities is not None and self._drawing is not None:
            order = self._arena.slots["order"][slots]
            out["key"].reshape(-1)[:] = (order << np.uint64(32)) | rows.astype(np.uint64)
            out["probability"].reshape(-1)[:] = self._drawing.chances(rows)
            out["stored"][...] = self.ready
        some = self._arena.slots[slots[:64]]
        drawn = Drawn(rows, self._arena.newest)
        # The clock may have been set back between two lives of the buffer.
        return Sampled(payload, drawn, some["version"].copy(), np.maximum(0, now - some["time"]))

    def _gather(self, rows: np.ndarray, slots: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        """Copy transitions into the arrays of a batch."""
        observation_rows = rows + slots * self._envs
        if "next_row" in self._flat:
            ahead = self._flat["next_row"].take(rows) - rows % self._rows // self._envs
            following = observation_rows + ahead * self._envs
        else:
            following = observation_rows + self._envs
        index = dict.fromkeys(_BOTH_ENDS, observation_rows)
        index |= {f"next_{name}": following for name in _BOTH_ENDS}
        if STATE in out:
            index[STATE] = observation_rows // self._sharing
            index[f"next_{STATE}"] = following // self._sharing
        for name, array in out.items():
            stored = name.removeprefix("next_") if name in index else name
            if stored in self._flat:
                flat = array.reshape(len(rows), *self._flat[stored].shape[1:])
                # Clipping is for speed: without it numpy copies the output twice.
                np.take(self._flat[stored], index.get(name, rows), axis=0, out=flat, mode="clip")

    def discard(self, drawn: Drawn) -> None:
        """Draw these transitions or sequences no more, unless they were overwritten meanwhile."""
        rows = np.unique(drawn.rows)
        same = self._arena.slots["order"][rows // self._rows] <= drawn.order
        rows = rows[same & self._drawable[rows]]
        if self._sequences is not None:
            self._weigh(self._sequences.discard(rows))
            return
        self._held -= int(np.count_nonzero(self._flat["valid"][rows]))
        self._flat["valid"][rows] = False
        if self._agents > 1:
            self._drawable[rows] = False
            self._groups -= len(rows)
        if self._drawing is not None:
            self._drawing.set(rows, np.zeros(len(rows)))

    def reprioritise(self, keys: np.ndarray, priorities: np.ndarray) -> None:
        """Set priorities of what was sampled; what was overwritten meanwhile is left alone.

        Args:
            keys: uint64 `[n]` as sampled.
            priorities: positive float `[n]` up to `LARGEST`; others are left out, as a sum of them has to be exact
                enough to sample from.
        """
        if self._priorities is None or self._drawing is None:
            return
        rows = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
        inside = rows < self._slots * self._rows
        rows = np.where(inside, rows, 0)
        current = self._arena.slots["order"][rows // self._rows] == keys >> np.uint64(32)
        # A sequence can end to be whole while the segment where it begins is stored.
        fit = inside & current & self._drawable[rows] & (priorities > 0) & (priorities <= LARGEST)
        if fit.any():
            self._top[0] = max(self._top[0], priorities[fit].max())
            rows, priorities = rows[fit], priorities[fit]
            self._drawing.set(rows, priorities)
            self._priorities[rows] = priorities

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        rows = self._propose(count, rng)
        drawable = self._drawable
        wrong = np.flatnonzero(~drawable[rows])
        while len(wrong):
            rows[wrong] = self._propose(len(wrong), rng)
            wrong = wrong[~drawable[rows[wrong]]]
        return rows

    def _propose(self, count: int, rng: np.random.Generator) -> np.ndarray:
        if self._drawing is not None:
            return self._drawing.draw(count, rng)
        return rng.integers(0, self._used * self._rows, count)

    def _batch_layout(self, count: int, batch: int) -> Layout:
        if self._batch is None or self._batch[0] != (count, batch):
            self._batch = (count, batch), Layout(self._batch_fields(count, batch))
        return self._batch[1]

    def _batch_fields(self, count: int, batch: int) -> tuple[Field, ...]:
        fields = self._drawn_fields(count, batch)
        if self._priorities is not None:
            fields.append(Field("key", "uint64", (count, batch)))
            fields.append(Field("probability", "float64", (count, batch)))
            fields.append(Field("stored", "int64", (count, batch)))
        return tuple(fields)

    def _drawn_fields(self, count: int, batch: int) -> list[Field]:
        if self._sequences is not None:
            fields = self._layout.fields
            return list(batch_fields(fields, self._steps, count, batch, self._agents))
        stored = {field.name: field for field in self._layout.fields}
        taken = stored.keys() - NOT_SAMPLED | ({"valid"} if self._agents > 1 else set())
        found = [field for name, field in stored.items() if name in taken]
        for each in (stored[name] for name in _BOTH_ENDS if name in stored):
            found += [each, replace(each, name=f"next_{each.name}")]
        columns = batch * self._agents
        return [
            replace(
                each,
                shape=(count, batch if each.name in _STATES else columns, *each.shape[2:]),
            )
            for each in found
        ]


def _together(name: str, array: np.ndarray, agents: int) -> np.ndarray:
    """Segments' array `[slots, rows, N, ...]` with the columns that are drawn together as one; a state has one
    already."""
    if agents == 1 or name == STATE:
        return array
    slots, rows, columns, *rest = array.shape
    return array.reshape(slots, rows, columns // agents, agents, *rest)
