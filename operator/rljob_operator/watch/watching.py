"""Watches by kopf. Its handlers put objects into the cache and the keys of their jobs on the queue.

No handler makes kopf write: no finalizer, no annotation, no status.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterator
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from rljob.kube import names
from rljob.kube.kinds import EVENT, WATCHED, ResourceKind
from rljob_operator.api import login
from rljob_operator.api.client import PAGE
from rljob_operator.config import Config
from rljob_operator.decide.observed import Key
from rljob_operator.watch.cache import Cache

SERVER_SECONDS = 300
CLIENT_SECONDS = 330
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 1.0, 30.0


class Watches:
    """Handles the events of all watches, and records when each watch last had one.

    Args:
        changed: called with the job that changed.
        clock: monotonic seconds.
    """

    def __init__(
        self, cache: Cache, changed: Callable[[Key], None], clock: Callable[[], float]
    ) -> None:
        self._cache, self._changed, self._clock = cache, changed, clock
        self._last = {kind.plural: clock() for kind in WATCHED}

    def silent_seconds(self) -> dict[str, float]:
        """Seconds since the last event of each watch, by the plural of the kind."""
        return {plural: self._clock() - last for plural, last in self._last.items()}

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """Register a handler for every kind."""
        for kind in WATCHED:
            kopf.on.event(
                group=kind.group,
                version=kind.version,
                plural=kind.plural,
                id=kind.plural,
                registry=registry,
            )(self._handler(kind))

    def _handler(self, kind: ResourceKind) -> Any:
        async def handle(event: dict[str, Any], **_: Any) -> None:
            self._take(kind, event["type"], event["object"])

        return handle

    def _take(self, kind: ResourceKind, change: str | None, found: dict[str, Any]) -> None:
        now = self._clock()
        self._last[kind.plural] = now
        gone = change == "DELETED"
        key = self._cache.drop(found, now) if gone else self._cache.put(found, now)
        if key is not None:
            self._changed(key)


class _Retries:
    """Delays of kopf between attempts of one call: increasing, with jitter, unlimited."""

    def __iter__(self) -> Iterator[float]:
        longest = _FIRST_RETRY_SECONDS
        while True:
            yield longest * random.uniform(0.5, 1.0)
            longest = min(_LONGEST_RETRY_SECONDS, 2.0 * longest)


def settings(config: Config) -> kopf.OperatorSettings:
    """Settings of kopf: everything that we do ourselves is disabled."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    made.scanning.disabled = True
    made.watching.server_timeout = SERVER_SECONDS
    made.watching.client_timeout = CLIENT_SECONDS
    made.watching.connect_timeout = 10.0
    made.watching.chunk_size = PAGE
    made.watching.inactivity_timeout = config.silence_seconds
    made.networking.connect_timeout = 10.0
    made.networking.request_timeout = 30.0
    made.networking.error_backoffs = _Retries()
    made.process.ultimate_exiting_timeout = 25.0
    # kopf keeps one task per object for this time after its last event; at the start, for all objects.
    made.queueing.idle_timeout = 0.2
    # No handler needs a finalizer; this name identifies one as ours.
    made.persistence.finalizer = f"{names.GROUP}/operator"
    for kind in WATCHED:
        where = (kind.group, kind.version, kind.plural)
        if kind.selector:
            made.watching.label_selectors[where] = kind.selector
        if kind is EVENT:
            made.watching.field_selectors[where] = kind.fields
    return made


async def start(
    config: Config, watches: Watches, connection: Configuration, stop: asyncio.Event
) -> Collection[asyncio.Task[Any]]:
    """Start kopf's watches, which run until `stop`. Pass the returned tasks to `kopf.run_tasks`."""
    registry = kopf.OperatorRegistry()
    watches.register(registry)

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return await login.for_kopf(connection)

    return await kopf.spawn_tasks(
        registry=registry,
        settings=settings(config),
        standalone=True,
        clusterwide=not config.namespaces,
        namespaces=config.namespaces,
        stop_flag=stop,
    )
