"""What the events of libzmq mean; the numbers are those of its header."""

from __future__ import annotations

import pytest
import zmq

from rljob.wire.refusals import EVENTS, REFUSALS, refusal

PROTOCOL = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)


@pytest.mark.parametrize(
    ("event", "value", "reason"),
    [
        (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400, "key"),
        (PROTOCOL, zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC, "key"),
        (PROTOCOL, zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH, "mechanism"),
        (PROTOCOL, zmq.PROTOCOL_ERROR_ZMTP_UNEXPECTED_COMMAND, "protocol"),
        (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 104, "unfinished"),
    ],
)
def test_each_failed_handshake_has_a_reason(event: int, value: int, reason: str) -> None:
    assert refusal(int(event), int(value)) == reason
    assert reason in REFUSALS
    assert EVENTS & int(event)
