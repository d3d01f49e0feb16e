"""Transfer of policy versions: newest only, complete and verified.

Pure state machines. A client says which version it has (`WANT`); the server answers at once when it
has a newer one, otherwise when it next publishes. So there is one mechanism for the first version, for
every later one, for a late joiner and for a lost message (a client repeats itself after a second).

A payload travels in chunks of at most `CHUNK_BYTES`, `WINDOW` of them unasked for; the next `WANT`,
which says how far the transfer has come, asks for more. Each chunk carries the sha256 of the whole.

Versions are ordered by (lineage, version): a learner that restarted from a checkpoint begins a new
lineage with a lower version. Within a lineage no version is applied after a higher one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from rljob.errors import InputError

CHUNK_BYTES = 1024 * 1024
DIGEST_BYTES = 32
WINDOW = 8
KEEP_ALIVE = 2.0
"""Seconds between two empty chunks to a client that waits for a newer version."""
MAX_WEIGHTS_BYTES = 8 * 1024**3
"""Largest policy version; clients ignore larger ones."""
SAFETENSORS = 0
"""Code of an encoding of payloads: a safetensors file as it is. Every client reads it."""
ACCEPTED = 1 << SAFETENSORS
"""What a client accepts: bit i stands for the encoding of code i."""

Stamp = tuple[int, int]
"""(lineage, version)"""
NOTHING: Stamp = (0, -1)


def check_size(size: int) -> None:
    """Raises InputError for a policy version that no client would take."""
    if size > MAX_WEIGHTS_BYTES:
        raise InputError(
            f"the policy has {size} bytes, and {MAX_WEIGHTS_BYTES} are allowed; use a smaller network",
            path="network",
        )


@dataclass(frozen=True)
class Published:
    """One policy version as it travels."""

    stamp: Stamp
    payload: bytes
    _chunks: dict[int, Chunk] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, stamp: Stamp, payload: bytes) -> Published:
        return cls(stamp, payload)

    @cached_property
    def digest(self) -> bytes:
        """Of the payload; not worked out for a version that nobody ever asks for."""
        return hashlib.sha256(self.payload).digest()

    def chunk(self, offset: int) -> Chunk:
        """The chunk from there on; made once for all clients, who ask for the same ones."""
        chunk = self._chunks.get(offset)
        if chunk is None:
            data = memoryview(self.payload)[offset : offset + CHUNK_BYTES]
            total = len(self.payload)
            chunk = Chunk(self.stamp, offset, total, b"".join((self.digest, data)))
            if offset % CHUNK_BYTES == 0:
                self._chunks[offset] = chunk
        return chunk


@dataclass(frozen=True)
class Want:
    """A client's request: what it has, what it is receiving, and how many bytes of that."""

    have: Stamp
    receiving: Stamp
    offset: int


@dataclass(frozen=True)
class Chunk:
    """`payload = digest of the whole + the bytes from offset`."""

    stamp: Stamp
    offset: int
    total: int
    payload: bytes | memoryview


@dataclass
class WeightServer:
    """The learner's side: keeps the newest version, and older ones only while a client reads them.

    Args:
        forget_after: seconds without a request after which a client is gone; who waits or receives
            repeats it every second.
    """

    newest: Published | None = None
    forget_after: float = 60.0
    _asked: dict[bytes, float] = field(default_factory=dict)
    _transfers: dict[bytes, Published] = field(default_factory=dict)
    _waiting: set[bytes] = field(default_factory=set)
    _told_at: float = field(default=float("-inf"), repr=False)

    def keep_alive(self, now: float) -> list[tuple[bytes, Chunk]]:
        """Empty chunks, if they are due, so that a client knows a slow learner from a lost connection. Clients
        ignore them."""
        if now - self._told_at < KEEP_ALIVE:
            return []
        self._told_at = now
        stamp = self.newest.stamp if self.newest is not None else NOTHING
        return [(client, Chunk(stamp, 0, 0, b"")) for client in sorted(self._waiting)]

    def publish(self, published: Published) -> list[tuple[bytes, Chunk]]:
        """Make a version the newest; returns the chunks for those who waited for it."""
        if self.newest is not None and published.stamp <= self.newest.stamp:
            raise ValueError(f"{published.stamp} does not follow {self.newest.stamp}")
        self.newest = published
        waiting, self._waiting = self._waiting, set()
        return [
            (client, chunk)
            for client in sorted(waiting)
            for chunk in self._start(client, published)
        ]

    def wanted(self, client: bytes, want: Want, now: float) -> list[Chunk]:
        """Answer one request."""
        self._waiting.discard(client)
        self._asked[client] = now
        transfer = self._transfers.get(client)
        if transfer is not None and transfer.stamp == want.receiving:
            # Whatever of the last window did not arrive is sent again from where it broke off.
            return self._more(client, transfer, want.offset)
        if transfer is not None and transfer.stamp > want.have:
            # A repeated request that crossed our chunks. Going over to a newer version here would let
            # two transfers cancel each other in turn, for as long as versions are published.
            return self._start(client, transfer)
        self._transfers.pop(client, None)
        if self.newest is None or want.have >= self.newest.stamp:
            self._waiting.add(client)
            return []
        return self._start(client, self.newest)

    def forget(self, client: bytes) -> None:
        """Drop a client that cannot be reached."""
        self._waiting.discard(client)
        self._transfers.pop(client, None)
        self._asked.pop(client, None)

    def forget_silent(self, now: float) -> None:
        """Drop clients that have gone, and the old versions that only they were reading."""
        for client in [c for c, at in self._asked.items() if now - at > self.forget_after]:
            self.forget(client)

    @property
    def clients(self) -> int:
        """Clients that wait for a version or are receiving one."""
        return len(self._waiting) + len(self._transfers)

    def _start(self, client: bytes, published: Published) -> list[Chunk]:
        self._transfers[client] = published
        return self._more(client, published, 0)

    def _more(self, client: bytes, published: Published, offset: int) -> list[Chunk]:
        total = len(published.payload)
        end = min(total, offset + WINDOW * CHUNK_BYTES)
        if end == total:
            del self._transfers[client]
            del self._asked[client]
        return [published.chunk(at) for at in range(offset, end, CHUNK_BYTES)]


@dataclass
class WeightClient:
    """The subscriber's side.

    Args:
        repeat_after: seconds without a chunk after which the request is repeated.
    """

    repeat_after: float = 1.0
    have: Stamp = NOTHING
    rejected: int = 0
    _receiving: Stamp = NOTHING
    _digest: bytes = b""
    _parts: list[memoryview] = field(default_factory=list)
    _held: int = 0
    _total: int = 0
    _asked_at: float | None = None

    @property
    def receiving(self) -> bool:
        """Whether a payload has come in part."""
        return self._held > 0

    def due(self, now: float) -> Want | None:
        """The request to send now, if one is due."""
        if self._asked_at is not None and now - self._asked_at < self.repeat_after:
            return None
        self._asked_at = now
        return Want(self.have, self._receiving, self._held)

    def arrived(self, chunk: Chunk, now: float) -> bytes | None:
        """Take a chunk; returns the whole payload when it is complete and its digest is right.

        A chunk out of place is ignored, a payload with a wrong digest dropped and counted in
        `rejected`; the repeated request makes up for both. After a whole payload, and after the last
        chunk of a window, the next request is due at once.
        """
        if self._asked_at is not None:
            # Also for a chunk that is ignored: while there is traffic, repeating only adds to it.
            self._asked_at = now
        if chunk.stamp <= self.have or len(chunk.payload) <= DIGEST_BYTES:
            return None
        digest, data = bytes(chunk.payload[:DIGEST_BYTES]), memoryview(chunk.payload)[DIGEST_BYTES:]
        if not chunk.offset + len(data) <= chunk.total <= MAX_WEIGHTS_BYTES:
            return None
        if (chunk.stamp, digest, chunk.total) != (self._receiving, self._digest, self._total):
            if chunk.offset:
                return None
            self._receiving, self._digest, self._total = chunk.stamp, digest, chunk.total
            self._parts, self._held = [], 0
        if chunk.offset != self._held:
            return None
        self._parts.append(data)
        self._held += len(data)
        if self._held < self._total:
            if self._held % (WINDOW * CHUNK_BYTES) == 0:
                self._asked_at = None
            return None
        return self._finish()

    def unsent(self) -> None:
        """The request that was due could not be sent; it is due again."""
        self._asked_at = None

    def _finish(self) -> bytes | None:
        payload, stamp = b"".join(self._parts), self._receiving
        self._receiving, self._parts, self._held = NOTHING, [], 0
        if hashlib.sha256(payload).digest() != self._digest:
            # Asked for again only after `repeat_after`: it may be wrong at its source.
            self.rejected += 1
            return None
        self.have, self._asked_at = stamp, None
        return payload
