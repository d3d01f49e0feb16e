"""Events on RLJobs, as `kubectl describe` shows them. Posting never blocks; an Event that fails is dropped."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rljob.kube import names
from rljob.kube.kinds import JOB, Manifest
from rljob_operator.api.client import OperatorApi
from rljob_operator.api.errors import ApiError, NotLeading
from rljob_operator.decide.decision import Notice
from rljob_operator.telemetry.metrics import OperatorMetrics

WAITING_LIMIT = 1000
KNOWN_LIMIT = 1000
AGAIN_SECONDS = 600.0
"""An Event repeated within this time increments the count of the first one; later, it is a new Event."""
LONGEST_MESSAGE = 1024
LONGEST_WAIT_SECONDS = 30.0
RETRY_SECONDS = (1.0, 3.0)
"""Delays between attempts to post one Event; other Events wait meanwhile."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EventSeries:
    """One Event and its repetitions."""

    name: str
    count: int
    first: datetime
    last: datetime


class EventRecorder:
    """Posts Events in the background, one after the other.

    Args:
        now: the time of day, with a time zone.
    """

    def __init__(
        self, api: OperatorApi, metrics: OperatorMetrics, now: Callable[[], datetime]
    ) -> None:
        self._api, self._metrics, self._now = api, metrics, now
        self._waiting: asyncio.Queue[Manifest] = asyncio.Queue(WAITING_LIMIT)
        self._known: OrderedDict[str, EventSeries] = OrderedDict()

    def tell(self, job: Manifest, notice: Notice) -> None:
        """Queue the notice for posting; never waits and never fails."""
        series = self._count(job, notice)
        try:
            self._waiting.put_nowait(event(job, notice, series))
        except asyncio.QueueFull:
            self._metrics.events["dropped"].inc()

    async def run(self) -> None:
        """Never returns."""
        while True:
            manifest = await self._waiting.get()
            try:
                await self._post(manifest)
            except (ApiError, NotLeading) as error:
                self._metrics.events["failed"].inc()
                _log.warning("an Event was not posted", extra={"reason": str(error)})
            else:
                self._metrics.events["posted"].inc()

    async def _post(self, manifest: Manifest) -> None:
        for seconds in RETRY_SECONDS:
            try:
                await self._api.apply(manifest, manifest["metadata"]["namespace"])
            except ApiError as error:
                if error.refused:
                    raise
                await asyncio.sleep(max(seconds, min(error.retry_after, LONGEST_WAIT_SECONDS)))
            else:
                return
        await self._api.apply(manifest, manifest["metadata"]["namespace"])

    def _count(self, job: Manifest, notice: Notice) -> EventSeries:
        now = self._now()
        uid = job["metadata"]["uid"]
        text = f"{uid}\0{notice.type}\0{notice.reason}\0{notice.message}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        series = self._known.pop(digest, None)
        if series is not None and (now - series.last).total_seconds() <= AGAIN_SECONDS:
            series = replace(series, count=series.count + 1, last=now)
        else:
            stamp = f"{int(now.timestamp()):x}"
            series = EventSeries(f"{job['metadata']['name']}.{digest[:10]}{stamp}", 1, now, now)
        self._known[digest] = series
        while len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)
        return series


def event(job: Manifest, notice: Notice, series: EventSeries) -> Manifest:
    """The Event, for server-side apply: applying the same name again updates its count."""
    metadata = job["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": series.name, "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": JOB.api_version,
            "kind": JOB.kind,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": notice.type,
        "reason": notice.reason,
        "message": notice.message[:LONGEST_MESSAGE],
        "source": {"component": names.FIELD_MANAGER},
        "firstTimestamp": _timestamp(series.first),
        "lastTimestamp": _timestamp(series.last),
        "count": series.count,
    }


def _timestamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
