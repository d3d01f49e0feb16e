"""The HTTP servers of a role's process: which page is served where, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rljob.run_folder import token
from rljob.telemetry.http_server import HttpServer, serve_pages
from rljob.telemetry.pages import Page, Site

LOOPBACK = "127.0.0.1"
DOWNLOADS_AT_ONCE = 2


@dataclass(frozen=True)
class RolePages:
    """The pages of a role, by path.

    Attributes:
        open: metrics and health, for everyone who can connect.
        guarded: state and report, for who has the token.
        private: policy, records and job; served on the loopback of a pod only.
    """

    open: Mapping[str, Page]
    guarded: Mapping[str, Page]
    private: Mapping[str, Page]


@dataclass(frozen=True)
class Addresses:
    """Where a role serves its pages.

    Attributes:
        host: address of the open and the guarded pages.
        port: port of the open pages; 0 takes any free one.
        state_port: port of the guarded pages; None for `port`.
        token: file of the token for the guarded pages; None refuses every request for them.
        loopback_port: port on the loopback for all pages, without a token; None serves no private page.
            In a pod, the loopback is reached by the pod's own containers and by a port-forward of the API
            server, which asks for the right to it.
    """

    host: str = LOOPBACK
    port: int = 0
    state_port: int | None = None
    token: Path | None = None
    loopback_port: int | None = None


class Servers:
    """The running servers.

    Attributes:
        port: the port of the open pages.

    Raises:
        InputError: the token cannot be read.
        RunError: an address cannot be listened on.
    """

    def __init__(self, at: Addresses, pages: RolePages) -> None:
        asked = token.read(at.token) if at.token is not None else None
        self._running: list[HttpServer] = []
        try:
            if at.state_port is None:
                self._serve(Site(pages.open, pages.guarded, asked), at.host, at.port)
            else:
                self._serve(Site(pages.open), at.host, at.port)
                self._serve(Site({}, pages.guarded, asked), at.host, at.state_port)
            if at.loopback_port is not None:
                every = {**pages.open, **pages.guarded, **pages.private}
                self._serve(Site(every), LOOPBACK, at.loopback_port, DOWNLOADS_AT_ONCE)
        except BaseException:
            self.close()
            raise
        self.port = self._running[0].port

    def _serve(self, site: Site, host: str, port: int, threads: int = 1) -> None:
        self._running.append(serve_pages(site, host, port, threads))

    def close(self) -> None:
        """End all of them. May be called again."""
        for server in self._running:
            server.close()
