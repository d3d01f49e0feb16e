"""Free ports of this machine. Two test processes at the same time get different ones."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator

import pytest

FIRST, BLOCK, BLOCKS = 10240, 128, 170
"""All blocks end below 32768: the system takes no port of them for an outgoing connection or for port 0."""


def _own() -> Iterator[int]:
    """Every second port of this process's block, again and again."""
    first = FIRST + os.getpid() % BLOCKS * BLOCK
    return itertools.cycle(range(first, first + BLOCK, 2))


_ports = _own()


def free_port(host: str = "127.0.0.1") -> int:
    """A free port, of which the next one is free as well.

    Raises:
        RuntimeError: if every port of this process's block is in use.
    """
    for port in itertools.islice(_ports, BLOCK // 2):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind((host, port))
                other.bind((host, port + 1))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on {host} in the block of process {os.getpid()}")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
