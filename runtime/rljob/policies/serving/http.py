"""The HTTP server around a `PolicyServer`: waitress, with the limits of the pages of roles."""

from __future__ import annotations

import threading

from rljob.policies.serving.server import PolicyServer
from rljob.telemetry.json_http import serve_json


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
        self._http = serve_json(server, host, port, threads)
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
