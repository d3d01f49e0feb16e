"""What listens on all addresses is reached over IPv4 and over IPv6."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from rljob.cli.main import main
from rljob.errors import InputError, RunError
from rljob.telemetry.http_server import serve_pages
from rljob.telemetry.listening import EVERY_ADDRESS, listen
from rljob.telemetry.pages import Site
from rljob_operator.telemetry.health import HealthServer
from rljob_operator.telemetry.metrics import OperatorMetrics
from tests.ports import free_port, needs_ipv6

LOOPBACK = ("127.0.0.1", "::1")


def reach(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=60).close()


@needs_ipv6
def test_every_address() -> None:
    with listen(EVERY_ADDRESS, 0, 8) as listener:
        for host in LOOPBACK:
            reach(host, listener.getsockname()[1])


@needs_ipv6
@pytest.mark.parametrize("host", LOOPBACK)
def test_one_address_is_that_address_alone(host: str) -> None:
    with listen(host, 0, 8) as listener:
        port = listener.getsockname()[1]
        reach(host, port)
        (other,) = {*LOOPBACK} - {host}
        with pytest.raises(ConnectionRefusedError):
            reach(other, port)


def test_every_address_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen(EVERY_ADDRESS, 0, 8) as listener:
        assert listener.family == socket.AF_INET
        reach("127.0.0.1", listener.getsockname()[1])


def test_an_address_that_is_in_use() -> None:
    with listen("127.0.0.1", 0, 8) as listener, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", listener.getsockname()[1], 8)


@needs_ipv6
def test_the_operators_own_pages() -> None:
    async def serve() -> None:
        server = HealthServer(OperatorMetrics(), lambda: None, list, list)
        await server.start("", free_port())
        try:
            async with aiohttp.ClientSession() as session:
                for host in ("127.0.0.1", "[::1]"):
                    async with session.get(f"http://{host}:{server.port}/healthz") as answer:
                        assert answer.status == 200
        finally:
            await server.close()

    asyncio.run(serve())


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(InputError, match=f"^{port} is no port; allowed are 0 to 65535$"):
        listen("127.0.0.1", port, 8)


@pytest.mark.parametrize("host", ["a..b", "x" * 300])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(RunError, match="cannot serve HTTP on"):
        serve_pages(Site({}), host, 0)


@pytest.mark.parametrize("given", ["99999", "-1", "http", "1_0", ""])
@pytest.mark.parametrize(
    "command",
    [
        ["serve", "run", "--port"],
        ["serve-checkpoint", "--dir", "run", "--port"],
        ["role", "learner", "--metrics-port"],
        ["role", "learner", "--state-port"],
        ["role", "learner", "--loopback-port"],
    ],
)
def test_commands_name_the_port_that_is_none(
    command: list[str], given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    *arguments, option = command
    with pytest.raises(SystemExit):
        main([*arguments, f"{option}={given}"])
    expected = f"argument {option}: {given!r} is no port; allowed are 0 to 65535"
    assert expected in capsys.readouterr().err
