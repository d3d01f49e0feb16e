"""A memory-mapped file that holds a buffer's experience and outlives the buffer's process.

The kernel owns the pages of a shared mapping, so a killed process loses nothing that it wrote, and an
acknowledgement may follow the write without a journal or a copy. (A power failure may lose pages that
the kernel has not written back.) All space is reserved when the file is created: a full disk is an
error at the start, never a crash later.

Parts: a head with the description, counters, one row for each actor, one row for each slot, the data.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rljob import system
from rljob.errors import RunError
from rljob.wire.delivery import Receiver

MAGIC = b"RLJARENA"
FORMAT = 2
PAGE = 4096
ACTORS = 16_384
"""More than the rollouts of a job, so that only rows of rollouts that have left are replaced."""

COUNTERS = (
    "segments",
    "steps",
    "episodes",
    "sampled",
    "evicted",
    "duplicates",
)
"""Counted over all lives of the buffer; uint64 each."""

_HEAD = np.dtype(
    [
        ("magic", "S8"),
        ("format", "<u4"),
        ("json_bytes", "<u4"),
        ("id", "<u8"),
        ("slots", "<u8"),
        ("data_bytes", "<u8"),
        ("counters", "<u8", (len(COUNTERS),)),
    ]
)
_RECEIVER = np.dtype([("epoch", "<u8"), ("ack", "<u8"), ("bits", "<u8")])
# Two copies and the index of the valid one: one aligned store replaces a row atomically.
_ACTOR = np.dtype([("actor", "<u8"), ("which", "<u8"), ("copy", _RECEIVER, (2,)), ("used", "<u8")])
_SLOT = np.dtype(
    [
        ("stored", "<u8"),
        ("order", "<u8"),
        ("actor", "<u8"),
        ("epoch", "<u8"),
        ("seq", "<u8"),
        ("version", "<i8"),
        ("lineage", "<u8"),
        ("time", "<f8"),
    ]
)


_TOO_LARGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM)


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


class Arena:
    """Slots of experience, with rows that describe their content.

    Attributes:
        id: random number of the file; the same id means the same experience and counters.
        description: the JSON object given at creation.
        slots: structured array `[slots]`; `stored` is 1 for a slot with complete data.
        data: uint8 `[data_bytes]`.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        head = np.frombuffer(memory, _HEAD, 1)
        if head["format"][0] != FORMAT:
            raise ValueError(f"format {head['format'][0]} instead of {FORMAT}")
        self.id = int(head["id"][0])
        self._counters = head["counters"][0]
        slots, data_bytes = int(head["slots"][0]), int(head["data_bytes"][0])
        json_bytes = int(head["json_bytes"][0])
        text = memory[_HEAD.itemsize : _HEAD.itemsize + json_bytes]
        self.description: dict[str, Any] = json.loads(text)
        at = _pages(_HEAD.itemsize + json_bytes)
        self._actors = np.frombuffer(memory, _ACTOR, ACTORS, at)
        at += _pages(self._actors.nbytes)
        self.slots = np.frombuffer(memory, _SLOT, slots, at)
        at += _pages(self.slots.nbytes)
        self.data = np.frombuffer(memory, np.uint8, data_bytes, at)
        self._rows = {
            int(self._actors["actor"][index]): int(index)
            for index in np.flatnonzero(self._actors["used"])
        }
        self._order = int(self.slots["order"].max(initial=0))

    @classmethod
    def create(
        cls, path: Path | None, description: dict[str, Any], slots: int, data_bytes: int
    ) -> Arena:
        """Create a new arena at `path`, or in this process' memory only if `path` is None.

        Raises:
            RunError: when the space is not there.
        """
        text = json.dumps(description).encode()
        size = (
            _pages(_HEAD.itemsize + len(text))
            + _pages(ACTORS * _ACTOR.itemsize)
            + _pages(slots * _SLOT.itemsize)
            + _pages(data_bytes)
        )
        memory = _reserve(path, size)
        memory[_HEAD.itemsize : _HEAD.itemsize + len(text)] = text
        head = np.frombuffer(memory, _HEAD, 1)
        head["format"], head["json_bytes"] = FORMAT, len(text)
        head["id"] = int.from_bytes(os.urandom(8), "little")
        head["slots"], head["data_bytes"] = slots, data_bytes
        # Last: a file without the magic was not finished and is not opened.
        head["magic"] = MAGIC
        return cls(memory)

    @classmethod
    def open(cls, path: Path) -> Arena | None:
        """The arena that an earlier process left at `path`.

        Returns:
            None when there is no file, or one that was never finished.

        Raises:
            RunError: when the file is damaged, of another version, or something else altogether.
        """
        try:
            with path.open("r+b") as file:
                magic = file.read(len(MAGIC))
                if not magic.strip(b"\0"):
                    return None
                if magic == MAGIC:
                    return cls(mmap.mmap(file.fileno(), 0))
                problem = "it is not a buffer's file"
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            problem = str(error)
        raise RunError(
            f"cannot use the buffer's file {path}: {problem}; move it away to start with an empty buffer"
        )

    def grown(self, path: Path | None, slots: int) -> Arena:
        """A larger one with the same experience, in the same slots; it takes the place of this one,
        whose memory stays as long as it is used.

        Args:
            path: where this one is.

        Raises:
            RunError: when the space is not there; this one is then untouched.
        """
        temporary = None if path is None else path.with_name(f".{path.name}.grown")
        size = len(self.data) // len(self.slots) * slots
        larger = Arena.create(temporary, self.description, slots, size)
        larger._take(self)
        if path is not None and temporary is not None:
            temporary.replace(path)
        return larger

    def _take(self, other: Arena) -> None:
        np.frombuffer(self._memory, _HEAD, 1)["id"] = self.id = other.id
        self._counters[:] = other._counters
        self._actors[:] = other._actors
        self.slots[: len(other.slots)] = other.slots
        self.data[: len(other.data)] = other.data
        self._rows, self._order = dict(other._rows), other._order

    def count(self, name: str, more: int = 1) -> None:
        """Add to one of `COUNTERS`."""
        self._counters[COUNTERS.index(name)] += more

    def counter(self, name: str) -> int:
        return int(self._counters[COUNTERS.index(name)])

    @property
    def newest(self) -> int:
        """Place in the order of the segment that was stored last."""
        return self._order

    def receiver(self, actor: int) -> Receiver:
        """What has arrived from an actor; a fresh receiver for an unknown one."""
        index = self._rows.get(actor)
        if index is None:
            return Receiver()
        row = self._actors[index]
        state = row["copy"][int(row["which"])]
        return Receiver(int(state["epoch"]), int(state["ack"]), int(state["bits"]))

    def remember(self, actor: int, receiver: Receiver) -> None:
        """Write an actor's row; with more than `ACTORS`, the longest unused row is given up."""
        index = self._rows.get(actor)
        if index is None:
            index = int(self._actors["used"].argmin())
            self._rows.pop(int(self._actors[index]["actor"]), None)
            self._actors[index] = np.zeros((), _ACTOR)
            self._actors["actor"][index] = actor
            self._rows[actor] = index
        other = 1 - int(self._actors["which"][index])
        self._actors["copy"][index, other] = (receiver.epoch, receiver.ack, receiver.bits)
        self._actors["which"][index] = other
        self._actors["used"][index] = self._order + 1

    def begin(self, slot: int) -> None:
        """Open a slot for writing: it holds nothing until `commit`."""
        self.slots["stored"][slot] = 0

    def commit(
        self, slot: int, origin: tuple[int, int, int], stamp: tuple[int, int], time: float
    ) -> int:
        """Declare a slot's data whole, after they were written; returns its place in the order.

        Args:
            origin: (actor, epoch, seq) of the segment.
            stamp: (lineage, version) of the policy that acted.
        """
        self._order += 1
        lineage, version = stamp
        self.slots[slot] = (0, self._order, *origin, version, lineage, time)
        self.slots["stored"][slot] = 1
        return self._order

    def release(self, slot: int) -> None:
        """Empty a slot."""
        self.slots["stored"][slot] = 0

    def stored(self) -> Iterator[int]:
        """Slots that hold a segment, in the order in which they were stored."""
        held = np.flatnonzero(self.slots["stored"])
        yield from (int(slot) for slot in held[np.argsort(self.slots["order"][held])])


def _reserve(path: Path | None, size: int) -> mmap.mmap:
    try:
        if path is None:
            return mmap.mmap(-1, size)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w+b") as file:
            try:
                system.reserve(file.fileno(), size)
                return mmap.mmap(file.fileno(), size)
            except (OSError, OverflowError):
                path.unlink(missing_ok=True)
                raise
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", errno.EFBIG)
        hint = "; lower buffer.capacity or free some space" if number in _TOO_LARGE else ""
        raise RunError(
            f"cannot reserve {size / 2**20:.0f} MiB for the buffer at {path or 'memory'}: "
            f"{os.strerror(number)}{hint}"
        ) from error
