"""Traffic counters of one socket. Plain integers, so that counting is cheap on the hot path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Since the socket was opened: messages, bytes of headers and payloads, and connections started anew.

    Only the socket's own thread writes; any thread may read.
    """

    sent_messages: int = 0
    sent_bytes: int = 0
    received_messages: int = 0
    received_bytes: int = 0
    reconnects: int = 0

    def sent(self, size: int) -> None:
        """One message of that many bytes was handed to the socket."""
        self.sent_messages += 1
        self.sent_bytes += size

    def received(self, size: int) -> None:
        """One message of that many bytes came, well-formed or not."""
        self.received_messages += 1
        self.received_bytes += size
