"""The only module that knows zmq: every socket option is set here, once, with its reason.

A server socket is a ROUTER that many clients reach; a client socket is a DEALER. All messages are two
frames, header and payload. Neither side infers delivery from a send: that is what `delivery` is for.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import zmq
import zmq.auth.thread

from rljob.errors import InputError, RunError
from rljob.spec.roles import LinkName, RoleName
from rljob.wire import refusals
from rljob.wire.endpoints import is_private
from rljob.wire.families import families, of_machine
from rljob.wire.keys import KeyRing
from rljob.wire.messages import (
    ANSWERED,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    NO_JOB,
    Header,
    MessageKind,
    Rejected,
    decode,
)
from rljob.wire.refused import AnswerLimit, PeerRefusal, answer_header
from rljob.wire.silence import Silence
from rljob.wire.traffic import Traffic

_LOG = logging.getLogger("rljob")
ZERO_COPY_BYTES = 1024 * 1024
"""Payloads of at least this size are sent without a copy. Below, it costs more to be told when zmq is
done with the memory: that comes from a thread of pyzmq's, which competes for the interpreter."""
_LAST = int(zmq.DONTWAIT)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
"""Flags as plain numbers: putting enumerations together costs as much as sending a header."""
LINGER_MS = 500
REBIND_SECONDS = 5.0
"""Longest time until an address is free again after the socket that was bound to it has let it go."""
CURVE_BYTES = 33
"""Around an encrypted frame, which libzmq's limit includes: command name, nonce, authenticator, flags."""
MOST_RECEIVED = 256
"""Messages of one client that wait at a server, the one that has not come whole aside. An honest client never has so
many: it repeats four segments and a status each second."""
MOST_UNREAD: dict[LinkName, int] = {"experience": 1024, "samples": 16_384, "weights": 32}
"""Messages to one client that it has not read, by link. Weights go in windows of 8 chunks of 1 MiB."""
MAX_REQUEST_BYTES = 64 * 1024
"""Largest frame that the server of weights takes."""
_EVENT = struct.Struct("=HI")
IO_THREADS = 2
"""zmq's I/O threads. A slow name lookup blocks its thread, and every connection there, for seconds; the
other thread continues."""

Client = bytes
"""A ROUTER's name for one connected client."""


def new_keypair() -> tuple[bytes, bytes]:
    """A CURVE pair (public, secret) as Z85."""
    public, secret = zmq.curve_keypair()
    return public, secret


@dataclass(frozen=True, slots=True)
class Message:
    """One well-formed message.

    Attributes:
        client: the name that its sender gave itself.
        payload: shares memory with what zmq received.
        key: of the sender, as Z85, as the handshake has proven it; empty without keys, and for what a server sends.
    """

    client: Client
    header: Header
    payload: memoryview
    key: bytes = b""


class Wire:
    """The sockets of one process: a context, its authenticator, and a poll over all of them.

    Args:
        job: the job's number, in every header.
        ring: this role's CURVE keys; None leaves the sockets open, which only ipc and loopback may be.
        rejected: called with sender and reason of every message that is dropped as malformed.
        renewed: returns the keys once they have changed, else None.

    Attributes:
        ring: the keys that the sockets use.
    """

    def __init__(
        self,
        job: int,
        ring: KeyRing | None,
        rejected: Callable[[Client, str], None],
        renewed: Callable[[], KeyRing | None] = lambda: None,
    ) -> None:
        self.job = job
        self.ring = ring
        self._renewed = renewed
        self._rejected = rejected
        self._allowed: dict[LinkName, frozenset[bytes]] = {}
        self._context = zmq.Context(IO_THREADS)
        self._clients: list[Endpoint] = []
        self._servers: list[Endpoint] = []
        self._monitored: dict[Any, Endpoint] = {}
        self._poller = zmq.Poller()
        self._sockets: list[Endpoint] = []
        self._authenticator: zmq.auth.thread.ThreadAuthenticator | None = None
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)
        self._poller.register(self._awake.fileno(), zmq.POLLIN)

    def serve(self, address: str, name: LinkName) -> Endpoint:
        """Bind a socket; `name` is one of `keys.ALLOWED` and its ZAP domain."""
        self._check(address)
        server = self._socket(zmq.ROUTER, address)
        # libzmq reads no more from a client of which so much waits, and a send to one that never reads fails.
        server.setsockopt(zmq.RCVHWM, MOST_RECEIVED)
        server.setsockopt(zmq.SNDHWM, MOST_UNREAD[name])
        if name == "weights":
            # Who fetches weights sends headers alone.
            server.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        # A full queue or an unknown client is an error to handle, never a message dropped in silence.
        server.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A restarted client with the same name takes over from its dead connection.
        server.setsockopt(zmq.ROUTER_HANDOVER, 1)
        server.setsockopt(zmq.BACKLOG, 1024)
        if self.ring is not None:
            self._authenticate(name, self.ring)
            server.setsockopt(zmq.CURVE_SERVER, 1)
            server.setsockopt(zmq.CURVE_SECRETKEY, self.ring.own.secret)
            server.setsockopt(zmq.ZAP_DOMAIN, name.encode())
            # Without this, a missing ZAP handler lets everybody in.
            server.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        monitor = self._monitor(server, name)
        try:
            _refuse_to_steal(address)
            server.bind(address)
        except zmq.ZMQError as error:
            monitor.close()
            server.close()
            raise RunError(f"cannot listen on {address}: {error.strerror}") from error
        endpoint = Endpoint(server, self.job, self._rejected, monitor=monitor)
        self._servers.append(endpoint)
        self._monitored[monitor] = endpoint
        self._poller.register(monitor, zmq.POLLIN)
        return self._register(endpoint)

    def watch(self, descriptor: int) -> None:
        """Make `wait` return when this descriptor can be read."""
        self._poller.register(descriptor, zmq.POLLIN)

    def connect(
        self, address: str, identity: str, server_role: RoleName, tells_refusals: bool = False
    ) -> Endpoint:
        """Connect a socket to the one that `server_role` binds; it may come up later, and its name be
        known later. The name is looked up at every attempt.

        Args:
            tells_refusals: whether `Endpoint.traffic.refused` counts the attempts that failed at the server's door.
        """
        self._check(address)
        client = self._socket(zmq.DEALER, address)
        client.setsockopt(zmq.IDENTITY, identity.encode())
        client.setsockopt(zmq.AFFINITY, 1 << len(self._clients) % IO_THREADS)
        monitor = self._monitor(client, identity) if tells_refusals else None
        endpoint = Endpoint(client, self.job, self._rejected, address, monitor)
        if monitor is not None:
            self._monitored[monitor] = endpoint
            self._poller.register(monitor, zmq.POLLIN)
        if self.ring is not None:
            endpoint.introduce(self.ring, server_role)
        # Nothing piles up for a peer that is away: what matters is repeated until it is answered.
        client.setsockopt(zmq.IMMEDIATE, 1)
        try:
            client.connect(address)
        except zmq.ZMQError as error:
            self._unmonitor(monitor)
            client.close()
            raise InputError(f"cannot connect to {address}: {error.strerror}") from error
        self._clients.append(endpoint)
        return self._register(endpoint)

    def wait(self, seconds: float) -> None:
        """Return when any socket may be read, when `wake` was called, or after `seconds`. A client that has
        heard nothing for long connects again."""
        ready = self._poller.poll(max(0, int(seconds * 1000 + 0.5)))
        now = time.monotonic()
        for endpoint in self._clients:
            endpoint.look(now)
        self.renew()
        for which, _ in ready:
            if which in self._monitored:
                self._monitored[which].count_refusals()
        if any(which == self._awake.fileno() for which, _ in ready):
            self._awake.recv(4096)

    def renew(self) -> None:
        """Use the keys of now, if they have changed. `wait` does it too. What was under way is lost, as when a link
        breaks."""
        ring, before = self._renewed(), self.ring
        if ring is None or before is None:
            return
        self.ring = ring
        for link in self._allowed:
            self._allowed[link] = _admitted(ring, link)
        if ring.own == before.own and not before.drops(ring):
            return
        # A connection lasts longer than its keys: each one begins anew.
        for endpoint in self._servers:
            endpoint.bind_again(ring)
        for endpoint in self._clients:
            endpoint.introduce(ring)
            endpoint.connect_again()

    def sent_by(self, message: Message, role: RoleName) -> bool:
        """Whether the sender of a message to one of our servers has the key of this role. Without keys, everybody has."""
        if self.ring is None:
            return True
        return message.key in {keys.others[role] for keys in self.ring.sets.values()}

    def wake(self) -> None:
        """Make `wait` return; the one method that another thread may call."""
        with contextlib.suppress(BlockingIOError):
            self._alarm.send(b"\0")

    def close(self) -> None:
        """Close everything; what is queued gets `LINGER_MS` to leave."""
        for monitor, endpoint in self._monitored.items():
            endpoint.socket.disable_monitor()
            monitor.close(0)
        for endpoint in self._sockets:
            endpoint.socket.close(LINGER_MS)
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()
        self._awake.close()
        self._alarm.close()

    def _check(self, address: str) -> None:
        if self.ring is None and not is_private(address):
            raise InputError(
                f"{address} can be reached from other machines; it needs --keys (see rljob keys)"
            )

    def _unmonitor(self, monitor: zmq.Socket[bytes] | None) -> None:
        if monitor is not None:
            del self._monitored[monitor]
            self._poller.unregister(monitor)
            monitor.close(0)

    def _monitor(self, watched: zmq.Socket[bytes], name: str) -> zmq.Socket[bytes]:
        """A socket that receives an event for each connection that is refused."""
        address = f"inproc://refused-{name}-{len(self._monitored)}"
        watched.monitor(address, refusals.EVENTS)
        monitor: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        # An event that finds no room would stop the thread that serves all connections.
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.connect(address)
        return monitor

    def _register(self, endpoint: Endpoint) -> Endpoint:
        self._sockets.append(endpoint)
        self._poller.register(endpoint.socket, zmq.POLLIN)
        return endpoint

    def _socket(self, kind: int, address: str) -> zmq.Socket[bytes]:
        made: zmq.Socket[bytes] = self._context.socket(kind)
        made.setsockopt(zmq.IPV6, families(address, of_machine()).ipv6)
        made.setsockopt(zmq.AFFINITY, 1)
        made.setsockopt(zmq.LINGER, LINGER_MS)
        # Credit bounds what is in flight to a server.
        made.setsockopt(zmq.SNDHWM, 0)
        made.setsockopt(zmq.RCVHWM, 0)
        around = CURVE_BYTES if self.ring is not None else 0
        made.setsockopt(zmq.MAXMSGSIZE, MAX_PAYLOAD_BYTES + around)
        # TCP cannot tell a frozen process from a quiet one; these notice it within 4 s.
        made.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        made.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000)
        made.setsockopt(zmq.HEARTBEAT_TTL, 3000)
        made.setsockopt(zmq.HANDSHAKE_IVL, 5000)
        made.setsockopt(zmq.CONNECT_TIMEOUT, 3000)
        # libzmq backs off without jitter; a random start keeps a fleet from returning all at once.
        made.setsockopt(zmq.RECONNECT_IVL, random.SystemRandom().randint(20, 120))
        made.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        made.setsockopt(zmq.TCP_KEEPALIVE, 1)
        made.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
        made.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 10)
        made.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
        return made

    def _authenticate(self, domain: LinkName, ring: KeyRing) -> None:
        if self._authenticator is None:
            self._authenticator = zmq.auth.thread.ThreadAuthenticator(self._context)
            self._authenticator.start()
        self._allowed[domain] = _admitted(ring, domain)
        everybody = self._allowed

        class Provider:
            def callback(self, its_domain: str, key: bytes) -> bool:
                raw = zmq.utils.z85.decode(key) if len(key) == 40 else key
                return raw in everybody[domain]

        self._authenticator.configure_curve_callback(domain, Provider())


def _admitted(ring: KeyRing, link: LinkName) -> frozenset[bytes]:
    return frozenset(zmq.utils.z85.decode(key) for key in ring.allowed(link))


def _refuse_to_steal(address: str) -> None:
    """Over ipc, libzmq replaces whatever socket lies at the path; one that answers is in use."""
    if not address.startswith("ipc://"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.removeprefix("ipc://"))
        except BlockingIOError:
            pass
        except OSError:
            return
    raise zmq.ZMQError(errno.EADDRINUSE)


class Endpoint:
    """One socket; used by the thread that polls it.

    Args:
        server: the address that a client is connected to.
        monitor: receives the refused connections of a server, or of a client that asks for them.

    Attributes:
        traffic: what has gone over it.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        job: int,
        rejected: Callable[[Client, str], None],
        server: str = "",
        monitor: zmq.Socket[bytes] | None = None,
    ) -> None:
        self.socket = socket
        self._monitor = monitor
        self._server = server
        self._silence, self._families = Silence(), families(server, of_machine())
        self._job = job
        self._rejected = rejected
        self._is_router = socket.type == zmq.ROUTER
        self._encrypted = bool(socket.getsockopt(zmq.CURVE_SERVER))
        self._server_role: RoleName | None = None
        self._server_keys: Iterator[bytes] = iter(())
        self._answers = AnswerLimit()
        told = monitor is not None or not server
        self.traffic = Traffic.of_server(refusals.REFUSALS) if told else Traffic()

    def send(self, client: Client, header: Header, payload: bytes | memoryview = b"") -> bool:
        """Send one message; False when the client is not connected, or reads too little.

        A large payload must stay as it is until it has left: until an acknowledgement, or for ever.
        Raises RunError for one that no receiver would take.
        """
        header.job = NO_JOB if header.kind is MessageKind.DESCRIPTION else self._job
        size = header.size = len(payload)
        if size > MAX_PAYLOAD_BYTES:
            raise RunError(f"{header.kind.name}: {size} bytes exceed {MAX_PAYLOAD_BYTES}")
        return self._send(client, header.encode(), payload)

    def refuse(self, message: Message, error: Rejected) -> None:
        """Count a message that was received and cannot be served. If its sender has to know, it gets REFUSED."""
        self._reject(message.client, error, message.header.encode())

    def _send(self, client: Client, header: bytes, payload: bytes | memoryview) -> bool:
        size = len(payload)
        try:
            if self._is_router:
                self.socket.send(client, _MORE)
            self.socket.send(header, _MORE)
            self.socket.send(payload, _LAST, copy=size < ZERO_COPY_BYTES)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        self.traffic.sent(HEADER_BYTES + size)
        return True

    def receive(self, most: int = 256) -> Iterator[Message]:
        """The well-formed messages that wait here, at most `most`; others are counted and dropped."""
        expected = 3 if self._is_router else 2
        for _ in range(most):
            try:
                frames = self._frames()
            except zmq.Again:
                return
            client = frames[0].bytes if self._is_router else b""
            self.traffic.received(sum(len(frame) for frame in frames[self._is_router :]))
            try:
                if len(frames) != expected:
                    raise Rejected("frames", str(len(frames)))
                payload = frames[-1].buffer
                header = decode(frames[-2].buffer, len(payload), self._job)
            except Rejected as error:
                self._reject(client, error, frames[-2].buffer if len(frames) > 1 else b"")
                continue
            self._silence.heard()
            self._families.heard()
            yield Message(client, header, payload, self._proven(frames[-1]))

    def _proven(self, frame: zmq.Frame) -> bytes:
        """The key of the connection that a frame came by; see `Message.key`."""
        if not (self._is_router and self._encrypted):
            return b""
        return str(frame.get("User-Id")).encode()

    def _reject(self, client: Client, error: Rejected, frame: bytes | memoryview) -> None:
        self._rejected(client, error.reason)
        if error.reason not in ANSWERED or not self._is_router:
            return
        now, payload = time.monotonic(), PeerRefusal(error.detail).encode()
        header = answer_header(frame, len(payload))
        if header is None or not self._answers.answers(client, now):
            return
        self._send(client, header, payload)
        if self._answers.logs(now):
            _LOG.warning("%.64r is refused: %s", client.decode(errors="replace"), error.detail)

    def look(self, now: float) -> None:
        """Connect again if nothing was heard for long; what was queued for the old connection is lost."""
        if self._silence.due(now):
            # While keys are rotated, the server may have those of another generation.
            self._expect_server()
            self.connect_again()
            self.traffic.reconnects += 1

    def introduce(self, ring: KeyRing, server_role: RoleName | None = None) -> None:
        """Connect with these keys from the next connection on."""
        self._server_role = server_role or self._server_role
        assert self._server_role is not None
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, ring.own.public)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, ring.own.secret)
        self._server_keys = itertools.cycle(ring.servers(self._server_role))
        self._expect_server()

    def _expect_server(self) -> None:
        key = next(self._server_keys, None)
        if key is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, key)

    def connect_again(self) -> None:
        """Leave the connection and make a new one."""
        # The connection may be gone already, which is why this is done.
        with contextlib.suppress(zmq.ZMQError):
            self.socket.disconnect(self._server)
        self._families.silent()
        self.socket.setsockopt(zmq.IPV6, self._families.ipv6)
        self.socket.connect(self._server)

    def bind_again(self, ring: KeyRing) -> None:
        """End all connections and listen with these keys; raises RunError when the address cannot be had."""
        address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.socket.unbind(address)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, ring.own.secret)
        deadline = time.monotonic() + REBIND_SECONDS
        # libzmq lets go of the address in a thread of its own.
        while True:
            try:
                _refuse_to_steal(address)
                self.socket.bind(address)
                return
            except zmq.ZMQError as error:
                if time.monotonic() > deadline:
                    raise RunError(f"cannot listen on {address}: {error.strerror}") from error
            time.sleep(0.01)

    def count_refusals(self) -> None:
        """Count the connections that were refused since the last call."""
        assert self._monitor is not None
        with contextlib.suppress(zmq.Again):
            while True:
                event, value = _EVENT.unpack(self._monitor.recv_multipart(_LAST)[0])
                self.traffic.refused[refusals.refusal(event, value)] += 1

    def _frames(self) -> list[zmq.Frame]:
        """All frames of one message; zmq.Again when none is there whole."""
        frame = self.socket.recv(_LAST, copy=False)
        frames = [frame]
        while frame.more:
            frame = self.socket.recv(_LAST, copy=False)
            frames.append(frame)
        return frames
