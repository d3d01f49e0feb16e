"""The fixed header of every message, and the kinds there are (docs/design/protocol.md, Header).

A message is one header frame of `HEADER_BYTES` and one payload frame. Every kind has the same header;
what a kind does not use is zero. Decoding is strict: whatever does not fit raises `Rejected` with a
reason from `REASONS`, which bounds the label of the counter of rejected messages.

The length of the header, its first 16 bytes and `size` keep their place in every wire version, see `refused`.
"""

from __future__ import annotations

import enum
import json
import struct
from dataclasses import dataclass
from typing import Any

MAGIC = b"RLJB"
WIRE_VERSION = 2
HEADER_BYTES = 88
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
MAX_JSON_BYTES = 1024 * 1024
NO_JOB = 0
"""In DESCRIBE and its answer: who asks does not know the job yet."""

_HEADER = struct.Struct("<4sBBHQQQQqQIHHQQQ")
assert _HEADER.size == HEADER_BYTES

REASONS = (
    "frames",
    "header",
    "magic",
    "wire_version",
    "kind",
    "flags",
    "job",
    "shard",
    "rank",
    "size",
    "json",
    "table",
    "layout",
    "episodes",
    "values",
    "encoding",
    "unexpected",
)
ANSWERED = frozenset({"wire_version", "shard", "rank", "encoding"})
"""Reasons that a server tells the sender in REFUSED, because repeating the message will not help."""


class Rejected(Exception):
    """A message that breaks the protocol; `reason` is one of `REASONS`, `detail` is for its sender."""

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


class MessageKind(enum.IntEnum):
    """What a message says; who sends it on which link is in docs/design/protocol.md."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    WHO = 4
    SEGMENT = 5
    GRANT = 6
    STATUS = 7
    PULL = 8
    BATCH = 9
    STATS = 10
    PRIORITIES = 11
    SNAPSHOT = 12
    SNAPSHOT_DONE = 13
    WANT = 14
    CHUNK = 15
    EVALUATED = 16
    DESCRIBE = 17
    DESCRIPTION = 18


_KINDS = {int(kind): kind for kind in MessageKind}


@dataclass(slots=True)
class Header:
    """One message's header; which fields a kind uses is in docs/design/protocol.md.

    Args:
        kind: what the message says.
        job: identifies the RLJob; a message of another job is rejected, except a DESCRIBE of `NO_JOB`.
        actor: identifies the producer of experience, the same over its restarts.
        epoch: grows with every restart of the sender (or of the producer, for forwarded segments).
        seq: position in the sender's stream, from 0 in each epoch.
        version: policy version, -1 for none.
        lineage: the learner's life that published that version; a later one is higher.
        size: bytes of the payload frame.
        ack: all positions below it have arrived.
        bits: bit i set: position `ack + 1 + i` has arrived, too.
        limit: absolute credit, or the position in the delivery to the learner.
        shard: which of a job's buffers the message is to or from; there is one, 0.
        rank: which of a job's learners the message is to or from; there is one, 0.
    """

    kind: MessageKind
    job: int = 0
    actor: int = 0
    epoch: int = 0
    seq: int = 0
    version: int = -1
    lineage: int = 0
    size: int = 0
    ack: int = 0
    bits: int = 0
    limit: int = 0
    shard: int = 0
    rank: int = 0

    def encode(self) -> bytes:
        """The header's 88 bytes, little-endian."""
        return _HEADER.pack(
            MAGIC,
            WIRE_VERSION,
            self.kind,
            0,
            self.job,
            self.actor,
            self.epoch,
            self.seq,
            self.version,
            self.lineage,
            self.size,
            self.shard,
            self.rank,
            self.ack,
            self.bits,
            self.limit,
        )


def decode(frame: bytes | memoryview, payload_bytes: int, job: int) -> Header:
    """Read a header strictly.

    Args:
        frame: the header frame.
        payload_bytes: length of the payload frame that came with it.
        job: the job that this process belongs to.

    Raises:
        Rejected: for anything that does not fit.
    """
    if len(frame) != HEADER_BYTES:
        raise Rejected("header", f"{len(frame)} bytes instead of {HEADER_BYTES}")
    (
        magic,
        wire,
        kind,
        flags,
        its_job,
        actor,
        epoch,
        seq,
        version,
        lineage,
        size,
        shard,
        rank,
        ack,
        bits,
        limit,
    ) = _HEADER.unpack(frame)
    if magic != MAGIC:
        raise Rejected("magic", repr(magic))
    if its_job != job and not (its_job == NO_JOB and kind == MessageKind.DESCRIBE):
        # First: a peer of another wire version is answered, but only within the job.
        raise Rejected("job", f"{its_job:016x}")
    if wire != WIRE_VERSION:
        raise Rejected("wire_version", other_version(wire))
    if kind not in _KINDS:
        raise Rejected("kind", str(kind))
    if flags:
        raise Rejected("flags", f"{flags:#06x} are reserved")
    if shard:
        raise Rejected("shard", f"this client wants shard {shard}, and the server is shard 0 of 1")
    if rank:
        raise Rejected("rank", f"this client names rank {rank}, and the only learner has rank 0")
    if size != payload_bytes or size > MAX_PAYLOAD_BYTES:
        raise Rejected("size", f"header says {size}, payload has {payload_bytes}")
    return Header(
        _KINDS[kind], its_job, actor, epoch, seq, version, lineage, size, ack, bits, limit
    )


def other_version(theirs: int) -> str:
    """What a client of another wire version is told: both versions, which side is older, what to do."""
    older = "client" if theirs < WIRE_VERSION else "server"
    return (
        f"this client speaks wire version {theirs} and the server {WIRE_VERSION}, so the {older}'s rljob is the older "
        "one; run all roles of the job with one release of rljob, on a cluster with images of one release"
    )


def encode_json(value: dict[str, Any]) -> bytes:
    """A control payload: UTF-8 JSON, one object, no NaN."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def decode_json(payload: bytes | memoryview) -> dict[str, Any]:
    """Read a control payload.

    Raises:
        Rejected: when it is not one JSON object of at most `MAX_JSON_BYTES`.
    """
    if len(payload) > MAX_JSON_BYTES:
        raise Rejected("json", f"{len(payload)} bytes exceed {MAX_JSON_BYTES}")
    try:
        value = json.loads(bytes(payload).decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Rejected("json", str(error)[:200]) from error
    if not isinstance(value, dict):
        raise Rejected("json", f"{type(value).__name__} instead of an object")
    return value
