"""Names of the four sockets of a job, for sockets files on one machine and for tcp.

The buffer binds two (experience from rollouts, samples to the learner), the learner one (weights).
A role gets one address for each of the two:

* `ipc:///run/x/buffer` → `ipc:///run/x/buffer.experience`, `ipc:///run/x/buffer.samples`
* `tcp://host:7400`     → `tcp://host:7400`, `tcp://host:7401`

A role that binds `tcp://*:7400` listens on all addresses, of IPv4 and of IPv6.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from rljob.errors import InputError
from rljob.system import MAX_SOCKET_PATH_BYTES

# Stricter than libzmq, whose `tcp://source:port;host:port` would pass for a loopback address.
_TCP = re.compile(r"tcp://(?P<host>[A-Za-z0-9._-]+|\*|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class BufferEndpoints:
    """Where the buffer's sockets are."""

    experience: str
    samples: str


def buffer_endpoints(address: str) -> BufferEndpoints:
    """The buffer's endpoints; raises InputError for an address that is none."""
    scheme, rest = _split(address, ports=2)
    if scheme == "ipc":
        return BufferEndpoints(
            _ipc(f"{rest}.experience"),
            _ipc(f"{rest}.samples"),
        )
    host, port = rest.rsplit(":", 1)
    return BufferEndpoints(address, f"tcp://{host}:{int(port) + 1}")


def weights_endpoint(address: str) -> str:
    """The learner's endpoint; raises InputError for an address that is none."""
    scheme, rest = _split(address, ports=1)
    return _ipc(f"{rest}.weights") if scheme == "ipc" else address


def is_private(address: str) -> bool:
    """Whether only this machine can reach the address: without keys, no other is allowed."""
    if address.startswith("ipc://"):
        return True
    host = host_of(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(address: str) -> str:
    """The name, the address without brackets, or `*`; empty if it is no tcp address."""
    found = _TCP.fullmatch(address)
    return found["host"].strip("[]").rstrip(".").lower() if found else ""


def _split(address: str, ports: int) -> tuple[str, str]:
    scheme, _, rest = address.partition("://")
    if scheme == "ipc" and rest.startswith("/") and "\0" not in rest:
        return scheme, rest
    found = _TCP.fullmatch(address)
    if found and 1 <= int(found["port"]) <= 65536 - ports:
        return scheme, rest
    raise InputError(
        f"{address!r} is not an address; use ipc:///absolute/path or tcp://host:port "
        f"with a port of 1 to {65536 - ports}"
    )


def _ipc(path: str) -> str:
    if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
        raise InputError(
            f"the path of the socket {path} is longer than {MAX_SOCKET_PATH_BYTES} bytes; "
            "use a shorter folder"
        )
    return f"ipc://{path}"
