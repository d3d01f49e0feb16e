"""Stands between an operator and the API server, counts what it sees, and makes things go wrong on demand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True)
class Request:
    """One request as it came in, at `at` in monotonic seconds.

    `write` says that it changes something a job is made of; a dry run does not.
    """

    method: str
    path: str
    watch: bool
    at: float
    dry_run: bool = False

    @property
    def write(self) -> bool:
        made_of = "/leases" not in self.path and "/events" not in self.path
        return self.method in WRITES and made_of and not self.dry_run


@dataclass(frozen=True)
class Fault:
    """What happens to a request instead of being passed on and answered.

    Attributes:
        status: answer with this HTTP status, and do not pass it on.
        headers: of that answer.
        pass_on: let the API server carry it out, and cut the connection instead of answering.
        then: called before the connection is cut.
        hold: neither pass it on nor answer; whoever asks has to lose patience.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pass_on: bool = False
    then: Callable[[], None] = lambda: None
    hold: bool = False


Judge = Callable[[Request], Fault | None]


class Proxy:
    """A running proxy.

    Attributes:
        url: where it listens, plain HTTP.
        judge: says what goes wrong with each request; set it at any time.
        silent: says of which watches nothing comes through any more; they stay connected.
        seen: every request so far.
    """

    def __init__(self, upstream: str, authority: Path) -> None:
        self._upstream = upstream
        self._tls = ssl.create_default_context(cafile=authority)
        self._lock = threading.Lock()
        self.judge: Judge = lambda _: None
        self.silent: Callable[[Request], bool] = lambda _: False
        self.seen: list[Request] = []
        self.url = ""
        self._open: set[asyncio.Transport] = set()

    def writes(self) -> list[Request]:
        """Those that change something a job is made of."""
        with self._lock:
            return [request for request in self.seen if request.write]

    def hang_up(self) -> None:
        """Cut every connection that is open."""
        self.run_soon(lambda: [transport.abort() for transport in list(self._open)])

    def run_soon(self, what: Callable[[], object]) -> None:
        """Run it in the proxy's thread."""
        self._loop.call_soon_threadsafe(what)

    def kubeconfig(self, given: Path, made: Path) -> Path:
        """The same credentials (a token), by way of this proxy."""
        config: dict[str, Any] = json.loads(given.read_text())
        config["clusters"][0]["cluster"] = {"server": self.url}
        made.write_text(json.dumps(config))
        return made

    async def serve(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Serve until `stop`."""
        self._loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            app = web.Application(client_max_size=16 * 1024 * 1024)
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready()
            await stop.wait()
            await runner.cleanup()

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        watch = "watch" in incoming.query
        dry_run = "dryRun" in incoming.query
        request = Request(incoming.method, incoming.path, watch, time.monotonic(), dry_run)
        with self._lock:
            self.seen.append(request)
            fault = self.judge(request)
        if fault is not None and fault.status:
            body = {"kind": "Status", "code": fault.status, "message": "made up by a test"}
            return web.json_response(body, status=fault.status, headers=fault.headers)
        if fault is not None and fault.hold:
            await asyncio.Event().wait()
        if fault is not None and not fault.pass_on:
            return _cut(incoming, fault)
        headers = {
            name: value
            for name, value in incoming.headers.items()
            if name.lower() not in ("host", "accept-encoding", "connection", "content-length")
        }
        headers["Accept-Encoding"] = "identity"
        async with self._session.request(
            incoming.method,
            self._upstream + incoming.path_qs,
            headers=headers,
            data=await incoming.read() or None,
        ) as answer:
            if fault is not None:
                await answer.read()
                return _cut(incoming, fault)
            return await self._pass_back(request, incoming, answer)

    async def _pass_back(
        self, request: Request, incoming: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        headers = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
        if "Retry-After" in answer.headers:
            headers["Retry-After"] = answer.headers["Retry-After"]
        back = web.StreamResponse(status=answer.status, headers=headers)
        transport = incoming.transport
        assert isinstance(transport, asyncio.Transport)
        self._open.add(transport)
        try:
            await back.prepare(incoming)
            async for part in answer.content.iter_any():
                if request.watch and self.silent(request):
                    await asyncio.Event().wait()
                await back.write(part)
            await back.write_eof()
        except ConnectionResetError:
            # The operator is gone, or was hung up on.
            pass
        finally:
            self._open.discard(transport)
        return back


def _cut(incoming: web.Request, fault: Fault) -> web.Response:
    fault.then()
    if incoming.transport is not None:
        incoming.transport.abort()
    return web.Response()


@contextlib.contextmanager
def proxied(upstream: str, authority: Path) -> Iterator[Proxy]:
    """A proxy in a thread of its own, for as long as the `with` lasts."""
    proxy = Proxy(upstream, authority)
    stop, ready = asyncio.Event(), threading.Event()
    thread = threading.Thread(
        # Ends what still runs, too: watches that nobody listens to.
        target=lambda: asyncio.run(proxy.serve(stop, ready.set)),
        name="proxy",
        daemon=True,
    )
    thread.start()
    assert ready.wait(60), "the proxy did not start"
    try:
        yield proxy
    finally:
        proxy.run_soon(stop.set)
        thread.join(60)
