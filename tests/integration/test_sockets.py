"""Real sockets over ipc and tcp: options, who gets in, what bad peers do, what survives."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
import zmq.auth.thread

from rljob.errors import InputError, RunError
from rljob.spec.roles import ROLES
from rljob.wire.arrays import pack, unpack
from rljob.wire.keygen import generate
from rljob.wire.keys import ALLOWED, KeyRing, Keys, read
from rljob.wire.messages import HEADER_BYTES, MAX_PAYLOAD_BYTES, Header, MessageKind
from rljob.wire.sockets import (
    CURVE_BYTES,
    MAX_REQUEST_BYTES,
    MOST_RECEIVED,
    MOST_UNREAD,
    ZERO_COPY_BYTES,
    Endpoint,
    Wire,
)
from tests.integration.forwarder import Forwarder
from tests.integration.sides import DEADLINE, JOB, Side, Sides, raw, sent, tcp, until
from tests.ports import free_port, needs_ipv6


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeyRing]:
    folder = tmp_path_factory.mktemp("minted") / "keys"
    generate(folder)
    return {role: read(folder, role) for role in ROLES}


@pytest.fixture(params=["ipc", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/s" if request.param == "ipc" else tcp()


@pytest.fixture
def sides() -> Iterator[Sides]:
    with Sides() as made:
        yield made


# -- options -------------------------------------------------------------------------------------

COMMON: dict[int, int | bytes] = {
    zmq.LINGER: 500,
    zmq.HEARTBEAT_IVL: 1000,
    zmq.HEARTBEAT_TIMEOUT: 3000,
    zmq.HEARTBEAT_TTL: 3000,
    zmq.HANDSHAKE_IVL: 5000,
    zmq.CONNECT_TIMEOUT: 3000,
    zmq.RECONNECT_IVL_MAX: 2000,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 30,
    zmq.TCP_KEEPALIVE_INTVL: 10,
    zmq.TCP_KEEPALIVE_CNT: 3,
}


def options(endpoint: Endpoint, expected: dict[int, int | bytes]) -> dict[int, int | bytes]:
    return {option: endpoint.socket.getsockopt(option) for option in expected}


@pytest.mark.parametrize("secured", [False, True])
def test_options_of_every_socket(sides: Sides, secured: bool, keys: dict[str, KeyRing]) -> None:
    for name, roles in ALLOWED.items():
        owner = "learner" if name == "weights" else "buffer"
        address = tcp()
        server = sides.server(address, keys[owner] if secured else None, name)
        assert server.endpoint.socket.type == zmq.ROUTER
        expected: dict[int, int | bytes] = {**COMMON, zmq.BACKLOG: 1024, zmq.AFFINITY: 1}
        most = {zmq.MAXMSGSIZE: MAX_PAYLOAD_BYTES + (CURVE_BYTES if secured else 0)}
        expected |= most | {zmq.RCVHWM: MOST_RECEIVED, zmq.SNDHWM: MOST_UNREAD[name]}
        if name == "weights":
            expected[zmq.MAXMSGSIZE] = MAX_REQUEST_BYTES
        if secured:
            expected |= {zmq.CURVE_SERVER: 1, zmq.ZAP_DOMAIN: name.encode()}
            expected |= {zmq.MECHANISM: zmq.CURVE, zmq.ZAP_ENFORCE_DOMAIN: 1}
        else:
            expected |= {zmq.MECHANISM: zmq.NULL}
        assert options(server.endpoint, expected) == expected
        for role in roles:
            client = sides.client(address, keys[role] if secured else None, "me", owner)
            assert client.endpoint.socket.type == zmq.DEALER
            wanted: dict[int, int | bytes] = {
                **COMMON,
                **most,
                zmq.IMMEDIATE: 1,
                zmq.IDENTITY: b"me",
            }
            wanted |= {zmq.SNDHWM: 0, zmq.RCVHWM: 0}
            wanted |= {zmq.MECHANISM: zmq.CURVE if secured else zmq.NULL}
            assert options(client.endpoint, wanted) == wanted
            assert client.endpoint.socket.getsockopt(zmq.RECONNECT_IVL) in range(20, 121)


def test_connections_of_one_process_do_not_wait_for_each_others_names(sides: Sides) -> None:
    wire, _ = sides.wire()
    one, other = (wire.connect(tcp(), "me", role) for role in ("buffer", "learner"))
    assert one.socket.getsockopt(zmq.AFFINITY) & other.socket.getsockopt(zmq.AFFINITY) == 0


def test_an_unknown_client_is_an_error_to_see_and_not_a_message_lost(sides: Sides) -> None:
    server = sides.server(tcp())
    assert not server.endpoint.send(b"nobody", Header(MessageKind.WHO))


def test_nothing_piles_up_for_a_server_that_is_away(sides: Sides) -> None:
    client = sides.client(tcp())
    assert not client.endpoint.send(b"", Header(MessageKind.STATUS))


# -- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("secured", [False, True])
@pytest.mark.parametrize("size", [0, 1, ZERO_COPY_BYTES - 1, ZERO_COPY_BYTES, 5_000_000])
def test_payloads_arrive_as_they_were(
    sides: Sides, address: str, size: int, secured: bool, keys: dict[str, KeyRing]
) -> None:
    server = sides.server(address, keys["buffer"] if secured else None)
    client = sides.client(address, keys["rollout"] if secured else None)
    payload = np.random.default_rng(size).bytes(size)
    for seq in range(3):
        sent(client, Header(MessageKind.SEGMENT, seq=seq), memoryview(payload))
    until(lambda: len(server.messages) == 3, server.take)
    assert server.seqs == [0, 1, 2]
    for message in server.messages:
        assert message.client == b"peer"
        assert message.header.job == JOB
        assert message.payload == payload
    assert server.endpoint.send(b"peer", Header(MessageKind.CHUNK), payload)
    until(lambda: client.messages, client.take)
    assert client.messages[0].payload == payload


@pytest.mark.parametrize("secured", [False, True])
def test_the_largest_payload_arrives_and_a_larger_one_is_refused_where_it_is_sent(
    sides: Sides, secured: bool, keys: dict[str, KeyRing]
) -> None:
    """libzmq's limit counts what CURVE puts around a payload; what exceeds it is dropped without a word."""
    address = tcp()
    server = sides.server(address, keys["buffer"] if secured else None)
    client = sides.client(address, keys["rollout"] if secured else None)
    payload = np.zeros(MAX_PAYLOAD_BYTES + 1, np.uint8)
    payload[[0, -2]] = 7
    with pytest.raises(RunError, match=f"SEGMENT: {MAX_PAYLOAD_BYTES + 1} bytes exceed"):
        client.endpoint.send(b"", Header(MessageKind.SEGMENT), payload.data)
    sent(client, Header(MessageKind.SEGMENT, seq=1), payload[:-1].data)
    until(lambda: server.messages, server.take, client.take)
    received = np.frombuffer(server.messages[0].payload, np.uint8)
    assert len(received) == MAX_PAYLOAD_BYTES
    assert received[0] == received[-1] == 7
    assert client.endpoint.traffic.reconnects == 0


def test_arrays_are_read_where_they_arrived(sides: Sides, address: str) -> None:
    server, client = sides.server(address), sides.client(address)
    array = np.arange(100_000, dtype=np.float32)
    sent(client, Header(MessageKind.SEGMENT), memoryview(pack({"x": array})))  # type: ignore[arg-type]
    until(lambda: server.messages, server.take)
    read_back = unpack(server.messages[0].payload)["x"]
    assert np.shares_memory(read_back, np.frombuffer(server.messages[0].payload, np.uint8))
    np.testing.assert_array_equal(read_back, array)


def test_wake_ends_a_wait(sides: Sides) -> None:
    wire, _ = sides.wire()
    for _ in range(100_000):
        wire.wake()
    wire.wait(DEADLINE)


# -- bad peers -----------------------------------------------------------------------------------


GOOD = Header(MessageKind.STATUS, JOB, size=2).encode()


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b""], "frames"),
        ([GOOD], "frames"),
        ([GOOD, b"{}", b""], "frames"),
        ([GOOD] + [b"{}"] * 4, "frames"),
        ([b"", GOOD, b"{}"], "frames"),
        ([GOOD[:-1], b"{}"], "header"),
        ([b"", b"{}"], "header"),
        ([bytes(HEADER_BYTES), b"{}"], "magic"),
        ([Header(MessageKind.STATUS, JOB + 1, size=2).encode(), b"{}"], "job"),
        ([GOOD, b"{} "], "size"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_malformed_messages_are_counted_and_hurt_nobody_else(
    sides: Sides, address: str, frames: list[bytes], reason: str
) -> None:
    server, healthy = sides.server(address), sides.client(address)
    sent(healthy, Header(MessageKind.STATUS, seq=1))
    with raw(address) as bad:
        bad.send_multipart(frames)
        bad.send_multipart([GOOD, b"{}"])
        until(lambda: len(server.messages) == 2, server.take)
        assert server.rejected == [(b"bad", reason)]
        sent(healthy, Header(MessageKind.STATUS, seq=2))
        until(lambda: 2 in server.seqs, server.take)
    assert server.rejected == [(b"bad", reason)]


def test_a_message_that_is_too_large_costs_only_its_sender_the_connection(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rljob.wire.sockets.MAX_PAYLOAD_BYTES", 100_000)
    address = tcp()
    server, healthy = sides.server(address), sides.client(address)
    sent(healthy, Header(MessageKind.STATUS, seq=1))
    with raw(address) as bad:
        bad.send_multipart([GOOD, b"{}"])
        until(lambda: len(server.messages) == 2, server.take)
        bad.send_multipart([GOOD, bytes(100_001)])
        sent(healthy, Header(MessageKind.STATUS, seq=2))
        until(lambda: 2 in server.seqs, server.take)
        # It reconnects by itself and may go on.
        until(
            lambda: len(server.messages) >= 4,
            server.take,
            lambda: bad.send_multipart([GOOD, b"{}"]),
        )
    assert server.rejected == []


def test_bytes_that_are_no_zmq_hurt_nobody(sides: Sides) -> None:
    address = tcp()
    server, healthy = sides.server(address), sides.client(address)
    host, port = address.removeprefix("tcp://").split(":")
    with contextlib.ExitStack() as stack:
        for index in range(100):
            stream = stack.enter_context(socket.create_connection((host, int(port))))
            with contextlib.suppress(OSError):
                stream.sendall(b"GET / HTTP/1.1\r\n\r\n" if index % 2 else b"\xff" + bytes(8))
        sent(healthy, Header(MessageKind.STATUS, seq=1))
        until(lambda: server.seqs == [1], server.take)
        until(lambda: sum(server.endpoint.traffic.refused.values()) >= 50, server.take)
    assert server.rejected == []
    assert server.endpoint.traffic.refused["key"] == 0


def test_what_a_flooding_client_has_waiting_is_bounded(sides: Sides) -> None:
    address = tcp()
    server, healthy = sides.server(address), sides.client(address)
    payload = bytes(16_384)
    header = Header(MessageKind.STATUS, JOB, size=len(payload)).encode()
    with raw(address) as bad:
        flooded = 0
        while bad.poll(1000, zmq.POLLOUT):
            bad.send_multipart([header, payload])
            flooded += 1
            assert flooded < 20_000, "the server takes everything"
        sent(healthy, Header(MessageKind.STATUS, seq=1))
        # Nothing is lost: what is not read yet waits at the client.
        until(lambda: len(server.messages) == flooded + 1, server.take)
    assert server.rejected == []


def test_a_client_that_never_reads_is_sent_no_more(sides: Sides) -> None:
    address = tcp()
    server, healthy = sides.server(address, name="weights"), sides.client(address, to="learner")
    with raw(address) as bad:
        bad.setsockopt(zmq.RCVHWM, 1)
        bad.send_multipart([GOOD, b"{}"])
        until(lambda: server.messages, server.take)
        chunk = bytes(1024 * 1024)
        sends = 0
        while server.endpoint.send(b"bad", Header(MessageKind.CHUNK), chunk):
            sends += 1
            assert sends < 500, "the queue has no end"
        sent(healthy, Header(MessageKind.STATUS, seq=1))
        until(lambda: 1 in server.seqs, server.take)
        assert server.endpoint.send(b"peer", Header(MessageKind.CHUNK, seq=5), chunk)
        until(lambda: healthy.seqs == [5], healthy.take)


def test_a_restarted_client_takes_over_its_name(sides: Sides, address: str) -> None:
    server, first = sides.server(address), sides.client(address, identity="rollout-0")
    sent(first, Header(MessageKind.STATUS, seq=1))
    until(lambda: server.seqs == [1], server.take)
    # The first is still connected, as a frozen process would be.
    second = sides.client(address, identity="rollout-0")
    sent(second, Header(MessageKind.STATUS, seq=2))
    until(lambda: server.seqs == [1, 2], server.take)
    assert server.endpoint.send(b"rollout-0", Header(MessageKind.GRANT, limit=5))
    until(lambda: second.messages, second.take)
    assert first.messages == []


def test_a_restarted_server_is_found_again(sides: Sides, address: str) -> None:
    with Sides() as before:
        server = before.server(address)
        client = sides.client(address)
        sent(client, Header(MessageKind.STATUS, seq=1))
        until(lambda: server.seqs == [1], server.take)
    again = sides.server(address)

    def repeat() -> None:
        client.endpoint.send(b"", Header(MessageKind.STATUS, seq=2))

    until(lambda: 2 in again.seqs, repeat, again.take)


def test_a_server_that_vanished_is_found_behind_the_same_address(
    sides: Sides, keys: dict[str, KeyRing]
) -> None:
    """Its machine is lost, so no connection is ever closed; its successor has another address."""
    addresses = [tcp().replace("127.0.0.1", host) for host in ("127.0.0.2", "127.0.0.3")]
    targets = [(host, int(port)) for host, port in (a[6:].split(":") for a in addresses)]
    service = Forwarder(None)
    try:
        client = sides.client(f"tcp://127.0.0.1:{service.port}", keys["rollout"])
        assert not client.endpoint.send(b"", Header(MessageKind.STATUS)), "nobody is there yet"
        before = sides.server(addresses[0], keys["buffer"])
        service.move(targets[0])
        sent(client, Header(MessageKind.STATUS, seq=1))
        until(lambda: before.seqs == [1], before.take)

        after = sides.server(addresses[1], keys["buffer"])
        service.move(targets[1])

        def repeat() -> None:
            client.endpoint.send(b"", Header(MessageKind.STATUS, seq=2))
            client.wire.wait(0.05)

        until(lambda: 2 in after.seqs, repeat, after.take)
        assert before.seqs == [1]
    finally:
        service.close()


@needs_ipv6
def test_ipv6(sides: Sides) -> None:
    address = f"tcp://[::1]:{free_port()}"
    server, client = sides.server(address), sides.client(address)
    sent(client, Header(MessageKind.STATUS, seq=1))
    until(lambda: server.seqs == [1], server.take)


@needs_ipv6
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_a_server_on_all_addresses_has_those_of_both_families(
    sides: Sides, keys: dict[str, Keys], host: str
) -> None:
    port = free_port()
    server = sides.server(f"tcp://*:{port}", keys["buffer"])
    client = sides.client(f"tcp://{host}:{port}", keys["rollout"])
    sent(client, Header(MessageKind.STATUS, seq=1))
    until(lambda: server.seqs == [1], server.take)


def test_closing_does_not_wait_for_peers_that_are_away() -> None:
    wire = Wire(JOB, None, lambda *_: None)
    for _ in range(3):
        wire.connect(tcp(), "me", "buffer").send(b"", Header(MessageKind.STATUS), bytes(10**6))
    started = time.monotonic()
    wire.close()
    assert time.monotonic() - started < DEADLINE / 2


# -- addresses -----------------------------------------------------------------------------------


def test_an_address_in_use(sides: Sides, address: str) -> None:
    server = sides.server(address)
    wire, _ = sides.wire()
    with pytest.raises(RunError, match=r"cannot listen on .*in use"):
        wire.serve(address, "experience")
    client = sides.client(address)
    sent(client, Header(MessageKind.STATUS, seq=1))
    until(lambda: server.seqs == [1], server.take)


def test_a_socket_file_that_a_killed_process_left_is_no_obstacle(
    sides: Sides, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{tmp_path}/s")
    server, client = sides.server(f"ipc://{tmp_path}/s"), sides.client(f"ipc://{tmp_path}/s")
    sent(client, Header(MessageKind.STATUS, seq=1))
    until(lambda: server.seqs == [1], server.take)


def test_a_folder_that_is_not_there(sides: Sides, tmp_path: Path) -> None:
    wire, _ = sides.wire()
    with pytest.raises(RunError, match="cannot listen on"):
        wire.serve(f"ipc://{tmp_path}/missing/s", "experience")


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:7400", "tcp://*:7400", "tcp://10.1.2.3:7400"])
def test_without_keys_nobody_else_may_reach_us(sides: Sides, address: str) -> None:
    wire, _ = sides.wire()
    with pytest.raises(InputError, match="--keys"):
        wire.serve(address, "experience")
    with pytest.raises(InputError, match="--keys"):
        wire.connect(address, "me", "buffer")


# -- keys ----------------------------------------------------------------------------------------


def stranger(keys: KeyRing) -> KeyRing:
    """Somebody who knows our public keys and has a pair of his own."""
    public, secret = zmq.curve_keypair()
    return KeyRing(keys.order, {keys.order.current: Keys(public, secret, keys.own.others)})


def refused(server: Side, client: Side, friend: Side) -> None:
    """A client does not get in, although a friend, who comes later, does."""
    events = client.endpoint.socket.get_monitor_socket(zmq.EVENT_ALL)
    failures = {
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_DISCONNECTED,
    }
    seen: list[int] = []

    def look() -> None:
        server.take()
        assert not client.endpoint.send(b"", Header(MessageKind.STATUS, seq=666))
        while events.poll(10):
            seen.append(int.from_bytes(events.recv_multipart()[0][:2], "little"))

    try:
        until(lambda: failures & set(seen), look)
        assert zmq.EVENT_HANDSHAKE_SUCCEEDED not in seen
    finally:
        # At once: events that nobody reads would block the socket that makes them.
        client.endpoint.socket.disable_monitor()
        events.close()
    sent(friend, Header(MessageKind.STATUS, seq=1))
    until(lambda: server.messages, server.take)
    assert server.seqs == [1]


OWNER = {"experience": "buffer", "samples": "buffer", "weights": "learner"}


@pytest.mark.parametrize(
    ("name", "role"),
    [(name, role) for name in ALLOWED for role in ROLES if role not in ALLOWED[name]],
)
def test_a_role_that_has_no_business_at_a_socket(
    sides: Sides, keys: dict[str, KeyRing], name: str, role: str
) -> None:
    address, owner = tcp(), OWNER[name]
    server = sides.server(address, keys[owner], name)
    friend = sides.client(address, keys[ALLOWED[name][0]], "friend", owner)
    refused(server, sides.client(address, keys[role], "bad", owner), friend)


@pytest.mark.parametrize("who", ["unknown key", "no key", "wrong server key"])
def test_who_does_not_get_in(
    sides: Sides, address: str, keys: dict[str, KeyRing], who: str
) -> None:
    server = sides.server(address, keys["buffer"])
    friend = sides.client(address, keys["rollout"], "friend")
    # How the server counts it. What is encrypted for another key looks like another protocol in some versions.
    reason = "mechanism" if who == "no key" else "key"
    if who == "unknown key":
        client = sides.client(address, stranger(keys["rollout"]))
    elif who == "no key":
        client = sides.client(address)
    else:
        client = sides.client(address, keys["rollout"], to="learner")
    refused(server, client, friend)
    counted = server.endpoint.traffic.refused
    # A client that is the first to see that the mechanisms differ hangs up, and does not come again.
    enough = {reason, "unfinished"} if who == "no key" else {reason}
    until(lambda: any(counted[each] for each in enough), server.take)
    assert {each for each, count in counted.items() if count} <= {reason, "unfinished"}


def test_nobody_gets_in_when_nobody_checks(
    sides: Sides, keys: dict[str, KeyRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZAP fails closed. (By default libzmq lets every key in when no handler runs.)"""
    address = tcp()
    with monkeypatch.context() as patch:
        patch.setattr(Wire, "_authenticate", lambda *_: None)
        server = sides.server(address, keys["buffer"])
    client = sides.client(address, keys["rollout"])
    events = client.endpoint.socket.get_monitor_socket(
        zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
    )
    try:
        until(lambda: events.poll(10), server.take)
        event = int.from_bytes(events.recv_multipart()[0][:2], "little")
    finally:
        client.endpoint.socket.disable_monitor()
        events.close()
    assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert not client.endpoint.send(b"", Header(MessageKind.STATUS))


def test_what_travels_is_not_readable(sides: Sides, keys: dict[str, KeyRing]) -> None:
    """A listener in the middle sees neither header nor payload."""
    address, seen = tcp(), bytearray()
    server = sides.server(address, keys["buffer"])
    host, port = address.removeprefix("tcp://").split(":")
    with socket.create_server(("127.0.0.1", 0)) as middle:
        there = f"tcp://127.0.0.1:{middle.getsockname()[1]}"
        client = sides.client(there, keys["rollout"])
        near, _ = middle.accept()
        with near, socket.create_connection((host, int(port))) as far:
            near.setblocking(False)
            far.setblocking(False)

            def carry() -> None:
                for source, target in ((near, far), (far, near)):
                    with contextlib.suppress(BlockingIOError):
                        data = source.recv(65536)
                        seen.extend(data)
                        target.sendall(data)
                server.take()

            header = Header(MessageKind.STATUS, seq=1)
            until(lambda: client.endpoint.send(b"", header, b"precious" * 4), carry)
            until(lambda: server.seqs == [1], carry)
    assert server.messages[0].payload == b"precious" * 4
    assert b"CURVE" in seen
    assert b"precious" not in seen
    assert b"RLJB" not in seen


def http(address: str) -> threading.Thread:
    """Answers the first connection to a port as a web server would, and leaves the port."""
    host, port = address.removeprefix("tcp://").split(":")
    listener = socket.create_server((host, int(port)))

    def answer() -> None:
        with listener, listener.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            # The client may have given up already.
            with contextlib.suppress(ConnectionError):
                connection.recv(4096)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("stranger", ["http", "no keys", "other keys"])
def test_a_connection_that_was_given_up_comes_back(
    stranger: str, sides: Sides, keys: dict[str, KeyRing], tmp_path: Path
) -> None:
    address = tcp()

    def connected() -> Side:
        client = sides.client(address, keys["rollout"])
        client.endpoint._silence.after = 1.0
        return client

    if stranger == "http":
        answered = http(address)
        client = connected()
        until(lambda: not answered.is_alive(), client.take)
    else:
        generate(tmp_path / "other")
        theirs = None if stranger == "no keys" else read(tmp_path / "other", "buffer")
        with Sides() as others:
            other = others.server(address, theirs)
            client = connected()
            until(lambda: client.endpoint.traffic.reconnects > 0, client.take, other.take)
    server = sides.server(address, keys["buffer"])

    def ask() -> None:
        client.endpoint.send(b"", Header(MessageKind.STATUS))

    until(lambda: server.messages, ask, client.take, server.take)
    assert client.endpoint.traffic.reconnects > 0
