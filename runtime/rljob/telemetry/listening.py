"""The listening socket of an HTTP server."""

from __future__ import annotations

import socket

EVERY_ADDRESS = "*"


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens on one address, or on all of IPv4 and IPv6 for `*`; raises OSError.

    Args:
        port: 0 takes any free one.
    """
    both = host == EVERY_ADDRESS and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    address = "" if host == EVERY_ADDRESS else host
    return socket.create_server(
        (address, port), family=family, backlog=backlog, dualstack_ipv6=both
    )
