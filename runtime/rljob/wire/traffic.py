"""Traffic counters of one socket. Plain integers, so that counting is cheap on the hot path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Traffic:
    """Since the socket was opened: messages, bytes of headers and payloads, connections started anew, and at a server
    the connections that it refused, by reason.

    Only the socket's own thread writes; any thread may read.
    """

    sent_messages: int = 0
    sent_bytes: int = 0
    received_messages: int = 0
    received_bytes: int = 0
    reconnects: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of_server(cls, reasons: Sequence[str]) -> Traffic:
        """Of a server that refuses connections for these reasons."""
        return cls(refused=dict.fromkeys(reasons, 0))

    def sent(self, size: int) -> None:
        """One message of that many bytes was handed to the socket."""
        self.sent_messages += 1
        self.sent_bytes += size

    def received(self, size: int) -> None:
        """One message of that many bytes came, well-formed or not."""
        self.received_messages += 1
        self.received_bytes += size
