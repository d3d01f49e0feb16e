"""Memory that a program and its courier share. Each number in it has one writer, so that neither waits for the other.

    control     counters of both, and the number of the newest policy version
    frames      segments to send: a header for each frame, then the frames
    policy-N    the N-th policy version that the courier has fetched, behind its stamp

The `k`-th segment that is handed over, from 1, lies in frame `(k - 1) % count`. The program writes `filled` before and after it
writes a frame; the courier copies the frame out, looks whether `filled` is still the same, and then writes `taken`. So the program may
write over a frame that was not taken, and the courier notices.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rljob import system
from rljob.errors import RunError
from rljob.wire.application import FAULTS
from rljob.wire.weights import Stamp

MEMORY = Path("/dev/shm")
"""Where files are memory, if there is such a folder."""
LEAST_FREE = 256 * 2**20
"""Bytes that have to be free there: what waits for delivery, and policy versions. Containers often have 64 MiB."""
CONTROL, FRAMES = "control", "frames"
_POLICY, _HEAD, _FIRST_FAULT = 0, 1, 8
_WORDS = 64
_FRAME_WORDS = 5
_FILLED, _TAKEN, _EPISODES, _LINEAGE, _VERSION = range(_FRAME_WORDS)
_STAMP = struct.Struct("<Qq")
_MOST_VERSION = 2**63


def make_folder() -> Path:
    """A new folder that only this user can enter, in memory where there is such a place.

    Raises:
        RunError: it cannot be made.
    """
    for place, least in _places():
        with contextlib.suppress(OSError):
            space = os.statvfs(place)
            if space.f_bavail * space.f_frsize >= least:
                return Path(tempfile.mkdtemp(prefix="rljob-agent-", dir=place))
    raise RunError(
        f"no folder can be written for what waits for delivery: neither {MEMORY} nor /tmp; set TMPDIR, or mount an "
        "emptyDir at /tmp"
    )


def _places() -> Iterator[tuple[Path, int]]:
    """Where a folder may be, and the least free bytes there."""
    yield MEMORY, LEAST_FREE
    # A container with a read-only file system has none.
    with contextlib.suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir()), 0
    yield MEMORY, 0


def _map(path: Path, size: int, make: bool) -> mmap.mmap:
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if make else 0)
    file = os.open(path, flags, 0o600)
    try:
        if make:
            system.reserve(file, size)
        return mmap.mmap(file, size)
    finally:
        os.close(file)


class Control:
    """The counters.

    Args:
        folder: that of `make_folder`.
        make: whether to make it; the program does.

    Raises:
        OSError: it cannot be made or opened.
    """

    def __init__(self, folder: Path, make: bool) -> None:
        self.words = memoryview(_map(folder / CONTROL, 8 * _WORDS, make)).cast("Q")

    def count(self, fault: str, number: int = 1) -> None:
        """Count one of `FAULTS`; `stale` is the courier's, the others are the program's."""
        self.words[_FIRST_FAULT + FAULTS.index(fault)] += number

    @property
    def faults(self) -> dict[str, int]:
        """All of them."""
        return {name: self.words[_FIRST_FAULT + at] for at, name in enumerate(FAULTS)}


class PolicySlot:
    """The newest policy version."""

    def __init__(self, folder: Path, control: Control) -> None:
        self._folder, self._words = folder, control.words
        self._read = 0

    @property
    def changed(self) -> bool:
        """Whether there is one that was not read."""
        return self._words[_POLICY] != self._read

    def read(self) -> tuple[Stamp, bytes] | None:
        """The newest version; None if it was replaced meanwhile, and the next one is not there yet."""
        number = self._words[_POLICY]
        try:
            content = (self._folder / f"policy-{number}").read_bytes()
        except OSError:
            return None
        self._read = number
        return _STAMP.unpack_from(content), content[_STAMP.size :]

    def write(self, stamp: Stamp, payload: bytes) -> None:
        """Make a version the newest; raises OSError."""
        number = self._words[_POLICY] + 1
        path = self._folder / f"policy-{number}"
        with path.open("wb") as file:
            file.write(_STAMP.pack(*stamp))
            file.write(payload)
        self._words[_POLICY] = number
        (self._folder / f"policy-{number - 2}").unlink(missing_ok=True)


class FrameRing:
    """Segments on their way to the courier.

    Args:
        size: bytes of a segment's payload.
        numbers: of one episode record; a segment carries at most one record.
        count: frames.
        make: whether to make it; the program does.
    """

    def __init__(
        self, folder: Path, control: Control, size: int, numbers: int, count: int, make: bool
    ) -> None:
        self._words, self._control, self._count = control.words, control, count
        self._size, self._numbers = size, numbers
        head = -(-_FRAME_WORDS * 8 * count // 64) * 64
        stride = -(-(size + 8 * numbers) // 64) * 64
        memory = _map(folder / FRAMES, head + count * stride, make)
        self._header = memoryview(memory)[: _FRAME_WORDS * 8 * count].cast("Q")
        self._frames = [
            np.frombuffer(memory, np.uint8, stride, head + at * stride) for at in range(count)
        ]
        # What the courier looks at next; after a restart, behind the last that was taken.
        self._next = 1 + max(self._header[at * _FRAME_WORDS + _TAKEN] for at in range(count))

    def put(self, payload: np.ndarray, records: np.ndarray, stamp: Stamp) -> None:
        """Hand a segment over. Where no frame is free, the oldest that was not taken is replaced and counted.

        Args:
            payload: uint8.
            records: of the episodes that ended in it, none or one: float64 `[E, numbers]`.
        """
        number = self._words[_HEAD] + 1
        at = (number - 1) % self._count
        header, word = self._header, at * _FRAME_WORDS
        if header[word + _FILLED] != header[word + _TAKEN]:
            self._control.count("evicted")
        header[word + _FILLED] = 0
        frame = self._frames[at]
        frame[: self._size] = payload
        if len(records):
            frame[self._size : self._size + records.nbytes] = records.reshape(-1).view(np.uint8)
        header[word + _EPISODES] = len(records)
        header[word + _LINEAGE], header[word + _VERSION] = stamp[0], stamp[1] % _MOST_VERSION
        header[word + _FILLED] = number
        self._words[_HEAD] = number

    def waiting(self) -> Iterator[Stamp]:
        """Skips what was replaced; then the stamp of the oldest segment that waits, if there is one."""
        while self._next <= self._words[_HEAD]:
            word = (self._next - 1) % self._count * _FRAME_WORDS
            if self._header[word + _FILLED] == self._next:
                yield self._header[word + _LINEAGE], self._header[word + _VERSION]
                return
            self._next += 1

    def take(self, payload: np.ndarray) -> np.ndarray | None:
        """Copy the oldest segment that waits into `payload`; returns its episode records `[E, numbers]`. None if it was
        replaced meanwhile."""
        at = (self._next - 1) % self._count
        header, word, frame = self._header, at * _FRAME_WORDS, self._frames[at]
        payload[: self._size] = frame[: self._size]
        count = min(header[word + _EPISODES], 1)
        rest = frame[self._size : self._size + 8 * count * self._numbers].copy()
        if header[word + _FILLED] != self._next:
            self._next += 1
            return None
        self._taken(word)
        return rest.view(np.float64).reshape(-1, self._numbers)

    def skip_stale(self) -> None:
        """Drop the oldest segment that waits: no learner would train on it."""
        self._control.count("stale")
        self._taken((self._next - 1) % self._count * _FRAME_WORDS)

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return next(self.waiting(), None) is None

    @property
    def backlog(self) -> int:
        """Segments that wait to be taken."""
        return 0 if self.empty else min(self._words[_HEAD] - self._next + 1, self._count)

    def _taken(self, word: int) -> None:
        self._header[word + _TAKEN] = self._next
        self._next += 1
