"""Wire version 1 as it was: its header, and how its peers read REFUSED. It does not follow the code."""

from __future__ import annotations

import json
import struct

FIRST = struct.Struct("<4sBBHQQQQqQIIQQQ")
"""magic, wire, kind, flags, job, actor, epoch, seq, version, lineage, size, reserved, ack, bits, limit."""
REFUSED = 3


def first_header(kind: int, job: int, size: int, wire: int = 1) -> bytes:
    """A header of version 1; another `wire` stands for a version whose first fields are the same."""
    return FIRST.pack(b"RLJB", wire, kind, 0, job, 9, 7, 0, -1, 0, size, 0, 0, 0, 0)


def first_refused(header: bytes, payload: bytes, wire: int, job: int) -> str:
    """The sentence of a REFUSED, read as strictly as version 1 does."""
    assert len(header) == 88
    magic, its_wire, kind, flags, its_job, *_, size, reserved, _, _, _ = FIRST.unpack(header)
    assert (magic, its_wire, kind, flags, its_job) == (b"RLJB", wire, REFUSED, 0, job)
    assert (size, reserved) == (len(payload), 0)
    message = json.loads(payload.decode())["message"]
    assert isinstance(message, str)
    return message
