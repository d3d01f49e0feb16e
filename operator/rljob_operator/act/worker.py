"""Workers: each takes a job from the queue, calls `reconcile` and executes the decision."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from rljob.kube.kinds import Manifest
from rljob.kube.settings import OperatorSettings
from rljob_operator.act import keys
from rljob_operator.act.executor import Executor
from rljob_operator.act.reconcile_cache import ReconcileCache, ReconcileCaches
from rljob_operator.api.errors import ApiError, NotLeading
from rljob_operator.ask.inspection import inspect
from rljob_operator.ask.polling import Poller
from rljob_operator.ask.state_key import StateKey
from rljob_operator.decide.observed import Key, Observed
from rljob_operator.decide.reconcile import reconcile
from rljob_operator.telemetry.metrics import OperatorMetrics
from rljob_operator.watch.cache import Cache
from rljob_operator.watch.work_queue import AsyncWorkQueue

_log = logging.getLogger(__name__)


class Workers:
    """Reconciles several jobs at once, each job by one worker at a time.

    Args:
        clock: monotonic seconds.
        now: the time of day, with a time zone.
    """

    def __init__(
        self,
        feed: AsyncWorkQueue,
        cache: Cache,
        actor: Executor,
        poller: Poller,
        state_key: StateKey,
        metrics: OperatorMetrics,
        settings: OperatorSettings,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._feed, self._cache, self._actor, self._poller = feed, cache, actor, poller
        self._state_key, self._metrics, self._settings = state_key, metrics, settings
        self._clock, self._now = clock, now
        self._memories = ReconcileCaches()
        self._since: dict[Key, float] = {}

    async def run(self, count: int) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._work())

    def longest_seconds(self) -> float:
        """Duration of the longest reconcile in progress, in seconds."""
        return self._clock() - min(self._since.values(), default=self._clock())

    async def _work(self) -> None:
        while True:
            key = await self._feed.get()
            self._since[key] = self._clock()
            try:
                with self._metrics.reconcile_seconds.time():
                    again_in = await self._look(key)
            except ApiError as error:
                self._fail(key, error.reason, error.retry_after, error)
            except NotLeading as error:
                self._fail(key, "not_leading", 0.0, error)
            except Exception as error:
                # A bug in one reconcile must not stop the others.
                _log.exception("reconciling a job failed", extra=_about(key))
                self._fail(key, "bug", 0.0, error)
            else:
                self._feed.done(key, again_in)
            finally:
                del self._since[key]

    def _fail(self, key: Key, reason: str, at_least: float, error: Exception) -> None:
        self._metrics.errors[reason].inc()
        delay = self._feed.failed(key, at_least)
        extra = {**_about(key), "reason": str(error), "retry_seconds": round(delay, 2)}
        _log.warning("reconciling a job is retried", extra=extra)

    async def _look(self, key: Key) -> float | None:
        """Reconcile one job. Returns the seconds until the next reconcile, if one is due."""
        job = self._cache.job(key)
        if job is None:
            self._memories.forget(key)
            self._poller.forget(key)
            return None
        memory = self._memories.of(key, job["metadata"]["uid"])
        observed = self._observe(key, job, memory)
        decision = reconcile(observed, self._settings, self._now())
        self._poller.follow(key, decision.poll)
        await self._actor.carry_out(job, decision, memory)
        if decision.ask:
            token = self._state_key.token(job["metadata"]["uid"])
            memory.inspection = await inspect(decision.ask, token, self._now())
            return 0.0
        if memory.refused() != observed.refused:
            # Reconcile again to update the status. `may_try` delays the refused manifests.
            return 0.0
        attempt = memory.next_attempt()
        times = [decision.requeue_after]
        times += [] if attempt is None else [max(0.0, attempt - self._clock())]
        return min((time for time in times if time is not None), default=None)

    def _observe(self, key: Key, job: Manifest, memory: ReconcileCache) -> Observed:
        now = self._clock()
        for generation, made in list(memory.keys_made.items()):
            lately = self._cache.warnings(key, now, since=made)
            if any(keys.missed(key[1], generation, warning) for warning in lately):
                del memory.keys_made[generation]
        return Observed(
            job=job,
            children=self._cache.children(key),
            pods=self._cache.pods(key),
            gone=self._cache.gone(key, now),
            warnings=self._cache.warnings(key, now),
            refused=memory.refused(),
            settled=dict(memory.settled),
            polled=self._poller.newest(key),
            inspection=memory.inspection,
            keys_made=frozenset(memory.keys_made),
            status_written=memory.status_written,
        )


def _about(key: Key) -> dict[str, str]:
    return {"namespace": key[0], "job": key[1]}
