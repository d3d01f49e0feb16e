"""A Service of a cluster in small: one address that leads to whichever pod stands behind it."""

from __future__ import annotations

import contextlib
import socket
import threading


class Forwarder:
    """Listens on a port of its own and carries bytes to `target`, both ways.

    Args:
        target: host and port; None refuses.
    """

    def __init__(self, target: tuple[str, int] | None, port: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._gone: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def move(self, target: tuple[str, int] | None) -> None:
        """New connections go elsewhere. Those that are open stay so and carry nothing any more: as when
        a machine is lost, nobody hears of it."""
        self._target = target
        self._gone.update(self._open)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._target is None:
                    raise ConnectionRefusedError
                far = socket.create_connection(self._target, timeout=5)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=self._carry, args=(source, sink), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if source not in self._gone:
                    sink.sendall(data)
        if source not in self._gone:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)
