"""`/metrics` and `/healthz` of one role, over plain HTTP.

`/healthz` is true only while the role's own loop calls `Health.beat`; a process that answers but no
longer works is not healthy. The server runs in threads beside that loop and never waits for it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from rljob.errors import RunError
from rljob.metrics import CONTENT_TYPE, render

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

CONNECTION_LIMIT = 32
"""Connections answered at once; beyond it the oldest gives way, so that a probe always gets through."""
CONNECTION_SECONDS = 5.0
"""How long a client may take, however slowly it sends or reads."""
_POLL_SECONDS = 0.2


class Health:
    """Whether a loop makes progress.

    Args:
        timeout_seconds: longest time between two beats of a healthy loop.
        clock: monotonic seconds.
    """

    def __init__(self, timeout_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout_seconds = timeout_seconds
        self.clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Call once per turn of the loop, and only there."""
        self._last = self.clock()

    def silent_seconds(self, now: float) -> float:
        return now - self._last

    def healthy(self, now: float) -> bool:
        return self.silent_seconds(now) <= self.timeout_seconds


class Server:
    """A running server; made by `serve`.

    Attributes:
        port: the port it listens on, also when port 0 was asked for.
    """

    def __init__(self, http: _HTTPServer) -> None:
        self._http = http
        self.port: int = http.server_address[1]
        self._thread = threading.Thread(
            target=http.serve_forever, args=(_POLL_SECONDS,), name="rljob-health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening, drop what is connected, and end every thread. May be called again."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def serve(registry: CollectorRegistry, health: Health, host: str, port: int) -> Server:
    """Serve in background threads until `Server.close`; port 0 takes any free one.

    Raises RunError, naming host and port, when it cannot listen there.
    """
    try:
        return Server(_HTTPServer(host, port, registry, health))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = (
                "the port is in use by another process; choose another one, or 0 for any free one"
            )
        else:
            reason = error.strerror or str(error)
        raise RunError(f"cannot serve metrics on {host}:{port}: {reason}") from error


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        self.registry = registry
        self.health = health
        self._open: dict[socket.socket, tuple[float, threading.Thread]] = {}
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the name service who we are and may wait for seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="rljob-health-client",
            daemon=True,
        )
        with self._lock:
            if len(self._open) >= CONNECTION_LIMIT:
                _hang_up(next(iter(self._open)))
            self._open[request] = (time.monotonic(), thread)
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called between polls: a client that drips bytes never reaches a socket's own timeout."""
        late = time.monotonic() - CONNECTION_SECONDS
        with self._lock:
            for request, (since, _) in self._open.items():
                if since < late:
                    _hang_up(request)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            threads = [thread for _, thread in self._open.values()]
            for request in self._open:
                _hang_up(request)
        for thread in threads:
            thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news; anything else is ours and is printed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _hang_up(request: socket.socket) -> None:
    """End a connection from another thread; the thread that reads it closes it."""
    with contextlib.suppress(OSError):  # It may have ended by itself.
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _HTTPServer
    timeout = CONNECTION_SECONDS
    server_version = "rljob"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE, render(self.server.registry))
        elif path == "/healthz":
            self._answer_health()
        else:
            self._answer(404, "text/plain", b"there are /metrics and /healthz here\n")

    def _answer_health(self) -> None:
        health = self.server.health
        now = health.clock()
        if health.healthy(now):
            self._answer(200, "text/plain", b"ok\n")
        else:
            text = f"no progress for {health.silent_seconds(now):.1f} s\n"
            self._answer(503, "text/plain", text.encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's signature
        """Requests are not logged: probes come every few seconds."""
