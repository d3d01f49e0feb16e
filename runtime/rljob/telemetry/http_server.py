"""Serves the pages of a process, or an application of WSGI, with waitress, whatever the clients do: the limits are below."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from rljob.errors import RunError
from rljob.telemetry.listening import listen
from rljob.telemetry.pages import Site, is_loopback

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from waitress.task import Task

CONNECTION_LIMIT = 32
"""Largest number of connections; a further one ends the oldest, so that probes always succeed."""
CONNECTION_SECONDS = 5.0
"""Seconds that a client may take for its request, and for each part of the answer."""
HEADER_BYTES = 8192
"""Largest request to a page; none has a body."""
ANSWER_BYTES = 1 << 20
"""Bytes of an answer that are kept for a client that does not read; further parts wait."""
_TURN_SECONDS, _PAUSE_SECONDS = 1.0, 0.1
_BACKLOG = 128

# It warns whenever a request waits for a thread.
logging.getLogger("waitress.queue").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class HttpLimits:
    """What clients may take.

    Attributes:
        connections: the largest number; a further one ends the oldest.
        seconds: for a request, and for each part of the answer.
        idle: seconds that a connection stays open behind an answer.
        body: bytes of a request's body.
        channel: of connections; its class answers requests that the server itself refuses.
    """

    connections: int
    seconds: float
    idle: float
    body: int
    channel: type[HttpChannel]


class HttpServer:
    """A running server; made by `serve_pages` or `serve_application`.

    Attributes:
        port: the port it listens on, also when port 0 was asked for.
    """

    def __init__(self, server: _Server, port: int) -> None:
        self.port = port
        self._server = server
        self._closed = False
        self._thread = threading.Thread(target=server.run, name="rljob-http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, drop what is connected, and end every thread. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._server.stop()
        self._thread.join()
        # Not before: what wakes it is a file descriptor, whose number another file may get.
        self._server.close()


def serve_pages(site: Site, host: str, port: int, threads: int = 1) -> HttpServer:
    """Serve a site in background threads until `HttpServer.close`.

    On a loopback address the header `Host` is checked, see `Site.own_names`.

    Args:
        port: 0 takes any free one.
        threads: requests that are answered at once.

    Raises:
        RunError: naming host and port, when it cannot listen there.
    """
    site = replace(site, own_names=is_loopback(host))
    # Of waitress, 1 is the least body.
    limits = HttpLimits(CONNECTION_LIMIT, CONNECTION_SECONDS, CONNECTION_SECONDS, 1, HttpChannel)
    return serve_application(site, host, port, threads, limits)


def serve_application(
    application: WSGIApplication, host: str, port: int, threads: int, limits: HttpLimits
) -> HttpServer:
    """As `serve_pages`, for any application.

    Raises:
        RunError: as `serve_pages`.
    """
    try:
        listener = listen(host, port, _BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = (
                "the port is in use by another process; choose another one, or 0 for any free one"
            )
        else:
            reason = error.strerror or str(error)
        raise RunError(f"cannot serve HTTP on {host}:{port}: {reason}") from error
    server = _Server(application, listener, threads, limits)
    return HttpServer(server, listener.getsockname()[1])


class HttpChannel(HTTPChannel):
    """A connection.

    Attributes:
        since: start of its client's present time limit, monotonic seconds.
        asked: whether its client has begun a request.
    """

    server: _Server

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.since, self.asked = time.monotonic(), False
        super().__init__(*arguments, **options)

    def late(self, now: float) -> bool:
        """Whether the client has kept us waiting. While a page is being made, the client waits."""
        limits, answers = self.server.limits, self.total_outbufs_len > 0
        idle = not answers and self.request is None and self.asked
        waits_for_client = not self.requests or answers
        return waits_for_client and now - self.since > (limits.idle if idle else limits.seconds)

    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.since, self.asked = time.monotonic(), True
        found: bool = super().received(data)
        return found

    def write_soon(self, data: bytes) -> int:
        self.since = time.monotonic()
        return super().write_soon(data)

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent = super().send(data, do_close)
        if sent:
            self.since = time.monotonic()
        return sent

    def handle_close(self) -> None:
        super().handle_close()
        # Its request is not answered any more, so that no more requests wait than clients.
        tasks = self.server.task_dispatcher
        with tasks.lock, contextlib.suppress(ValueError):
            tasks.queue.remove(cast("Task", self))


class _Server(TcpWSGIServer):
    """waitress, but for what it leaves open: at its limit of connections it accepts no probe, a client that drips
    bytes is never late, and time is the wall clock's. `_end_late` and `_end_oldest` decide instead."""

    def __init__(
        self,
        application: WSGIApplication,
        listener: socket.socket,
        threads: int,
        limits: HttpLimits,
    ) -> None:
        self.limits, self.channel_class = limits, limits.channel
        self._every: dict[int, Any] = {}
        self._stopping = False
        adjustments = Adjustments(
            listen="127.0.0.1:0",  # Not used: it listens already.
            threads=threads,
            backlog=_BACKLOG,
            connection_limit=1 << 31,
            channel_timeout=1 << 31,
            max_request_header_size=HEADER_BYTES,
            max_request_body_size=limits.body,
            outbuf_high_watermark=ANSWER_BYTES,
            outbuf_overflow=1 << 62,  # No files: the high watermark bounds it.
            log_socket_errors=False,
            ident=None,
        )
        info = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(
            application,
            self._every,
            _sock=listener,
            adj=adjustments,
            sockinfo=info,
            bind_socket=False,
        )

    def run(self) -> None:
        """Serve until `stop`, then end all connections and threads; the caller closes what listens."""
        while not self._stopping:
            self._end_late()
            self._end_oldest()
            wasyncore.loop(_TURN_SECONDS, use_poll=True, map=self._every, count=1)
        for channel in self._channels():
            channel.handle_close()
        self.task_dispatcher.shutdown()

    def stop(self) -> None:
        self._stopping = True
        self.pull_trigger()

    def accept(self) -> Any:
        try:
            return super().accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # Whoever waits stays there: without a pause this would turn without end.
                time.sleep(_PAUSE_SECONDS)
            raise

    def _channels(self) -> list[HttpChannel]:
        """Connections, oldest first."""
        return [each for each in self._every.values() if isinstance(each, HttpChannel)]

    def _end_late(self) -> None:
        now = time.monotonic()
        for channel in self._channels():
            if channel.late(now):
                channel.handle_close()

    def _end_oldest(self) -> None:
        """Called after each turn, in which one connection is accepted."""
        channels = self._channels()
        for channel in channels[: max(0, len(channels) - self.limits.connections)]:
            channel.handle_close()
