"""Why a server refused a connection, from the events of libzmq. Pure."""

from __future__ import annotations

UNFINISHED, PROTOCOL, KEY = 0x0800, 0x2000, 0x4000
"""Events of a failed handshake: the peer hung up or said nothing, it broke the protocol, its key is not allowed."""
EVENTS = UNFINISHED | PROTOCOL | KEY
_CRYPTOGRAPHIC, _MECHANISM = 0x11000001, 0x11000002
"""Values of `PROTOCOL`: encrypted for another key, and not encrypted at all."""

REFUSALS = ("key", "mechanism", "protocol", "unfinished")


def refusal(event: int, value: int) -> str:
    """One of `REFUSALS`: a wrong key, no key, another protocol, a handshake that was not finished."""
    if event == KEY or (event == PROTOCOL and value == _CRYPTOGRAPHIC):
        return "key"
    if event == PROTOCOL:
        return "mechanism" if value == _MECHANISM else "protocol"
    return "unfinished"
