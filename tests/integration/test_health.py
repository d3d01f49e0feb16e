"""`/metrics` and `/healthz` over real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest

from rljob.errors import RunError
from rljob.telemetry import health, http_server
from rljob.telemetry.health import Health
from rljob.telemetry.http_server import Answer, HttpServer
from rljob.telemetry.metrics import CONTENT_TYPE, RolloutMetrics

HOST = "127.0.0.1"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def serving(alive: Health | None = None) -> Iterator[HttpServer]:
    server = health.serve(RolloutMetrics().registry, alive or Health(1000.0), HOST, 0)
    try:
        yield server
    finally:
        server.close()


def ask(server: HttpServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    connection = HTTPConnection(HOST, server.port, timeout=120)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("rljob-pages")]


def is_closed(client: socket.socket) -> bool:
    """Whether the server hung up, without an answer."""
    client.settimeout(120)
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_healthy_until_the_loop_is_silent_for_too_long() -> None:
    clock = Clock()
    alive = Health(10.0, clock)
    assert alive.healthy(100_000.0), "as long as it starts"
    alive.beat()
    assert alive.healthy(110.0)
    assert not alive.healthy(110.1)
    clock.now = 111.0
    alive.beat()
    assert alive.healthy(121.0)
    assert alive.silent_seconds(123.0) == 12.0


def test_healthz_says_since_when() -> None:
    clock = Clock()
    alive = Health(10.0, clock)
    with serving(alive) as server:
        assert ask(server, "/healthz") == (200, "text/plain", "ok\n")
        alive.beat()
        clock.now += 12.34
        assert ask(server, "/healthz") == (503, "text/plain", "no progress for 12.3 s\n")
        alive.beat()
        assert ask(server, "/healthz?full=1")[0] == 200


def test_readyz_says_what_is_waited_for() -> None:
    alive = Health(10.0)
    with serving(alive) as server:
        assert ask(server, "/readyz") == (503, "text/plain", "waits for its start\n")
        alive.waits_for = "weights"
        assert ask(server, "/readyz") == (503, "text/plain", "waits for weights\n")
        alive.waits_for = ""
        assert ask(server, "/readyz") == (200, "text/plain", "ok\n")


def test_readyz_is_false_while_the_loop_is_silent_for_long() -> None:
    clock = Clock()
    alive = Health(300.0, clock, ready_seconds=20.0)
    alive.waits_for = ""
    with serving(alive) as server:
        alive.beat()
        clock.now += 19
        assert ask(server, "/readyz")[0] == 200
        clock.now += 2.5
        assert ask(server, "/readyz") == (503, "text/plain", "no progress for 21.5 s\n")
        assert ask(server, "/healthz")[0] == 200
        alive.beat()
        assert ask(server, "/readyz")[0] == 200


def test_further_pages() -> None:
    closed = []
    parts = [b"a" * 1000] * 3
    page = Answer(200, "application/x-tar", 3000, iter(parts), lambda: closed.append(True))
    server = health.serve(
        RolloutMetrics().registry, Health(1.0), HOST, 0, {"/checkpoint": lambda: page}
    )
    try:
        assert ask(server, "/checkpoint") == (200, "application/x-tar", "a" * 3000)
        status, _, text = ask(server, "/status")
        assert (status, text) == (
            404,
            "not found; pages: /metrics, /healthz, /readyz, /checkpoint\n",
        )
    finally:
        server.close()
    # Only now: whoever asked has its answer before the page is closed.
    assert closed == [True]


def test_an_answer_may_take_as_long_as_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for us, or takes part after part, is not hung up on."""
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 1.0)
    turn = threading.Event()

    def parts() -> Iterator[bytes]:
        for _ in range(10):
            turn.wait(0.15)
            yield b"ab"

    def page() -> Answer:
        turn.wait(1.5)
        return Answer(200, "text/plain", 20, parts())

    server = http_server.serve_pages({"/slow": page, "/other": page}, HOST, 0)
    try:
        assert ask(server, "/slow") == (200, "text/plain", "ab" * 10)
    finally:
        server.close()


def test_metrics_are_served_with_their_type() -> None:
    made = RolloutMetrics()
    made.episodes.inc(5)
    server = health.serve(made.registry, Health(10.0), HOST, 0)
    try:
        status, content_type, text = ask(server, "/metrics")
    finally:
        server.close()
    assert (status, content_type) == (200, CONTENT_TYPE)
    assert "rljob_rollout_episodes_total 5.0\n" in text
    assert "process_cpu_seconds_total" in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_only_get_is_answered(method: str) -> None:
    with serving() as server:
        assert ask(server, "/metrics", method)[0] == 501


def test_other_paths_are_not_found() -> None:
    with serving() as server:
        for path in ("/", "/metrics/", "/../etc/passwd", "http://elsewhere/metrics"):
            assert ask(server, path)[0] == 404


def test_garbage_does_not_stop_the_server(capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        for garbage in (b"\x16\x03\x01\x00\xff" * 10, b"GET\r\n\r\n", b"A" * 100_000, b""):
            client = socket.create_connection((HOST, server.port), timeout=120)
            with client, contextlib.suppress(OSError):  # It may be hung up on at any point.
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
        assert ask(server, "/healthz")[0] == 200
    assert capfd.readouterr().err == ""


def test_port_in_use_is_named() -> None:
    with serving() as server, pytest.raises(RunError, match="the port is in use") as caught:
        health.serve(RolloutMetrics().registry, Health(1.0), HOST, server.port)
    assert f"{HOST}:{server.port}" in str(caught.value)


def test_address_of_another_machine_is_named() -> None:
    with pytest.raises(RunError, match=r"cannot serve HTTP on 192\.0\.2\.1:0: "):
        health.serve(RolloutMetrics().registry, Health(1.0), "192.0.2.1", 0)
    assert ours() == []


def test_slow_clients_do_not_block_others() -> None:
    with serving() as server:
        slow = [socket.create_connection((HOST, server.port), timeout=120) for _ in range(8)]
        for client in slow:
            client.sendall(b"GET /met")
        assert ask(server, "/healthz")[0] == 200
        for client in slow:
            client.close()


def test_oldest_of_too_many_clients_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 1000.0)
    monkeypatch.setattr(http_server._Handler, "timeout", 1000.0)
    with serving() as server:
        clients = [
            socket.create_connection((HOST, server.port), timeout=120)
            for _ in range(http_server.CONNECTION_LIMIT + 1)
        ]
        assert is_closed(clients[0])
        assert ask(server, "/healthz")[0] == 200
        for client in clients:
            client.close()


def test_client_that_drips_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the limit on a whole connection is short; the one on a single read stays.
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.3)
    with serving() as server, socket.create_connection((HOST, server.port), timeout=120) as client:

        def gone() -> bool:
            try:
                client.sendall(b"G")
            except ConnectionError:
                return True
            return False

        until(gone)


def test_close_ends_every_thread_even_with_clients_waiting() -> None:
    server = health.serve(RolloutMetrics().registry, Health(1.0), HOST, 0)
    clients = [socket.create_connection((HOST, server.port), timeout=120) for _ in range(5)]
    until(lambda: len(ours()) == 6)
    server.close()
    assert ours() == []
    for client in clients:
        assert is_closed(client)
        client.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, server.port), timeout=120)


def test_port_can_be_taken_again_at_once() -> None:
    with serving() as server:
        ask(server, "/healthz")
        port = server.port
    health.serve(RolloutMetrics().registry, Health(1.0), HOST, port).close()


def test_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = health.serve(RolloutMetrics().registry, Health(1.0), "::1", 0)
    except RunError as error:
        pytest.skip(str(error))
    with socket.create_connection(("::1", server.port), timeout=120) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.0 200"
    server.close()
