"""`/metrics`, `/healthz` and `/readyz` of the operator, served by the event loop that does the work.

A stuck event loop does not answer, which also fails the probe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from rljob.errors import RunError
from rljob.telemetry.metrics import CONTENT_TYPE, render
from rljob_operator.telemetry.metrics import OperatorMetrics

Problems = Callable[[], list[str]]
"""Current problems, one sentence each; empty if healthy."""


class HealthServer:
    """Serves the results of the given functions.

    Args:
        refresh: called before metrics are served.
        unhealthy: why this process should be restarted.
        unready: why this process is not ready yet.
    """

    def __init__(
        self,
        metrics: OperatorMetrics,
        refresh: Callable[[], None],
        unhealthy: Problems,
        unready: Problems,
    ) -> None:
        self._metrics, self._refresh = metrics, refresh
        app = web.Application()
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/healthz", _answering(unhealthy))
        app.router.add_get("/readyz", _answering(unready))
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen, on all addresses if host is empty. Raises RunError if the address cannot be used."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host or None, port).start()
        except OSError as error:
            raise RunError(f"cannot serve on {host}:{port}: {error.strerror or error}") from error
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _serve_metrics(self, _request: web.Request) -> web.Response:
        self._refresh()
        body = render(self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


def _answering(problems: Problems) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        found = problems()
        text = "\n".join(found) or "ok"
        return web.Response(text=f"{text}\n", status=503 if found else 200)

    return answer
