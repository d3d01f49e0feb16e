"""Wires with real sockets, as tests use them: servers, clients, and a socket that sends whatever it likes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import zmq

from rljob.spec.roles import LinkName, RoleName
from rljob.wire.keys import KeyRing
from rljob.wire.messages import Header
from rljob.wire.sockets import Client, Endpoint, Message, Wire
from tests.ports import free_port

JOB = 77
DEADLINE = 120.0


def tcp() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@dataclass
class Side:
    """A wire with one endpoint, and what it has seen."""

    wire: Wire
    rejected: list[tuple[Client, str]]
    endpoint: Endpoint
    messages: list[Message] = field(default_factory=list)

    def take(self) -> None:
        self.wire.wait(0.01)
        self.messages += self.endpoint.receive()

    @property
    def seqs(self) -> list[int]:
        return [message.header.seq for message in self.messages]


class Sides:
    """Makes sides and closes them at the end."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wire(self, keys: KeyRing | None = None) -> tuple[Wire, list[tuple[Client, str]]]:
        rejected: list[tuple[Client, str]] = []
        wire = Wire(JOB, keys, lambda client, reason: rejected.append((client, reason)))
        self._stack.callback(wire.close)
        return wire, rejected

    def server(
        self, address: str, keys: KeyRing | None = None, name: LinkName = "experience"
    ) -> Side:
        wire, rejected = self.wire(keys)
        return Side(wire, rejected, wire.serve(address, name))

    def client(
        self,
        address: str,
        keys: KeyRing | None = None,
        identity: str = "peer",
        to: RoleName = "buffer",
    ) -> Side:
        wire, rejected = self.wire(keys)
        return Side(wire, rejected, wire.connect(address, identity, to))


def until(done: Callable[[], object], *turns: Callable[[], object]) -> None:
    """Turn until it is done; fails when that takes too long."""
    deadline = time.monotonic() + DEADLINE
    while not done():
        assert time.monotonic() < deadline, "nothing more happens"
        for turn in turns:
            turn()


def sent(side: Side, header: Header, payload: bytes | memoryview = b"") -> None:
    until(lambda: side.endpoint.send(b"", header, payload), side.take)


@contextlib.contextmanager
def raw(address: str, identity: bytes = b"bad") -> Iterator[zmq.Socket[bytes]]:
    """A DEALER that sends whatever it likes."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.IDENTITY, identity)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.connect(address)
    try:
        yield dealer
    finally:
        dealer.close()
        context.term()
