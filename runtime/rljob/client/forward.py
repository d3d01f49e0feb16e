"""HTTP to a port on the loopback of a pod, through a port-forward of the API server.

The API server asks for the right to `pods/portforward`. The kubelet connects inside of the pod. A forward is a
WebSocket: each message begins with its channel, 0 for the data of the port and 1 for errors of the forward, and
the first message of each channel repeats the port.
"""

from __future__ import annotations

import http.client
import io
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernetes.client import Configuration
    from websocket import WebSocket

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERRORS = b"\0", b"\1"
_PART = 1 << 16


class ForwardFailed(Exception):
    """The forward, or the pod's answer in it, ended too early; with the reason."""


class HandshakeRefused(Exception):
    """The API server refused the forward.

    Attributes:
        code: HTTP status.
        body: of the response.
    """

    def __init__(self, code: int, body: bytes) -> None:
        self.code, self.body = code, body
        super().__init__(f"status {code}")


@contextmanager
def get(websocket: WebSocket, path: str) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Status and body of a GET. Both raise ForwardFailed."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = _Tunnel(websocket)
    try:
        with _told():
            connection.request("GET", path)
            response = connection.getresponse()
        yield response.status, _chunks(response)
    finally:
        connection.close()


def open_websocket(
    configuration: Configuration, url: str, headers: Mapping[str, str], patience: float
) -> WebSocket:
    """A connection to the API server for a forward; `patience` seconds for the handshake and for each message.

    Raises:
        HandshakeRefused: the API server answered otherwise.
        ForwardFailed: it cannot be reached.
    """
    from kubernetes.stream import ws_client
    from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

    # `create_websocket` of the library is the same without a limit of time.
    made = WebSocket(sslopt=_tls(configuration), skip_utf8_validation=True)
    made.settimeout(patience)
    lines = [f"{name}: {value}" for name, value in headers.items() if name == "authorization"]
    options: dict[str, Any] = {"header": lines, "subprotocols": [_PROTOCOL]}
    if configuration.proxy or configuration.proxy_headers:
        ws_client.websocket_proxycare(options, configuration, url, headers)  # type: ignore[no-untyped-call]
    try:
        made.connect(url.replace("http", "ws", 1), **options)  # type: ignore[no-untyped-call]
    except WebSocketBadStatusException as error:
        raise HandshakeRefused(error.status_code, error.resp_body or b"") from error
    except (WebSocketException, OSError) as error:
        raise ForwardFailed(str(error)) from error
    return made


def _tls(configuration: Configuration) -> dict[str, Any]:
    """As for all other requests to the API server."""
    found = {
        "ca_certs": configuration.ssl_ca_cert,
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    options: dict[str, Any] = {name: value for name, value in found.items() if value}
    if not configuration.verify_ssl:
        return {**options, "cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    if configuration.assert_hostname is not None:
        options["check_hostname"] = configuration.assert_hostname
    return options


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    with _told():
        while chunk := response.read(_PART):
            yield chunk
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)


@contextmanager
def _told() -> Iterator[None]:
    from websocket import WebSocketException

    try:
        yield
    except (http.client.HTTPException, WebSocketException, OSError) as error:
        raise ForwardFailed(str(error) or type(error).__name__) from error


class _Tunnel:
    """What http.client asks of a socket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    def sendall(self, data: bytes) -> None:
        self._websocket.send_binary(_DATA + data)

    def makefile(self, _mode: str) -> IO[bytes]:
        return io.BufferedReader(_TunnelReader(self._websocket), _PART)

    def close(self) -> None:
        # At once: nobody waits for the other side's part of the closing handshake.
        self._websocket.shutdown()  # type: ignore[no-untyped-call]


class _TunnelReader(io.RawIOBase):
    """The bytes that the pod's port sends."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._left = b""
        self._begun: set[bytes] = set()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises OSError with what the forward's channel of errors says."""
        while not self._left:
            message = self._receive()
            if message is None:
                return 0
            channel, data = message[:1], message[1:]
            if channel not in self._begun:
                self._begun.add(channel)  # The port.
            elif channel == _ERRORS:
                raise OSError(data.decode("utf-8", "replace").strip())
            elif channel == _DATA:
                self._left = data
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count

    def _receive(self) -> bytes | None:
        """The next message; None at the end."""
        from websocket import ABNF, WebSocketConnectionClosedException

        try:
            opcode, data = self._websocket.recv_data()
        except WebSocketConnectionClosedException:
            return None
        return None if opcode == ABNF.OPCODE_CLOSE else bytes(data)
