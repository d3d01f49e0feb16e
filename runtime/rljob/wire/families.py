"""Which IP family a connection uses: IPv4, or IPv6.

libzmq looks a name up in the one family that it is told, and tries the first address that it finds. So a name is looked
up in the family that this machine has. If it has both, they take turns until the other side was heard.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from rljob.wire.endpoints import host_of

IPV4, IPV6 = False, True
_FAR = {IPV4: (socket.AF_INET, "192.0.2.1"), IPV6: (socket.AF_INET6, "2001:db8::1")}
"""Addresses for documentation (RFC 5737, RFC 3849), to which nothing is sent."""


@dataclass
class Families:
    """The families of one address, one of them in use.

    Args:
        choices: in the order in which they are tried.
    """

    choices: Sequence[bool]
    _turn: int = 0
    _settled: bool = False

    @property
    def ipv6(self) -> bool:
        """The one in use."""
        return self.choices[self._turn % len(self.choices)]

    def heard(self) -> None:
        """The other side was heard: this family stays."""
        self._settled = True

    def silent(self) -> None:
        """Nothing was heard for long: take the next one."""
        if not self._settled:
            self._turn += 1


def families(address: str, machine: Sequence[bool]) -> Families:
    """The families of an address; `machine` has those of a name.

    `tcp://*` is IPv6: such a socket has the addresses of both, and where there is no IPv6, libzmq takes IPv4.
    """
    host = host_of(address)
    if host == "*":
        return Families((IPV6,))
    if not host:
        return Families((IPV4,))
    try:
        return Families((ipaddress.ip_address(host).version == 6,))
    except ValueError:
        return Families(machine)


def of_machine() -> tuple[bool, ...]:
    """The families in which this machine has a route to others, or both if there is none; IPv4 first."""
    return tuple(family for family in (IPV4, IPV6) if _has_route(family)) or (IPV4, IPV6)


def _has_route(family: bool) -> bool:
    kind, far = _FAR[family]
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            # This looks for a route and sends nothing.
            probe.connect((far, 9))
    except OSError:
        return False
    return True
