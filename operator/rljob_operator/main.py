"""Assembles one operator process, runs it, and stops its parts in the right order."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from rljob.errors import RLJobError
from rljob.kube.kinds import JOB
from rljob.version import __version__
from rljob_operator import config as configuration
from rljob_operator.act.executor import Executor
from rljob_operator.act.lease import AlwaysLeading, Election, LostLease
from rljob_operator.act.recorder import EventRecorder
from rljob_operator.act.worker import Workers
from rljob_operator.api import login
from rljob_operator.api.client import OperatorApi
from rljob_operator.api.errors import ApiError
from rljob_operator.ask.polling import Poller
from rljob_operator.ask.state_key import StateKey
from rljob_operator.config import Config
from rljob_operator.telemetry import logs
from rljob_operator.telemetry.health import HealthServer
from rljob_operator.telemetry.metrics import PHASES, OperatorMetrics
from rljob_operator.watch import watching
from rljob_operator.watch.audit import Audit
from rljob_operator.watch.cache import Cache
from rljob_operator.watch.queue import WorkQueue
from rljob_operator.watch.work_queue import AsyncWorkQueue

STUCK_SECONDS = 600.0
"""Longest possible duration of one reconcile; a longer one is stuck."""
DEFINITION_SECONDS = 5.0
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0, 1 for a failure, 2 for bad input."""
    try:
        config = configuration.parse(sys.argv[1:] if arguments is None else arguments, os.environ)
        logs.configure(config.log_level)
        asyncio.run(_run(config))
    except RLJobError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except LostLease as error:
        _log.error("the operator stops", extra={"reason": str(error)})
        return 1
    except Exception:
        _log.exception("the operator failed")
        return 1
    return 0


async def _run(config: Config) -> None:
    connection = await login.load(config)
    await Operator(config, connection).run()


class Operator:
    """One operator process and all its parts."""

    def __init__(self, config: Config, connection: Configuration) -> None:
        clock, now = time.monotonic, _now
        self._config, self._connection = config, connection
        self._metrics = metrics = OperatorMetrics()
        self._election = (
            Election(config.lease_name, config.lease_namespace, config.identity, clock)
            if config.lease
            else AlwaysLeading()
        )
        self._api = api = OperatorApi(connection, self._election.fence, metrics.count_request)
        self._cache = cache = Cache()
        self._feed = AsyncWorkQueue(WorkQueue(random.random), clock)
        self._watches = watching.Watches(cache, self._feed.add, clock)
        self._audit = Audit(config, api, cache, self._feed.add, metrics, clock)
        self._recorder = EventRecorder(api, metrics, now)
        self._state_key = StateKey(config)
        self._poller = Poller(
            config.settings.poll_seconds, self._feed.add, self._state_key.token, metrics, clock, now
        )
        self._workers = Workers(
            self._feed,
            cache,
            Executor(api, cache, self._recorder.tell, self._state_key, clock, now),
            self._poller,
            self._state_key,
            metrics,
            config.settings,
            clock,
            now,
        )
        self._server = HealthServer(metrics, self._refresh, self._unhealthy, self._unready)
        self._is_defined = False

    async def run(self) -> None:
        """Returns after SIGTERM or SIGINT; raises the error of a part that failed."""
        stop, halt_watches = asyncio.Event(), asyncio.Event()
        _on_signals(stop)
        await self._server.start(self._config.host, self._config.port)
        _log.info("started", extra={"version": __version__, "port": self._server.port})
        acting = [
            asyncio.create_task(part)
            for part in (
                self._audit.run(),
                self._recorder.run(),
                self._poller.run(self._config.polls),
                self._act(),
                self._resync(),
                self._election.run(self._api),
            )
        ]
        watching_ = asyncio.create_task(self._watch(stop, halt_watches))
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait(
            {stopped, watching_, *acting}, return_when=asyncio.FIRST_COMPLETED
        )
        # Stop all writes before another process takes the Lease.
        await _cancel(acting)
        await self._election.release(self._api)
        halt_watches.set()
        await self._server.close()
        await _cancel([stopped] if self._is_defined else [stopped, watching_])
        await asyncio.wait({watching_})
        await self._api.close()
        for task in (done | {watching_}) - {stopped}:
            if not task.cancelled():
                task.result()

    async def _watch(self, stop: asyncio.Event, halt: asyncio.Event) -> None:
        await self._wait_for_definition()
        ours = asyncio.all_tasks()
        tasks = await watching.start(self._config, self._watches, self._connection, halt)
        # kopf has replaced our signal handlers.
        _on_signals(stop)
        self._is_defined = True
        await kopf.run_tasks(tasks, ignored=ours)
        if not halt.is_set():
            raise RuntimeError("kopf stopped unexpectedly")

    async def _wait_for_definition(self) -> None:
        """Wait for the CRD: kopf does not watch a kind that does not exist when it starts."""
        while True:
            try:
                async for _ in self._api.list(JOB, self._namespaces()[0], metadata_only=True):
                    pass
            except ApiError as error:
                extra = {"reason": str(error)}
                _log.warning("cannot list RLJobs; is the CRD installed?", extra=extra)
                await asyncio.sleep(max(DEFINITION_SECONDS, error.retry_after))
            else:
                return

    async def _act(self) -> None:
        await self._audit.filled.wait()
        await self._election.leading.wait()
        await self._state_key.load(self._api)
        await self._workers.run(self._config.workers)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._config.resync_seconds)
            self._cache.sweep(time.monotonic())
            for key in self._cache.job_keys():
                self._feed.add(key)

    def _namespaces(self) -> tuple[str | None, ...]:
        return self._config.namespaces or (None,)

    def _refresh(self) -> None:
        """Update the gauges to the current state."""
        metrics, queue = self._metrics, self._feed.queue
        metrics.leader.set(self._election.leading.is_set())
        metrics.queue_depth.set(queue.depth())
        metrics.queue_oldest.set(queue.oldest_seconds(time.monotonic()))
        jobs = list(self._cache.jobs())
        metrics.job_series.show(jobs if self._election.leading.is_set() else ())
        phases = Counter((job.get("status") or {}).get("phase", "") for _, job in jobs)
        for phase in PHASES:
            metrics.jobs[phase].set(phases[phase])
        for plural, seconds in self._watches.silent_seconds().items():
            metrics.watch_age[plural].set(seconds)

    def _unhealthy(self) -> list[str]:
        problems = [f"the watch of {plural} missed changes" for plural in self._audit.stale]
        seconds = self._workers.longest_seconds()
        if seconds > STUCK_SECONDS:
            problems.append(f"a worker has been busy with one job for {seconds:.0f} s")
        return problems

    def _unready(self) -> list[str]:
        if not self._is_defined:
            return ["cannot list RLJobs"]
        return [] if self._audit.filled.is_set() else ["not all objects are known yet"]


def _on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _now() -> datetime:
    return datetime.now(UTC)
