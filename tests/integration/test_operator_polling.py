"""Learners are asked over real HTTP: slow, wrong and hostile ones too."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from rljob_operator.ask.inspection import inspect
from rljob_operator.ask.polling import LARGEST_BYTES, Poller
from rljob_operator.decide.decision import Poll, Question
from rljob_operator.decide.observed import Key
from rljob_operator.telemetry.metrics import OperatorMetrics

KEY = ("ns", "x")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Asked:
    """A poller at work, and what it told."""

    def __init__(self) -> None:
        self.changes: list[Key] = []
        self.metrics = OperatorMetrics()
        self.poller = Poller(
            0.02,
            self.changes.append,
            "token of {}".format,
            self.metrics,
            time.monotonic,
            lambda: datetime.now(UTC),
        )

    def count(self, result: str) -> float:
        value: float = self.metrics.polls[result]._value.get()
        return value

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not condition():  # noqa: ASYNC110 - counters tell nobody that they changed
                await asyncio.sleep(0.005)


@asynccontextmanager
async def learner(answer: Answer) -> AsyncIterator[str]:
    """A server that answers so; its URL."""
    app = web.Application()
    app.router.add_get("/status", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/status"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Asked]:
    asked = Asked()
    task = asyncio.create_task(asked.poller.run(2))
    asked.poller.follow(KEY, Poll("pod", url, "0-1-2"))
    try:
        yield asked
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_report_is_kept_and_only_another_one_is_news() -> None:
    steps = 1

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"progress": {"steps": steps}, "ofANewerVersion": 1})

    async def run() -> None:
        nonlocal steps
        async with learner(answer) as url, asking(url) as asked:
            await asked.until(lambda: asked.count("answered") >= 5)
            assert asked.changes == [KEY]
            first = asked.poller.newest(KEY)
            assert first is not None
            assert first.report.progress.steps == 1
            assert first.pod == "pod"
            steps = 2
            await asked.until(lambda: len(asked.changes) == 2)
            asked.poller.follow(KEY, None)
            await asyncio.sleep(0.1)
            before = asked.count("answered")
            await asyncio.sleep(0.1)
            assert asked.count("answered") == before
            # What a learner said last outlives it.
            assert asked.poller.newest(KEY) is not None
            asked.poller.forget(KEY)
            assert asked.poller.newest(KEY) is None

    asyncio.run(run())


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(LARGEST_BYTES // 1024 + 10):
        await response.write(b" " * 1024)
    await response.write_eof()
    return response


async def _elsewhere(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(f"{request.url}?again")


async def _no_json(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>")


async def _no_report(_: web.Request) -> web.StreamResponse:
    return web.Response(text=json.dumps({"progress": {"steps": "many"}}))


async def _broken(_: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


async def _guarded(request: web.Request) -> web.StreamResponse:
    assert request.headers["Authorization"] == "Bearer token of 0-1-2"
    return web.Response(status=401)


async def _never(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (_endless, "invalid"),
        (_no_json, "invalid"),
        (_no_report, "invalid"),
        (_elsewhere, "unreachable"),
        (_broken, "unreachable"),
        (_never, "unreachable"),
        (_guarded, "refused"),
    ],
)
def test_what_is_no_report_is_counted_and_changes_nothing(answer: Answer, result: str) -> None:
    async def run() -> None:
        async with learner(answer) as url, asking(url) as asked:
            await asked.until(lambda: asked.count(result) >= 1)
            assert asked.poller.newest(KEY) is None
            assert asked.changes == []

    asyncio.run(run())


def test_states_of_pods_that_refuse_the_token_are_unknown_not_missing() -> None:
    async def state(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != "Bearer right":
            return web.Response(status=401)
        return web.json_response({"role": "rollout", "name": "x-rollout-a"})

    async def run() -> None:
        async with learner(state) as url:
            nobody = Question("buffer", "x-buffer-0", "http://127.0.0.1:1/state")
            questions = [Question("rollout", "x-rollout-a", url), nobody]
            found = await inspect(questions, "right", NOW)
            assert [one.state is not None for one in found.asked] == [True, False]
            assert not found.refused
            found = await inspect(questions, "wrong", NOW)
            assert [one.name for one in found.asked] == ["x-buffer-0"]
            assert found.refused

    asyncio.run(run())


def test_a_pod_that_is_not_there_is_asked_again() -> None:
    async def run() -> None:
        async with asking("http://127.0.0.1:1/status") as asked:
            await asked.until(lambda: asked.count("unreachable") >= 3)

    asyncio.run(run())
