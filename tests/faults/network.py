"""Network namespaces, and a router between them that can lose, delay and cut.

Each namespace has one TUN device. The router reads the IP packets that are sent through it and gives them to the
namespace that they are for, see `Documentation/networking/tuntap.rst` of Linux. No kernel module is needed beyond
`tun`, so it works where `netem` is missing.
"""

from __future__ import annotations

import fcntl
import heapq
import ipaddress
import itertools
import os
import random
import select
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_SUBNETS = {
    4: ipaddress.ip_network("10.213.0.0/24"),
    6: ipaddress.ip_network("fd00:213::/64"),
}
_RECEIVER = {4: slice(16, 20), 6: slice(24, 40)}
"""Where a packet has the address that it is for."""
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_DEVICE = "link0"
_MTU = 1500


@dataclass(frozen=True)
class Direction:
    """What happens to packets from one namespace to another.

    Attributes:
        loss: share of the packets that are lost.
        delay, jitter: seconds; a packet takes `delay` ± `jitter`, and none overtakes another.
        cut: no packet arrives.
    """

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    cut: bool = False


CLEAN = Direction()


def why_not() -> str | None:
    """Why this machine cannot have such a network; None if it can."""
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    if not os.path.exists("/dev/net/tun"):
        return "the kernel has no TUN devices"
    return None


class Network:
    """Namespaces by name, which is also the name of their host. `counts` has packets by (from, to, `arrived`
    or `lost`).

    Args:
        versions: of IP that it has, 4 and 6.
    """

    def __init__(self, names: Sequence[str], seed: int, versions: Sequence[int] = (4,)) -> None:
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._directions: dict[tuple[str, str], Direction] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self._names = {name: f"rljob-{os.getpid()}-{name}" for name in names}
        self._versions = versions
        self._addresses = {
            (name, version): str(_SUBNETS[version][number])
            for version in versions
            for number, name in enumerate(names, start=1)
        }
        self._hosts = tempfile.NamedTemporaryFile("w", prefix="hosts-")  # noqa: SIM115 - closed by `close`
        self._devices: dict[str, int] = {}
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._route, name="router")

    def address(self, name: str, version: int = 4) -> str:
        """An address of a namespace."""
        return self._addresses[name, version]

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        """The command that runs a command in a namespace, where the others have names."""
        named = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', self._hosts.name]
        return ["ip", "netns", "exec", self._names[name], *named, *command]

    def shape(self, sender: str, receiver: str, direction: Direction, both: bool = True) -> None:
        """Treat packets from one namespace to another like this from now on; also those back, if `both`."""
        with self._lock:
            self._directions[sender, receiver] = direction
            if both:
                self._directions[receiver, sender] = direction

    def open(self) -> None:
        lines = (f"{address}\t{name}\n" for (name, _), address in self._addresses.items())
        self._hosts.write("127.0.0.1\tlocalhost\n" + "".join(lines))
        self._hosts.flush()
        for name, space in self._names.items():
            _ip("netns", "add", space)
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            self._devices[name] = device
            flags = _IFF_TUN | _IFF_NO_PI
            mine = f"rl{os.getpid()}{len(self._devices)}"[:15]
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22s", mine.encode(), flags, b""))
            _ip("link", "set", mine, "netns", space, "name", _DEVICE)
            inside = ("-n", space)
            _ip(*inside, "link", "set", _DEVICE, "mtu", str(_MTU), "txqueuelen", "2000", "up")
            _ip(*inside, "link", "set", "lo", "up")
            for version in self._versions:
                address = f"{self.address(name, version)}/{_SUBNETS[version].prefixlen}"
                # Nobody answers a probe for duplicates of an address, which IPv6 waits for.
                probe = ["nodad"] if version == 6 else []
                _ip(*inside, "addr", "add", address, "dev", _DEVICE, *probe)
                _ip(*inside, f"-{version}", "route", "add", "default", "dev", _DEVICE)
        self._thread.start()

    def close(self) -> None:
        os.close(self._waker)
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._wake)
        for device in self._devices.values():
            os.close(device)
        for space in self._names.values():
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
        self._hosts.close()

    def _route(self) -> None:
        """Move packets until `close`."""
        devices = {device: name for name, device in self._devices.items()}
        receivers = {
            ipaddress.ip_address(address).packed: name
            for (name, _), address in self._addresses.items()
        }
        waiting: list[tuple[float, int, str, bytes]] = []
        newest: dict[tuple[str, str], float] = {}
        order = itertools.count()
        while True:
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, receiver, packet = heapq.heappop(waiting)
                # A full queue loses the packet, as a real router does.
                with suppress(BlockingIOError, OSError):
                    os.write(self._devices[receiver], packet)
            patience = waiting[0][0] - now if waiting else None
            ready, _, _ = select.select([self._wake, *devices], [], [], patience)
            if self._wake in ready:
                return
            for device in ready:
                sender = devices[device]
                for packet in _packets(device):
                    receiver = receivers.get(packet[_RECEIVER[packet[0] >> 4]], "")
                    if not receiver:
                        continue
                    path = sender, receiver
                    with self._lock:
                        direction = self._directions.get(path, CLEAN)
                    lost = direction.cut or self._rng.random() < direction.loss
                    self.counts[sender, receiver, "lost" if lost else "arrived"] += 1
                    if lost:
                        continue
                    span = direction.delay + self._rng.uniform(-1, 1) * direction.jitter
                    newest[path] = max(newest.get(path, 0.0), time.monotonic() + span)
                    heapq.heappush(waiting, (newest[path], next(order), receiver, packet))


@contextmanager
def network(
    names: Sequence[str], seed: int = 0, versions: Sequence[int] = (4,)
) -> Iterator[Network]:
    """Make the namespaces, and remove them at the end. End what runs in them first."""
    made = Network(names, seed, versions)
    try:
        made.open()
        yield made
    finally:
        made.close()


def _packets(device: int) -> Iterator[bytes]:
    for _ in range(64):
        try:
            yield os.read(device, 65536)
        except BlockingIOError:
            return


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
