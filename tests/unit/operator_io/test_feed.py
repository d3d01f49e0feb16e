"""Who waits for work is woken by it."""

from __future__ import annotations

import asyncio
import time

from rljob_operator.watch.queue import WorkQueue
from rljob_operator.watch.work_queue import AsyncWorkQueue

A = ("ns", "a")


def feed() -> AsyncWorkQueue:
    return AsyncWorkQueue(WorkQueue(lambda: 1.0), time.monotonic)


def test_waits_until_there_is_something() -> None:
    async def run() -> None:
        f = feed()
        waiting = [asyncio.create_task(f.get()) for _ in range(3)]
        await asyncio.sleep(0)
        f.add(A)
        done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [A]
        assert len(rest) == 2
        for task in rest:
            task.cancel()

    asyncio.run(run())


def test_wakes_by_itself_for_what_is_due() -> None:
    async def run() -> None:
        f = feed()
        f.add(A)
        assert await f.get() == A
        f.done(A, again_in=0.05)
        began = time.monotonic()
        assert await f.get() == A
        assert time.monotonic() - began >= 0.05
        delay = f.failed(A)
        began = time.monotonic()
        assert await f.get() == A
        assert time.monotonic() - began >= delay * 0.9

    asyncio.run(run())


def test_what_came_while_it_was_in_hand_comes_at_once_afterwards() -> None:
    async def run() -> None:
        f = feed()
        f.add(A)
        await f.get()
        other = asyncio.create_task(f.get())
        f.add(A)
        await asyncio.sleep(0.01)
        assert not other.done()
        f.done(A)
        assert await other == A

    asyncio.run(run())
