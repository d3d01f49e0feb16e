"""JSON over HTTP: bodies in, answers and refusals out; waitress, with the limits of the pages of roles."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from waitress.task import ErrorTask

from rljob.errors import InputError
from rljob.telemetry.http_server import HttpChannel, HttpLimits, HttpServer, serve_application

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

CONNECTIONS = 256
"""A further one ends the oldest."""
REQUEST_SECONDS, IDLE_SECONDS = 30.0, 75.0
"""For a client that sends a request or takes an answer, and between two requests."""
BODY_BYTES = 1 << 24
"""Largest request."""


def serve_json(application: WSGIApplication, host: str, port: int, threads: int) -> HttpServer:
    """Serve in background threads until `HttpServer.close`; what is no request of HTTP is answered in JSON, too.

    Args:
        host: address to listen on; `*` is all.
        port: 0 takes any free one.
        threads: requests that are answered at once.

    Raises:
        InputError: no port has this number.
        RunError: it cannot listen there.
    """
    limits = HttpLimits(CONNECTIONS, REQUEST_SECONDS, IDLE_SECONDS, BODY_BYTES, _JsonChannel)
    return serve_application(application, host, port, threads, limits)


def read_object(environ: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that was sent.

    Raises:
        InputError: something else was sent.
    """
    try:
        content = json.loads(environ["wsgi.input"].read())
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError("the body is no JSON object")
    return content


def json_answer(status: int, value: Mapping[str, Any]) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    return status, "application/json", json.dumps(value).encode() + b"\n"


class _JsonRefusal(ErrorTask):
    """Answers what is no request in the form of all other answers."""

    def execute(self) -> None:
        error: Any = getattr(self.request, "error")  # noqa: B009
        body = json.dumps({"error": _sentence(error.code, error.body)}).encode() + b"\n"
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", "application/json")]
        self.set_close_on_finish()
        cast("_JsonChannel", self.channel).refused = True
        self.content_length = len(body)
        self.write(body)


class _JsonChannel(HttpChannel):
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


def _sentence(code: int, told: str) -> str:
    if code == 413:
        return f"the body is larger than {BODY_BYTES:,} bytes"
    return f"this is no request of HTTP that is understood: {told}"
