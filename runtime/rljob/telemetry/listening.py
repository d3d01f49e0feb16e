"""The listening socket of an HTTP server."""

from __future__ import annotations

import socket

from rljob.errors import InputError

EVERY_ADDRESS = "*"
MOST_PORT = 65535


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens on one address, or on all of IPv4 and IPv6 for `*`.

    Args:
        port: 0 takes any free one.

    Raises:
        InputError: no port has this number.
        OSError: it cannot listen there.
    """
    if not 0 <= port <= MOST_PORT:
        raise InputError(f"{port} is no port; allowed are 0 to {MOST_PORT}")
    try:
        host.encode("idna")
    except UnicodeError:
        raise OSError(f"{host!r:.80} is no name of a host") from None
    both = host == EVERY_ADDRESS and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
    address = "" if host == EVERY_ADDRESS else host
    return socket.create_server(
        (address, port), family=family, backlog=backlog, dualstack_ipv6=both
    )
