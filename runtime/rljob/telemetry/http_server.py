"""A small HTTP server for the pages of a process; it runs in threads and never waits for a client."""

from __future__ import annotations

import contextlib
import errno
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rljob.errors import RunError
from rljob.telemetry.listening import listen

CONNECTION_LIMIT = 32
"""Largest number of connections; a further one closes the oldest, so that probes always succeed."""
CONNECTION_SECONDS = 5.0
"""Seconds that a client may take for its request, and for each part of the answer."""
_POLL_SECONDS = 0.2
_BACKLOG = 128


@dataclass(frozen=True)
class Answer:
    """To a GET.

    Attributes:
        size: bytes of all parts.
        parts: sent one after the other; a client may take `CONNECTION_SECONDS` for each.
        close: called at the end, however it came.
    """

    status: int
    content_type: str
    size: int
    parts: Iterable[bytes]
    close: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, status: int, content_type: str, body: bytes) -> Answer:
        return cls(status, content_type, len(body), (body,))

    @classmethod
    def text(cls, status: int, line: str) -> Answer:
        return cls.of(status, "text/plain", line.encode() + b"\n")


Page = Callable[[], Answer]
"""Makes the answer to each request for one path; called in a thread of the server."""


class HttpServer:
    """A running server; made by `serve_pages`.

    Attributes:
        port: the port it listens on, also when port 0 was asked for.
    """

    def __init__(self, http: _HTTPServer) -> None:
        self._http = http
        self.port: int = http.server_address[1]
        self._thread = threading.Thread(
            target=http.serve_forever, args=(_POLL_SECONDS,), name="rljob-pages", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening, drop what is connected, and end every thread. May be called again."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def serve_pages(pages: Mapping[str, Page], host: str, port: int) -> HttpServer:
    """Serve pages, by path, in background threads until `HttpServer.close`; port 0 takes any free one.

    Raises:
        RunError: naming host and port, when it cannot listen there.
    """
    try:
        return HttpServer(_HTTPServer(host, port, pages))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = (
                "the port is in use by another process; choose another one, or 0 for any free one"
            )
        else:
            reason = error.strerror or str(error)
        raise RunError(f"cannot serve HTTP on {host}:{port}: {reason}") from error


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        self.pages = pages
        self._open: dict[socket.socket, tuple[float, threading.Thread]] = {}
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listen(host, port, _BACKLOG)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="rljob-pages-client",
            daemon=True,
        )
        with self._lock:
            if len(self._open) >= CONNECTION_LIMIT:
                _hang_up(next(iter(self._open)))
            self._open[request] = (time.monotonic(), thread)
        thread.start()

    def wait_for_client(self, request: socket.socket, since: float) -> None:
        """Start of the client's time limit; infinity while it waits for the server."""
        with self._lock:
            if request in self._open:
                self._open[request] = (since, self._open[request][1])

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
        """Ignore client disconnects; print any other error."""
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
        page = self.server.pages.get(path)
        if page is not None:
            self.server.wait_for_client(self.connection, math.inf)
            self._send(page())
            return
        self._send(Answer.text(404, f"not found; pages: {', '.join(self.server.pages)}"))

    def _send(self, answer: Answer) -> None:
        try:
            self.server.wait_for_client(self.connection, time.monotonic())
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(answer.size))
            self.end_headers()
            for part in answer.parts:
                self.wfile.write(part)
                self.server.wait_for_client(self.connection, time.monotonic())
        finally:
            answer.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's signature
        """Requests are not logged: probes come every few seconds."""
