"""Shared memory between two processes on one machine, for payloads of many megabytes.

A socket copies a payload into the kernel and out of it again; a batch of frames is written here once, by
who gathers it, and read where it lies. The memory has no name on a disk and goes when both have ended. What
of it may be used again, the protocol says (docs/design/protocol.md, Shared memory); nothing here waits or locks.
"""

from __future__ import annotations

import mmap
import os
import secrets
import weakref
from typing import Any

from rljob import system

_TOKEN_BYTES = 16
_START = mmap.PAGESIZE
"""Where the first place begins; before it stands a token, by which a reader knows that it maps the right
memory and not what has the same number in another container."""


class Outbox:
    """A few places of equal size, which are taken, written, and given back.

    Raises:
        OSError: when this system has no such memory.
    """

    def __init__(self, size: int, places: int) -> None:
        self._size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._token = secrets.token_bytes(_TOKEN_BYTES)
        self._file, self._path = system.shared_memory("rljob")
        self._close = weakref.finalize(self, os.close, self._file)
        os.truncate(self._file, _START + places * self._size)
        self._memory = memoryview(mmap.mmap(self._file, 0))
        self._memory[:_TOKEN_BYTES] = self._token
        self._free = [_START + place * self._size for place in reversed(range(places))]

    def address(self) -> dict[str, str]:
        """What `Inbox` needs to find it."""
        return {"path": self._path, "token": self._token.hex()}

    def take(self, size: int) -> tuple[int, memoryview] | None:
        """A free place, at least `size` bytes of it, and its offset; None when there is none."""
        if not self._free or size > self._size:
            return None
        offset = self._free.pop()
        return offset, self._memory[offset : offset + size]

    def give_back(self, offset: int) -> None:
        """The place is free again; what it holds is no longer read by anybody."""
        self._free.append(offset)

    def close(self) -> None:
        """Nobody can find it any more; who maps it keeps it."""
        self._close()


class Inbox:
    """An `Outbox` of another process.

    Args:
        address: as that says it.

    Raises:
        OSError: when it cannot be reached from here, or is another one.
        ValueError, LookupError, TypeError: when `address` is not what an outbox says.
    """

    def __init__(self, address: Any) -> None:
        file = os.open(str(address["path"]), os.O_RDWR | os.O_CLOEXEC)
        try:
            self._memory = memoryview(mmap.mmap(file, 0))
        except ValueError as error:  # It is empty.
            raise OSError(str(error)) from error
        finally:
            os.close(file)
        if bytes(self._memory[:_TOKEN_BYTES]) != bytes.fromhex(address["token"]):
            raise OSError("the shared memory belongs to another process")

    def view(self, offset: int, size: int) -> memoryview:
        """Of so many bytes; ValueError when they are not all there."""
        if offset < _START or size < 0 or offset + size > len(self._memory):
            raise ValueError(f"{size} bytes at {offset} of {len(self._memory)}")
        return self._memory[offset : offset + size]
