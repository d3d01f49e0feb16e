"""Compares the cache with lists of the API server, to detect a watch that silently stopped.

A difference may be an event that has not arrived yet; only a difference that lasts `stale_seconds` is a
missed change. It is corrected at once, and the process is unhealthy until it is restarted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from rljob.kube.kinds import AUDITED, Manifest, ResourceKind
from rljob_operator.api.client import OperatorApi
from rljob_operator.api.errors import ApiError
from rljob_operator.config import Config
from rljob_operator.decide.observed import Key
from rljob_operator.telemetry.metrics import OperatorMetrics
from rljob_operator.watch.cache import Cache, Id

FILL_SECONDS = 0.25
ObjectVersions = Mapping[Id, tuple[str, int]]
_log = logging.getLogger(__name__)


def differences(listed: ObjectVersions, known: ObjectVersions) -> dict[Id, tuple[str, int]]:
    """Objects that differ, with the listed uid and version; ("", 0) for a deleted object."""
    missed = {
        id_: version
        for id_, version in listed.items()
        if id_ not in known or known[id_][0] != version[0] or known[id_][1] < version[1]
    }
    return missed | {id_: ("", 0) for id_ in known if id_ not in listed}


class Suspicions:
    """When each difference was first seen. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._since: dict[tuple[Id, tuple[str, int]], float] = {}

    def note(self, found: Mapping[Id, tuple[str, int]], now: float) -> None:
        """Record the differences of an audit; forget all others."""
        self._since = {item: self._since.get(item, now) for item in found.items()}

    def older_than(self, seconds: float, now: float) -> list[Id]:
        """Objects that have differed for at least that time."""
        return [id_ for (id_, _), since in self._since.items() if now - since >= seconds]

    def __bool__(self) -> bool:
        return bool(self._since)


class Audit:
    """Corrects the cache after missed changes, and records them.

    Args:
        changed: called with the job of each corrected object.
        clock: monotonic seconds.

    Attributes:
        filled: set once all objects that existed at the start are in the cache.
        stale: plurals of the kinds whose watch missed a change.
    """

    def __init__(
        self,
        config: Config,
        api: OperatorApi,
        cache: Cache,
        changed: Callable[[Key], None],
        metrics: OperatorMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._namespaces: tuple[str | None, ...] = config.namespaces or (None,)
        self._every, self._stale_seconds = config.audit_seconds, config.stale_seconds
        self._api, self._cache = api, cache
        self._changed, self._metrics, self._clock = changed, metrics, clock
        self._suspicions = {kind: Suspicions() for kind in AUDITED}
        self.filled = asyncio.Event()
        self.stale: set[str] = set()

    async def run(self) -> None:
        """Never returns."""
        await self._fill()
        _log.info("the cache is filled")
        self.filled.set()
        while True:
            seconds = self._every
            if any(self._suspicions.values()):
                seconds = min(seconds, self._stale_seconds)
            await asyncio.sleep(seconds)
            for kind in AUDITED:
                try:
                    await self._audit(kind)
                except ApiError as error:
                    extra = {"resource": kind.plural, "reason": str(error)}
                    _log.warning("an audit failed; it is retried", extra=extra)

    async def _fill(self) -> None:
        """Wait until the watches have reported all objects that exist at the start."""
        for kind in AUDITED:
            listed = await self._listed_at_last(kind)
            while True:
                known = self._cache.versions(kind.kind)
                missing = [id_ for id_ in listed if id_ not in known]
                if not missing:
                    break
                await asyncio.sleep(FILL_SECONDS)
                # An object may have been deleted before the watch started.
                now = await self._listed_at_last(kind)
                listed = {id_: now[id_] for id_ in missing if id_ in now}

    async def _listed_at_last(self, kind: ResourceKind) -> ObjectVersions:
        while True:
            try:
                return await self._listed(kind)
            except ApiError as error:
                extra = {"resource": kind.plural, "reason": str(error)}
                _log.warning("cannot list; retrying", extra=extra)
                await asyncio.sleep(max(1.0, error.retry_after))

    async def _listed(self, kind: ResourceKind) -> ObjectVersions:
        return {
            _id(one): (one["metadata"]["uid"], _version(one))
            for namespace in self._namespaces
            async for one in self._api.list(kind, namespace, metadata_only=True)
        }

    async def _audit(self, kind: ResourceKind) -> None:
        suspicions = self._suspicions[kind]
        listed = await self._listed(kind)
        suspicions.note(differences(listed, self._cache.versions(kind.kind)), self._clock())
        stale = suspicions.older_than(self._stale_seconds, self._clock())
        self._metrics.stale[kind.plural].set(len(stale))
        if stale:
            extra = {"resource": kind.plural, "objects": len(stale), "first": "/".join(stale[0])}
            _log.error("a watch missed changes", extra=extra)
            self.stale.add(kind.plural)
            await self._repair(kind, set(stale))

    async def _repair(self, kind: ResourceKind, stale: set[Id]) -> None:
        found = {
            _id(one): one
            for namespace in self._namespaces
            async for one in self._api.list(kind, namespace)
            if _id(one) in stale
        }
        keys = set()
        for id_ in stale:
            if id_ in found:
                keys.add(self._cache.put(found[id_], self._clock()))
            elif (known := self._cache.get(kind.kind, id_)) is not None:
                keys.add(self._cache.drop(known, self._clock()))
        for key in keys - {None}:
            if key is not None:
                self._changed(key)


def _id(found: Manifest) -> Id:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _version(found: Manifest) -> int:
    return int(found["metadata"]["resourceVersion"])
