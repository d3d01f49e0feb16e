"""Pages of a pod through a port-forward, with a real server of pages at its end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import Configuration

from rljob.client import forward
from rljob.client.access import Choice
from rljob.client.api import ClusterApi, connect
from rljob.client.errors import Forbidden, NotFound, Unavailable
from rljob.client.forward import ForwardFailed, HandshakeRefused
from rljob.telemetry.http_server import serve_pages
from rljob.telemetry.pages import Answer, Site
from tests import portforward

PATIENCE = 60.0
QUERY = "/portforward?ports=9092"


@contextmanager
def kubelet(port: int | None, status: int = 101, authorization: str | None = None) -> Iterator[str]:
    """The URL of a forward to a port on 127.0.0.1, or one that answers the request with another status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path.endswith("/portforward?ports=9092")
            assert self.headers["Authorization"] == authorization
            if status == 101:
                portforward.accept(self, port, 9092)
            else:
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"no")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{QUERY}"
        finally:
            server.shutdown()
            thread.join()


def fetch(url: str, path: str, patience: float = PATIENCE) -> tuple[int, bytes]:
    made = forward.open_websocket(Configuration(), url, {}, patience)
    with forward.get(made, path) as (status, chunks):
        return status, b"".join(chunks)


@contextmanager
def pod(answer: Answer, authorization: str | None = None) -> Iterator[str]:
    server = serve_pages(Site({"/page": lambda: answer}), "127.0.0.1", 0)
    try:
        with kubelet(server.port, authorization=authorization) as url:
            yield url
    finally:
        server.close()


def test_a_long_page_comes_whole() -> None:
    parts = [bytes([number]) * 100_000 for number in range(50)]
    with pod(Answer(200, "x/x", 5_000_000, parts)) as url:
        assert fetch(url, "/page") == (200, b"".join(parts))


def test_a_page_that_is_not_there() -> None:
    with pod(Answer.text(200, "ok")) as url:
        assert fetch(url, "/other") == (404, b"not found; pages: /page\n")


def test_a_page_that_ends_too_early_is_no_page() -> None:
    with pod(Answer(200, "x/x", 1000, [b"abc"])) as url, pytest.raises(ForwardFailed, match="997"):
        fetch(url, "/page")


def test_a_port_that_nobody_listens_on() -> None:
    with kubelet(None) as url, pytest.raises(ForwardFailed, match="connection refused"):
        fetch(url, "/page")


def test_a_pod_that_does_not_answer_is_waited_for_no_longer_than_asked() -> None:
    event = threading.Event()

    def parts() -> Iterator[bytes]:
        event.wait(PATIENCE)
        yield b"x"

    with pod(Answer(200, "x/x", 1, parts())) as url:
        try:
            with pytest.raises(ForwardFailed, match="timed out"):
                fetch(url, "/page", patience=0.2)
        finally:
            event.set()


def test_a_reader_that_stops_in_the_middle_leaves_nothing_behind() -> None:
    before = threading.active_count()
    closed = threading.Event()
    page = Answer(200, "x/x", 500 << 20, iter([bytes(1 << 20)] * 500), closed.set)
    with pod(page) as url:
        made = forward.open_websocket(Configuration(), url, {}, PATIENCE)
        with forward.get(made, "/page") as (_, chunks):
            assert next(iter(chunks))
        assert closed.wait(PATIENCE), "the server was told that nobody reads"
    assert threading.active_count() == before


def test_a_refused_forward_has_the_answer() -> None:
    with kubelet(None, 403) as url, pytest.raises(HandshakeRefused) as caught:
        fetch(url, "/page")
    assert (caught.value.code, caught.value.body) == (403, b"no")


def test_an_api_server_that_is_not_there() -> None:
    with pytest.raises(ForwardFailed, match="refused"):
        fetch("http://127.0.0.1:1/portforward?ports=9092", "/page")


def connected(url: str, folder: Path) -> ClusterApi:
    """An API of which there is nothing but the forward."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": url.removesuffix(QUERY)}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return connect(Choice(path))[0]


def test_a_page_of_a_pod(tmp_path: Path) -> None:
    with pod(Answer.text(200, "ok"), "Bearer secret") as url:
        api = connected(url, tmp_path)
        with api.page("rl", "x-learner", 9092, "/page", PATIENCE) as chunks:
            assert b"".join(chunks) == b"ok\n"
        with (
            pytest.raises(NotFound, match="pod x-learner does not serve /other"),
            api.page("rl", "x-learner", 9092, "/other", PATIENCE),
        ):
            pass


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (101, Unavailable, "pod x-learner does not answer: connect: connection refused"),
        (403, Forbidden, "refused to create pods/portforward x-learner in namespace rl"),
        (404, NotFound, "there is no pods/portforward x-learner"),
        (503, Unavailable, "did not create pods/portforward x-learner"),
    ],
)
def test_why_a_page_cannot_be_had(
    tmp_path: Path, status: int, error: type[Exception], message: str
) -> None:
    with kubelet(None, status, "Bearer secret") as url, pytest.raises(error, match=message):  # noqa: SIM117
        with connected(url, tmp_path).page("rl", "x-learner", 9092, "/page", PATIENCE):
            pass
