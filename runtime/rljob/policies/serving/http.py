"""The HTTP server around a `PolicyServer`: waitress, with the limits of the pages of roles."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any, cast

from waitress.task import ErrorTask

from rljob.policies.serving.server import BODY_BYTES, PolicyServer
from rljob.telemetry.http_server import HttpChannel, HttpLimits, serve_application

CONNECTIONS = 256
"""A further one ends the oldest."""
REQUEST_SECONDS, IDLE_SECONDS = 30.0, 75.0
"""For a client that sends a request or takes an answer, and between two requests."""


class _JsonRefusal(ErrorTask):
    """Answers what is no request in the form of all other answers."""

    def execute(self) -> None:
        error: Any = getattr(self.request, "error")  # noqa: B009
        body = json.dumps({"error": _sentence(error.code, error.body)}).encode() + b"\n"
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", "application/json")]
        self.set_close_on_finish()
        cast("_PolicyChannel", self.channel).refused = True
        self.content_length = len(body)
        self.write(body)


class _PolicyChannel(HttpChannel):
    """Reads on behind a refusal, for a client that sends all of a large body before it looks at the answer: a connection
    that is closed while bytes are unread is reset, and the answer lost."""

    error_task_class = _JsonRefusal
    refused = lingers = False

    def handle_close(self) -> None:
        if not (self.refused and self.will_close):
            super().handle_close()
            return
        self.refused = self.will_close = False
        self.lingers, self.since = True, time.monotonic()
        with contextlib.suppress(OSError):
            cast("socket.socket", self.socket).shutdown(socket.SHUT_WR)

    def readable(self) -> bool:
        return self.lingers or super().readable()

    def received(self, data: bytes) -> bool:
        return not self.lingers and super().received(data)


class PolicyHttp:
    """Serves in background threads until `close`.

    Args:
        host: address to listen on; `*` is all.
        port: 0 takes any free one.
        threads: requests that are answered at once, and so the largest number of them in a batch.
        every: seconds between two looks for a newer policy.

    Attributes:
        port: the port it listens on.

    Raises:
        InputError: no port has this number.
        RunError: it cannot listen there.
    """

    def __init__(
        self, server: PolicyServer, host: str, port: int, threads: int = 32, every: float = 5.0
    ) -> None:
        limits = HttpLimits(CONNECTIONS, REQUEST_SECONDS, IDLE_SECONDS, BODY_BYTES, _PolicyChannel)
        self._http = serve_application(server, host, port, threads, limits)
        self.port = self._http.port
        self._server, self._every = server, every
        self._ended = threading.Event()
        self._newest = threading.Thread(target=self._look, name="rljob-newest", daemon=True)
        self._newest.start()

    def close(self) -> None:
        """Stop listening and end all threads."""
        self._ended.set()
        self._http.close()
        self._server.close()
        self._newest.join(timeout=10)

    def _look(self) -> None:
        while not self._ended.wait(self._every):
            self._server.refresh()


def _sentence(code: int, told: str) -> str:
    if code == 413:
        return f"the body is larger than {BODY_BYTES:,} bytes"
    return f"this is no request of HTTP that is understood: {told}"
