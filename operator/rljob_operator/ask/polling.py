"""Polls running learners for their reports: `GET /status` of each pod, every few seconds."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime

import aiohttp
from pydantic import ValidationError

from rljob.spec.status import LearnerReport
from rljob_operator.decide.decision import Poll
from rljob_operator.decide.observed import Key, Polled
from rljob_operator.telemetry.metrics import OperatorMetrics
from rljob_operator.watch.queue import WorkQueue
from rljob_operator.watch.work_queue import AsyncWorkQueue

TIMEOUT_SECONDS = 2.0
LARGEST_BYTES = 64 * 1024
_log = logging.getLogger(__name__)


class Poller:
    """Keeps the newest report of each followed job.

    Args:
        every_seconds: interval between two polls of one learner.
        changed: called with the job when its report changed.
        token: of the job with a uid.
        clock: monotonic seconds.
        now: the time of day, with a time zone.
    """

    def __init__(
        self,
        every_seconds: float,
        changed: Callable[[Key], None],
        token: Callable[[str], str],
        metrics: OperatorMetrics,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._every = every_seconds
        self._changed, self._token, self._metrics, self._now = changed, token, metrics, now
        self._feed = AsyncWorkQueue(WorkQueue(random.random), clock)
        self._followed: dict[Key, Poll] = {}
        self._newest: dict[Key, Polled] = {}

    def follow(self, key: Key, poll: Poll | None) -> None:
        """Poll this learner from now on and no other of this job; stop polling for None."""
        if poll is None:
            self._followed.pop(key, None)
        elif self._followed.get(key) != poll:
            self._followed[key] = poll
            self._feed.add(key)

    def newest(self, key: Key) -> Polled | None:
        """The newest answer of a learner of this job."""
        return self._newest.get(key)

    def forget(self, key: Key) -> None:
        """Stop following a deleted job."""
        self.follow(key, None)
        self._newest.pop(key, None)

    async def run(self, at_once: int) -> None:
        """Poll up to `at_once` learners concurrently. Never returns."""
        # The interval is too long to keep connections open.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(at_once):
                group.create_task(self._ask_on(session))

    async def _ask_on(self, session: aiohttp.ClientSession) -> None:
        while True:
            key = await self._feed.get()
            poll = self._followed.get(key)
            if poll is not None:
                await self._ask_once(session, key, poll)
            self._feed.done(key, self._every if key in self._followed else None)

    async def _ask_once(self, session: aiohttp.ClientSession, key: Key, poll: Poll) -> None:
        try:
            body = await fetch(session, poll.url, self._token(poll.uid))
            report = LearnerReport.model_validate_json(body)
        except TokenRefused as error:
            self._miss(key, poll, "refused", error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._miss(key, poll, "unreachable", error)
        except (ValueError, ValidationError) as error:
            self._miss(key, poll, "invalid", error)
        else:
            self._metrics.polls["answered"].inc()
            self._take(key, poll, report)

    def _take(self, key: Key, poll: Poll, report: LearnerReport) -> None:
        before = self._newest.get(key)
        self._newest[key] = Polled(report=report, at=self._now(), pod=poll.pod)
        if before is None or before.pod != poll.pod or before.report != report:
            self._changed(key)

    def _miss(self, key: Key, poll: Poll, result: str, error: Exception) -> None:
        self._metrics.polls[result].inc()
        extra = {"namespace": key[0], "job": key[1], "pod": poll.pod, "reason": str(error)}
        _log.debug("a learner did not answer", extra=extra)


class TokenRefused(Exception):
    """The pod has another token: its job was made by an operator with another state key."""


async def fetch(session: aiohttp.ClientSession, url: str, token: str) -> bytes:
    """The body of a pod's page; raises ValueError if it is too long, and TokenRefused."""
    headers = {"Authorization": f"Bearer {token}"}
    async with session.get(url, allow_redirects=False, headers=headers) as response:
        if response.status == 401:
            raise TokenRefused(f"{url} does not take the token of this operator")
        if response.status != 200:
            raise aiohttp.ClientError(f"status {response.status}")
        body = b""
        async for part in response.content.iter_any():
            body += part
            if len(body) > LARGEST_BYTES:
                raise ValueError(f"more than {LARGEST_BYTES} bytes")
    return body
