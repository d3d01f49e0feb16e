"""`/metrics` and `/healthz` over real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from rljob.errors import RunError
from rljob.telemetry import health, http_server
from rljob.telemetry.health import Health
from rljob.telemetry.http_server import HttpServer, serve_pages
from rljob.telemetry.metrics import CONTENT_TYPE, RolloutMetrics
from rljob.telemetry.metrics_base import Metrics
from rljob.telemetry.pages import Answer, Site

HOST = "127.0.0.1"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def serve(
    alive: Health | None = None, host: str = HOST, port: int = 0, metrics: Metrics | None = None
) -> HttpServer:
    registry = (metrics or RolloutMetrics()).registry
    return serve_pages(Site(health.open_pages(registry, alive or Health(1000.0))), host, port)


@contextmanager
def serving(alive: Health | None = None) -> Iterator[HttpServer]:
    server = serve(alive)
    try:
        yield server
    finally:
        server.close()


def ask(
    server: HttpServer, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    connection = HTTPConnection(HOST, server.port, timeout=120)
    try:
        connection.request(method, path, headers=dict(headers or {}))
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
    names = ("rljob-http", "waitress-")
    return [thread for thread in threading.enumerate() if thread.name.startswith(names)]


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


def test_an_answer_in_parts() -> None:
    closed = []
    parts = [b"a" * 1000] * 3
    page = Answer(200, "application/x-tar", 3000, iter(parts), lambda: closed.append(True))
    server = serve_pages(Site({"/checkpoint": lambda: page}), HOST, 0)
    try:
        assert ask(server, "/checkpoint") == (200, "application/x-tar", "a" * 3000)
        assert ask(server, "/status")[::2] == (404, "not found; pages: /checkpoint\n")
    finally:
        server.close()
    # Only now: whoever asked has its answer before the page is closed.
    assert closed == [True]


@pytest.mark.parametrize(
    ("token", "header", "status"),
    [
        ("right", "Bearer right", 200),
        ("right", "bearer right", 200),
        ("right", "Bearer wrong", 401),
        ("right", "Bearer right ", 200),  # HTTP has no blanks at the end.
        ("right", "Basic right", 401),
        ("right", "right", 401),
        ("right", "Bearer ", 401),
        ("right", "Bearer r\xefght", 401),
        ("right", None, 401),
        (None, "Bearer ", 401),
        (None, None, 401),
        ("", "Bearer ", 401),
    ],
)
def test_guarded_pages_need_the_token(token: str | None, header: str | None, status: int) -> None:
    page = lambda: Answer.text(200, "ok")  # noqa: E731
    server = serve_pages(Site({"/open": page}, {"/state": page}, token), HOST, 0)
    try:
        headers = {"Authorization": header} if header is not None else {}
        assert ask(server, "/state", headers=headers)[0] == status
        assert ask(server, "/open", headers=headers)[0] == 200
    finally:
        server.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:9", 200),
        ("[::1]:9", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("192.0.2.1", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_a_name_of_another_machine_is_refused_on_loopback(host: str, status: int) -> None:
    """A browser's page may have its name resolve to 127.0.0.1."""
    with serving() as server:
        assert ask(server, "/metrics", headers={"Host": host})[0] == status


def test_names_are_not_checked_on_other_addresses() -> None:
    server = serve(host="0.0.0.0")
    try:
        assert ask(server, "/metrics", headers={"Host": "x-learner.rl.svc"})[0] == 200
    finally:
        server.close()


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

    server = serve_pages(Site({"/slow": page}), HOST, 0)
    try:
        assert ask(server, "/slow") == (200, "text/plain", "ab" * 10)
    finally:
        server.close()


def test_metrics_are_served_with_their_type() -> None:
    made = RolloutMetrics()
    made.episodes.inc(5)
    server = serve(metrics=made)
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
        assert ask(server, "/metrics", method)[0] == 405


def test_other_paths_are_not_found() -> None:
    with serving() as server:
        for path in ("/", "/metrics/", "/../etc/passwd", "/metrics/../state"):
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
        serve(port=server.port)
    assert f"{HOST}:{server.port}" in str(caught.value)


def test_address_of_another_machine_is_named() -> None:
    with pytest.raises(RunError, match=r"cannot serve HTTP on 192\.0\.2\.1:0: "):
        serve(host="192.0.2.1")
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
    with serving() as server:
        clients = [
            socket.create_connection((HOST, server.port), timeout=120)
            for _ in range(http_server.CONNECTION_LIMIT + 1)
        ]
        assert is_closed(clients[0])
        assert ask(server, "/healthz")[0] == 200
        for client in clients:
            client.close()


def memory() -> float:
    """MiB that this process has resident."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_a_flood_of_connections_takes_neither_threads_nor_memory() -> None:
    """Half requests, whole ones that are not read, and many behind another: probes are answered all the time."""
    with serving() as server:
        ask(server, "/metrics")
        threads, before = threading.active_count(), memory()
        clients = []
        for number in range(400):
            client = socket.create_connection((HOST, server.port), timeout=120)
            clients.append(client)
            with contextlib.suppress(OSError):  # It may be hung up on at any point.
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" * (number % 2))
                client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" * (number % 5))
            if number % 50 == 0:
                assert ask(server, "/healthz")[0] == 200
        assert threading.active_count() == threads
        assert memory() - before < 20
        until(lambda: sum(map(is_open, clients)) <= http_server.CONNECTION_LIMIT)
        for client in clients:
            client.close()


def is_open(client: socket.socket) -> bool:
    """Whether the server has not hung up yet; what it sent is skipped."""
    client.setblocking(False)
    try:
        while client.recv(65536):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


def test_clients_that_do_not_read_take_a_bounded_part_of_a_long_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A part is made when the client has taken those before it, but for `ANSWER_BYTES`."""
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 1.0)
    made = []

    def parts() -> Iterator[bytes]:
        for number in range(200):
            made.append(number)
            yield bytes(1 << 20)

    server = serve_pages(
        Site({"/policy": lambda: Answer(200, "x/x", 200 << 20, parts())}), HOST, 0, threads=4
    )
    try:
        clients = [socket.create_connection((HOST, server.port), timeout=120) for _ in range(8)]
        for client in clients:
            client.sendall(b"GET /policy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # One that reads has its answer all the same, when those that do not were hung up on.
        assert len(ask(server, "/policy")[2]) == 200 << 20
        # Each of the others has what its socket holds, and `ANSWER_BYTES`.
        assert 200 < len(made) < 200 + 8 * 20
        for client in clients:
            client.close()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n", 413),
        (b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\naaaa", 413),
    ],
)
def test_requests_are_small(request_: bytes, status: int) -> None:
    with serving() as server, socket.create_connection((HOST, server.port), timeout=120) as client:
        client.sendall(request_)
        assert client.recv(12).split() == [
            b"HTTP/1.0" if status == 431 else b"HTTP/1.1",
            b"%d" % status,
        ]


def test_a_page_that_fails_is_an_error_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def page() -> Answer:
        raise ValueError("secret")

    server = serve_pages(Site({"/page": page}), HOST, 0)
    try:
        status, _, text = ask(server, "/page")
    finally:
        server.close()
    assert status == 500
    assert "secret" not in text
    assert "ValueError: secret" in caplog.text


def test_client_that_drips_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.3)
    with serving() as server, socket.create_connection((HOST, server.port), timeout=120) as client:
        sent = 0

        def gone() -> bool:
            nonlocal sent
            try:
                client.sendall(b"G")
            except ConnectionError:
                return True
            sent += 1
            return False

        until(gone)
        assert sent < http_server.HEADER_BYTES / 2, "it was the time, not the size"


def test_close_ends_every_thread_even_with_clients_waiting() -> None:
    server = serve()
    clients = [socket.create_connection((HOST, server.port), timeout=120) for _ in range(5)]
    until(lambda: len(ours()) == 2)
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
    serve(port=port).close()


def test_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = serve(host="::1")
    except RunError as error:
        pytest.skip(str(error))
    with socket.create_connection(("::1", server.port), timeout=120) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.0 200"
    server.close()
