"""Segments in the order of their arrival, each handed to the learner once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from rljob.roles.buffer.arena import Arena
from rljob.wire.watermark import Origin


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment in its slot; `payload` is the slot's memory, valid until the slot is released."""

    slot: int
    actor: int
    epoch: int
    seq: int
    version: int
    lineage: int
    time: float
    payload: memoryview

    @property
    def origin(self) -> Origin:
        return self.actor, self.epoch, self.seq


class SegmentQueue:
    """A first-in first-out queue of payloads in an arena.

    A segment that is taken stays in its slot until it is released, for the message that carries it
    may still be on its way, and a learner that dies gets it again.

    Args:
        arena: with `slots * segment_bytes` of data; what it holds already is in the queue.
        segment_bytes: size of a payload without its episode records.
    """

    def __init__(self, arena: Arena, segment_bytes: int) -> None:
        self._arena = arena
        self._data = arena.data.reshape(-1, segment_bytes)
        self._waiting = deque(arena.stored())
        taken = set(self._waiting)
        self._free = [slot for slot in range(len(self._data)) if slot not in taken]

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def free(self) -> int:
        """Slots that hold nothing."""
        return len(self._free)

    @property
    def fill(self) -> float:
        """Share of the slots that hold a segment, in [0, 1]."""
        return 1 - len(self._free) / len(self._data)

    def put(
        self, payload: memoryview, origin: tuple[int, int, int], stamp: tuple[int, int], now: float
    ) -> None:
        """Store a payload; there must be a free slot."""
        slot = self._free.pop()
        self._data[slot] = np.frombuffer(payload, np.uint8)
        self._arena.commit(slot, origin, stamp, now)
        self._waiting.append(slot)

    def head(self) -> Stored | None:
        """The oldest segment; it stays in the queue."""
        return self._read(self._waiting[0]) if self._waiting else None

    def take(self) -> Stored:
        """The oldest segment; it is out of the queue but keeps its slot."""
        return self._read(self._waiting.popleft())

    def waiting(self) -> list[Stored]:
        """The segments in the queue, oldest first."""
        return [self._read(slot) for slot in self._waiting]

    def remove(self, slot: int) -> None:
        """Take a segment out of the middle of the queue; it keeps its slot."""
        self._waiting.remove(slot)

    def payload(self, slot: int) -> memoryview:
        """The payload in a slot."""
        return memoryview(self._data[slot])

    def give_back(self, slots: list[int]) -> None:
        """Put taken segments back to the front, in the given order."""
        self._waiting.extendleft(reversed(slots))

    def release(self, slot: int) -> None:
        """Forget a taken segment."""
        self._arena.release(slot)
        self._free.append(slot)

    def _read(self, slot: int) -> Stored:
        row = self._arena.slots[slot]
        return Stored(
            slot,
            int(row["actor"]),
            int(row["epoch"]),
            int(row["seq"]),
            int(row["version"]),
            int(row["lineage"]),
            float(row["time"]),
            self.payload(slot),
        )
