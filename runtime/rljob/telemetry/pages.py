"""The pages of a process as a WSGI application, and who may read them."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from wsgiref.types import StartResponse


@dataclass(frozen=True)
class Answer:
    """To a GET.

    Attributes:
        size: bytes of all parts.
        parts: sent one after the other.
        close: called at the end, however it came.
    """

    status: int
    content_type: str
    size: int
    parts: Iterable[bytes]
    close: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, status: int, content_type: str, body: bytes) -> Answer:
        return cls(status, content_type, len(body), (body,))

    @classmethod
    def text(cls, status: int, line: str) -> Answer:
        return cls.of(status, "text/plain", line.encode() + b"\n")

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)


Page = Callable[[], Answer]
"""Makes the answer to each request for one path; called in a thread of the server."""


@dataclass(frozen=True)
class Site:
    """What is served at one address.

    Attributes:
        pages: by path, for whoever can connect.
        guarded: by path, for requests with `Authorization: Bearer TOKEN`.
        token: None or empty refuses every request for a guarded page.
        own_names: whether the header `Host` must name this machine's loopback. A page of another site
            that a browser shows here may resolve to a loopback address (DNS rebinding); its `Host` does not.
    """

    pages: Mapping[str, Page]
    guarded: Mapping[str, Page] = field(default_factory=dict)
    token: str | None = None
    own_names: bool = False

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(answer.size))]
        start(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
        return answer

    def _answer(self, environ: dict[str, Any]) -> Answer:
        if environ["REQUEST_METHOD"] != "GET":
            return Answer.text(405, "only GET is allowed")
        if self.own_names and not is_loopback(_name(environ.get("HTTP_HOST", "localhost"))):
            return Answer.text(403, "the header Host must be localhost or a loopback address")
        path = environ["PATH_INFO"]
        page = self.pages.get(path)
        if page is not None:
            return page()
        page = self.guarded.get(path)
        if page is None:
            return Answer.text(404, f"not found; pages: {', '.join([*self.pages, *self.guarded])}")
        if not _is_bearer(environ.get("HTTP_AUTHORIZATION", ""), self.token):
            return Answer.text(401, "this page needs the header Authorization: Bearer TOKEN")
        return page()


def is_loopback(host: str) -> bool:
    """Whether a name or address is that of this machine's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str:
    """`Host` without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_bearer(header: str, token: str | None) -> bool:
    scheme, _, given = header.partition(" ")
    right = bool(token) and hmac.compare_digest(given.encode(), (token or "").encode())
    return right and scheme.lower() == "bearer"
