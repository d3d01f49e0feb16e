"""What a node does for a client: it has the pods' logs, and reaches their ports. Loopback only.

Logs and port-forwards go the whole way, from a kubelet made of a few lines by the real API server. A server before
the API server can be away or busy.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rljob.kube import names
from tests import portforward
from tests.apiserver import ApiServer

Query = Mapping[str, str]
Log = Callable[[Query], Iterator[bytes]]
NODE = "node-1"
MERGE = "application/merge-patch+json"


class Node:
    """A node that runs nothing.

    Attributes:
        logs: of each pod, by name: what its container says when it is asked with this query.
        ports: of each pod, by name, or by the start of one: the port on 127.0.0.1 that is its loopback port.
        kubeconfig: of the server before the API server.
        asked: paths and queries that were asked of the kubelet, in their order.
        on_ask: called for each of them, before it is answered.
        away: whether the server before the API server answers 503 to everything.
        busy: how many requests it will answer with 429, and to come back in a moment.
    """

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self._server, self.namespace = server, namespace
        self.logs: dict[str, Log] = {}
        self.ports: dict[str, int] = {}
        self.asked: list[tuple[str, Query]] = []
        self.on_ask: Callable[[tuple[str, Query]], None] = lambda _: None
        self.away = False
        self.busy = 0
        self.kubeconfig = Path()

    def pod(self, name: str, role: str, job: str = "test", **status: Any) -> None:
        """Make a pod of a job's role with one container, in a state as of `container_status`."""
        labels = {"rljob.dev/job-name": job, "rljob.dev/role": role}
        containers = [{"name": role, "image": "image:1"}]
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": NODE, "containers": containers},
        }
        answer = self._server.call("POST", self._path(), body)
        assert answer.status == 201, answer.body
        self.set(name, role, **status)

    def set(self, name: str, container: str, state: str = "running", restarts: int = 0) -> None:
        """Say of a pod's container that it is `running`, `terminated` or `waiting`."""
        details = {
            "running": {"startedAt": "2026-01-01T00:00:00Z"},
            "terminated": {"exitCode": 1, "reason": "Error", "message": "it fell\nover"},
            "waiting": {"reason": "ImagePullBackOff", "message": "no such image"},
        }
        status = {
            "name": container,
            "image": "image:1",
            "imageID": "image:1",
            "ready": state == "running",
            "restartCount": restarts,
            "containerID": f"test://{name}-{restarts}",
            "state": {state: details[state]},
        }
        body = {"status": {"phase": "Running", "containerStatuses": [status]}}
        answer = self._server.call("PATCH", self._path(name, "status"), body, MERGE)
        assert answer.status == 200, answer.body

    def bind(self, name: str) -> None:
        """Do what a scheduler does for a pod."""
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        body = {"metadata": {"name": name}, "target": target}
        answer = self._server.call("POST", self._path(name, "binding"), body)
        assert answer.status == 201, answer.body

    def delete(self, name: str) -> None:
        body = {"gracePeriodSeconds": 0}
        assert self._server.call("DELETE", self._path(name), body).status == 200

    def finish(self, name: str) -> None:
        """Say of a pod that its time is over."""
        body = {"status": {"phase": "Failed", "reason": "DeadlineExceeded"}}
        assert self._server.call("PATCH", self._path(name, "status"), body, MERGE).status == 200

    def ask(self, path: str, query: Query) -> None:
        self.asked.append((path, query))
        self.on_ask((path, query))

    def pods(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._server.call("GET", self._path()).body["items"]
        return items

    def port(self, pod: str) -> int | None:
        return next((port for name, port in self.ports.items() if pod.startswith(name)), None)

    def _path(self, name: str = "", sub: str = "") -> str:
        parts = ["/api/v1/namespaces", self.namespace, "pods", name, sub]
        return "/".join(part for part in parts if part)


@contextlib.contextmanager
def running(server: ApiServer, namespace: str, folder: Path) -> Iterator[Node]:
    """A node for the pods of a namespace, for as long as the `with` lasts."""
    node = Node(server, namespace)
    kubelet = _listen(_kubelet(node))
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(server.folder / "server.crt", server.folder / "server.key")
    kubelet.socket = own.wrap_socket(kubelet.socket, server_side=True)
    front = _listen(_front(node, server))
    with _serving(kubelet), _serving(front):
        _register(server, kubelet.server_port)
        config = json.loads(server.admin.read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{front.server_port}"}
        node.kubeconfig = folder / "kubeconfig"
        node.kubeconfig.write_text(json.dumps(config))
        yield node


def _register(server: ApiServer, port: int) -> None:
    server.call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    answer = server.call("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status}, MERGE)
    assert answer.status == 200, answer.body


def _listen(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.daemon_threads = True
    return made


@contextlib.contextmanager
def _serving(made: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        made.shutdown()
        made.server_close()
        thread.join(60)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Tests do not read it."""

    def answer(self, status: int, parts: Iterator[bytes], content: str = "text/plain") -> None:
        """In chunks, each sent at once."""
        self.send_response(status)
        self.send_header("Content-Type", content)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            for part in filter(None, parts):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")


def _pump(receive: Callable[[int], bytes], send: Callable[[bytes], object]) -> None:
    with contextlib.suppress(OSError):
        while part := receive(1 << 16):
            send(part)


def _kubelet(node: Node) -> type[_Handler]:
    class Kubelet(_Handler):
        def do_GET(self) -> None:
            """`/containerLogs/NAMESPACE/POD/CONTAINER` and `/portForward/NAMESPACE/POD`."""
            url = urlsplit(self.path)
            _, what, _, pod, *_ = url.path.split("/")
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            node.ask(url.path, query)
            if what == "portForward":
                assert query["port"] == str(names.LOOPBACK_PORT)
                portforward.accept(self, node.port(pod), names.LOOPBACK_PORT)
            else:
                self.answer(200, node.logs[pod](query))

    return Kubelet


def _front(node: Node, server: ApiServer) -> type[_Handler]:
    tls = ssl.create_default_context(cafile=server.folder / "ca.crt")
    tls.load_cert_chain(server.folder / "admin.crt", server.folder / "admin.key")
    url = urlsplit(server.url)
    host, port = url.hostname or "", url.port or 0

    class Front(_Handler):
        def _pass_on(self) -> None:
            if node.busy:
                node.busy -= 1
                self.send_response(429)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif node.away:
                self._unavailable("away")
            elif self.headers["Upgrade"]:
                self._upgrade()
            else:
                self._to(http.client.HTTPSConnection(host, port, context=tls), self.path)

        def _upgrade(self) -> None:
            """Pass on the request as it is, and then every byte of both sides."""
            with tls.wrap_socket(
                socket.create_connection((host, port)), server_hostname=host
            ) as upstream:
                upstream.sendall(f"{self.requestline}\r\n{self.headers}".encode())
                back = threading.Thread(target=_pump, args=(upstream.recv, self.connection.sendall))
                back.start()
                _pump(self.rfile.read1, upstream.sendall)
                with contextlib.suppress(OSError):
                    upstream.shutdown(socket.SHUT_RDWR)
                back.join()
            self.close_connection = True

        def _unavailable(self, message: str) -> None:
            status = {"kind": "Status", "code": 503, "message": message}
            self.answer(503, iter([json.dumps(status).encode()]), "application/json")

        def _to(self, connection: http.client.HTTPConnection, path: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            kept = ("Accept", "Content-Type", "User-Agent")
            headers = {name: self.headers[name] for name in kept if self.headers[name]}
            with contextlib.closing(connection):
                connection.request(self.command, path, self.rfile.read(length), headers)
                answer = connection.getresponse()
                parts = iter(lambda: answer.read1(1 << 16), b"")
                self.answer(answer.status, parts, answer.headers["Content-Type"])

        def do_GET(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def do_PATCH(self) -> None:
            self._pass_on()

        def do_DELETE(self) -> None:
            self._pass_on()

    return Front
