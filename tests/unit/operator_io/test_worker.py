"""Workers: what goes wrong with one job is counted, spaced, and keeps no other one waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from rljob.kube.kinds import Manifest
from rljob.kube.settings import OperatorSettings
from rljob_operator.act.reconcile_cache import ReconcileCache
from rljob_operator.act.worker import Workers
from rljob_operator.api.errors import ApiError, NotLeading
from rljob_operator.ask.state_key import StateKey
from rljob_operator.config import Config
from rljob_operator.decide.decision import Decision
from rljob_operator.decide.observed import Key
from rljob_operator.telemetry.metrics import OperatorMetrics
from rljob_operator.watch.cache import Cache
from rljob_operator.watch.queue import WorkQueue
from rljob_operator.watch.work_queue import AsyncWorkQueue
from tests.unit.operator_io.worlds import made

BAD, GOOD = ("ns", "bad"), ("ns", "good")


class Actor:
    """Does what the test says for the job `bad`, and remembers which others it was given."""

    def __init__(self, for_bad: Callable[[], Awaitable[None]]) -> None:
        self.for_bad = for_bad
        self.done: list[str] = []
        self.refused: Manifest | None = None

    async def carry_out(self, job: Manifest, _decision: Decision, memory: ReconcileCache) -> None:
        if job["metadata"]["name"] == "bad":
            await self.for_bad()
        if self.refused is not None:
            memory.refuse(self.refused, "no", 0.0)
        self.done.append(job["metadata"]["name"])


class Poller:
    """Nobody to ask."""

    def __init__(self) -> None:
        self.forgotten: list[Key] = []

    def follow(self, _key: Key, _poll: object) -> None:
        pass

    def newest(self, _key: Key) -> None:
        pass

    def forget(self, key: Key) -> None:
        self.forgotten.append(key)


class Rig:
    """Workers of which everything around them is the test's."""

    def __init__(self, for_bad: Callable[[], Awaitable[None]]) -> None:
        self.time = 0.0
        self.cache = Cache()
        self.feed = AsyncWorkQueue(WorkQueue(lambda: 1.0), lambda: self.time)
        self.actor, self.poller, self.metrics = Actor(for_bad), Poller(), OperatorMetrics()
        stand_ins: Any = (self.actor, self.poller)
        self.workers = Workers(
            self.feed,
            self.cache,
            *stand_ins,
            StateKey(Config()),
            self.metrics,
            OperatorSettings(),
            lambda: self.time,
            lambda: datetime(2026, 1, 1, tzinfo=UTC),
        )
        for name in ("bad", "good"):
            job = made("RLJob", name, spec={}, apiVersion="rljob.dev/v1alpha1")
            job["metadata"] |= {"generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
            self.cache.put(job, 0.0)

    async def look(self, *keys: Key, count: int = 2) -> None:
        """Let workers look at these jobs until nothing moves any more."""
        for key in keys:
            self.feed.add(key)
        task = asyncio.create_task(self.workers.run(count))
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def errors(self, reason: str) -> float:
        value: float = self.metrics.errors[reason]._value.get()
        return value


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ApiError("throttled", "slow down", 429, retry_after=7.0), "throttled"),
        (ApiError("timeout", "no answer"), "timeout"),
        (NotLeading("not ours"), "not_leading"),
        (KeyError("a bug of ours"), "bug"),
    ],
)
def test_an_error_is_counted_and_the_job_is_looked_at_again(error: Exception, reason: str) -> None:
    async def fail() -> None:
        raise error

    async def run() -> None:
        rig = Rig(fail)
        await rig.look(BAD, GOOD)
        assert rig.actor.done == ["good"]
        assert rig.errors(reason) == 1
        assert rig.feed.queue.next_due() == (getattr(error, "retry_after", 0.0) or 0.2)

    asyncio.run(run())


def test_a_job_that_is_stuck_holds_up_no_other_and_is_noticed() -> None:
    async def run() -> None:
        rig = Rig(asyncio.Event().wait)  # type: ignore[arg-type]
        rig.feed.add(BAD)
        task = asyncio.create_task(rig.workers.run(2))
        await asyncio.sleep(0)
        rig.feed.add(GOOD)
        for _ in range(50):
            await asyncio.sleep(0)
        assert rig.actor.done == ["good"]
        rig.time = 500.0
        assert rig.workers.longest_seconds() == 500.0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert rig.workers.longest_seconds() == 0.0

    asyncio.run(run())


def test_a_job_that_is_gone_is_forgotten() -> None:
    async def fine() -> None:
        pass

    async def run() -> None:
        rig = Rig(fine)
        await rig.look(GOOD)
        job = rig.cache.job(GOOD)
        assert job is not None
        rig.cache.drop(job, 0.0)
        await rig.look(GOOD)
        assert rig.poller.forgotten == [GOOD]
        assert rig.actor.done == ["good"]
        assert rig.workers._memories._of == {}

    asyncio.run(run())


def test_what_was_refused_is_told_at_once() -> None:
    async def nothing() -> None:
        pass

    async def run() -> None:
        rig = Rig(nothing)
        rig.actor.refused = made("Deployment", "x")
        await rig.look(GOOD)
        assert rig.actor.done == ["good", "good"]

    asyncio.run(run())
