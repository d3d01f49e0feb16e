"""The kubelet's side of a port-forward: a WebSocket of the protocol `v4.channel.k8s.io` for one port."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PART = 1 << 15
_DATA, _ERRORS = b"\0", b"\1"


def accept(handler: BaseHTTPRequestHandler, port: int | None, number: int) -> None:
    """Answer a request for an upgrade and pass on bytes until one side ends.

    Args:
        port: on 127.0.0.1; None refuses the connection, as when nobody listens in the pod.
        number: of the port in the pod, as the client named it.
    """
    key = handler.headers["Sec-WebSocket-Key"].encode()
    digest = hashlib.sha1(key + _MAGIC).digest()
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
    handler.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
    handler.end_headers()
    handler.close_connection = True
    for channel in (_DATA, _ERRORS):
        handler.wfile.write(_frame(channel + struct.pack("<H", number)))
    if port is None:
        handler.wfile.write(_frame(_ERRORS + b"connect: connection refused"))
        handler.wfile.write(b"\x88\x00")
        return
    with socket.create_connection(("127.0.0.1", port)) as pod:
        back = threading.Thread(target=_back, args=(pod, handler.wfile))
        back.start()
        with contextlib.suppress(OSError, EOFError):
            while (message := _message(handler.rfile)) is not None:
                if message[:1] == _DATA:
                    pod.sendall(message[1:])
        with contextlib.suppress(OSError):
            pod.shutdown(socket.SHUT_RDWR)
        back.join()


def _back(pod: socket.socket, client: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        while part := pod.recv(_PART):
            client.write(_frame(_DATA + part))
        client.write(b"\x88\x00")


def _frame(data: bytes) -> bytes:
    size = len(data)
    head = struct.pack("!BB", 0x82, size) if size < 126 else struct.pack("!BBH", 0x82, 126, size)
    return head + data


def _message(client: Any) -> bytes | None:
    """The next message of the client; None at its end."""
    first, second = _exactly(client, 2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", _exactly(client, 2))
    mask = _exactly(client, 4)
    data = _exactly(client, size)
    if first & 0x0F == 8:
        return None
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def _exactly(client: Any, size: int) -> bytes:
    data: bytes = client.read(size)
    if len(data) < size:
        raise EOFError
    return data
