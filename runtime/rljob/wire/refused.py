"""The message REFUSED: what it says, in which form every wire version can read it, how often it is sent. Pure.

In every wire version, now and later, these keep their place: the 88 bytes of a header, of them magic, wire version,
kind, flags and job in the first 16 bytes, the payload's size at byte 56, the number of the kind REFUSED, and its
payload, a JSON object with `message`. So a server can tell a peer of any version why it is refused.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field

from rljob.wire.messages import (
    MAGIC,
    WIRE_VERSION,
    MessageKind,
    Rejected,
    decode_json,
    encode_json,
)

ANSWER_EVERY = 1.0
"""Seconds between two answers to one client whose messages cannot be understood."""
MOST_ANSWERS = 64
"""Such answers in `ANSWER_EVERY`, to all clients of one socket together."""
LOG_EVERY = 60.0
"""Seconds between two answers that are logged, of one socket."""
MOST_CLIENTS = 1024
"""Clients that are remembered as answered; a further one replaces the oldest."""
MOST_TEXT = 500
"""Characters of a reason that are repeated in an error; the peer chooses them."""
_FIRST = struct.Struct("<4sBBHQ")
_KIND, _SHARD = 5, 60
_HEADER = struct.Struct("<4sBBHQ40xI4s24x")


@dataclass(frozen=True)
class PeerRefusal:
    """The payload of REFUSED.

    Attributes:
        message: why, for the user of the peer.
        newest: the newest epoch or lineage that the buffer knows. A peer that has just started takes a higher one and
            tries again. None where it cannot help: the peer ends.
    """

    message: str
    newest: int | None = None

    def encode(self) -> bytes:
        """The payload."""
        newest = {} if self.newest is None else {"newest": self.newest}
        return encode_json({"message": self.message, **newest})

    @classmethod
    def read(cls, payload: bytes | memoryview) -> PeerRefusal:
        """Reads any payload: who is refused ends, whatever is wrong with the reason."""
        try:
            value = decode_json(payload)
        except Rejected:
            value = {}
        newest = value.get("newest")
        known = type(newest) is int and 0 <= newest < 2**64 - 1
        message = str(value.get("message", "no reason given"))[:MOST_TEXT]
        return cls(message, newest if known else None)


def answer_header(frame: bytes | memoryview, size: int) -> bytes | None:
    """The header of a REFUSED that the sender of `frame` can read.

    Args:
        frame: a header frame of 88 bytes with our magic and job, of any wire version.
        size: bytes of the payload.

    Returns:
        88 bytes with the sender's wire version. Where that is ours, it is to and from the shard and the rank that the
        sender named. None for a REFUSED, which is never answered.
    """
    _, wire, kind, _, job = _FIRST.unpack(frame[: _FIRST.size])
    if kind == MessageKind.REFUSED:
        return None
    named = bytes(frame[_SHARD : _SHARD + 4]) if wire == WIRE_VERSION else bytes(4)
    return _HEADER.pack(MAGIC, wire, MessageKind.REFUSED, 0, job, size, named)


@dataclass
class AnswerLimit:
    """Bounds the answers to messages that cannot be understood, so that a flood of them is not answered by another."""

    _answered: OrderedDict[bytes, float] = field(default_factory=OrderedDict)
    _began: float = float("-inf")
    _count: int = 0
    _logged: float = float("-inf")

    def answers(self, client: bytes, now: float) -> bool:
        """Whether to answer a client now; counts the answer if so."""
        if now - self._began >= ANSWER_EVERY:
            self._began, self._count = now, 0
        if self._count >= MOST_ANSWERS:
            return False
        if now - self._answered.get(client, float("-inf")) < ANSWER_EVERY:
            return False
        self._count += 1
        self._answered.pop(client, None)
        self._answered[client] = now
        if len(self._answered) > MOST_CLIENTS:
            self._answered.popitem(last=False)
        return True

    def logs(self, now: float) -> bool:
        """Whether to log an answer, because an older peer may have no way to tell it; counts it if so."""
        if now - self._logged < LOG_EVERY:
            return False
        self._logged = now
        return True
