"""The HTTP server around a `PolicyServer`: waitress, as for the pages of roles."""

from __future__ import annotations

import logging
import threading
from typing import Any

from waitress.server import create_server

from rljob.errors import RunError
from rljob.policies.serving.server import BODY_BYTES, PolicyServer
from rljob.telemetry.listening import listen

# It warns whenever a request waits for a thread.
logging.getLogger("waitress.queue").setLevel(logging.CRITICAL)


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
        RunError: it cannot listen there.
    """

    def __init__(
        self, server: PolicyServer, host: str, port: int, threads: int = 32, every: float = 5.0
    ) -> None:
        try:
            listener = listen(host, port, 128)
        except OSError as error:
            raise RunError(
                f"cannot serve HTTP on {host}:{port}: {error.strerror or error}"
            ) from error
        self.port: int = listener.getsockname()[1]
        self._server, self._every = server, every
        self._ended = threading.Event()
        self._http: Any = create_server(
            server,
            sockets=[listener],
            threads=threads,
            max_request_body_size=BODY_BYTES,
            ident=None,
        )
        self._threads = [
            threading.Thread(target=self._http.run, name="rljob-http", daemon=True),
            threading.Thread(target=self._look, name="rljob-newest", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop listening and end all threads."""
        self._ended.set()
        self._http.trigger.pull_trigger(self._http.close)
        for thread in self._threads:
            thread.join(timeout=10)
        self._http.task_dispatcher.shutdown()
        self._server.close()

    def _look(self) -> None:
        while not self._ended.wait(self._every):
            self._server.refresh()
