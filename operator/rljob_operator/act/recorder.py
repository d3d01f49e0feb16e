"""Events on RLJobs, as `kubectl describe` shows them. What cannot be posted is dropped: nothing waits for it."""

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
"""The same said again within this time counts up the first Event; later, it is a new one."""
LONGEST_MESSAGE = 1024
LONGEST_WAIT_SECONDS = 30.0
RETRY_SECONDS = (1.0, 3.0)
"""Between attempts to post one Event; others wait meanwhile."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EventSeries:
    """What was said, how often, and when."""

    name: str
    count: int
    first: datetime
    last: datetime


class EventRecorder:
    """Posts notices one after the other, in the background.

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
        """Post it soon; never waits and never fails."""
        told = self._count(job, notice)
        try:
            self._waiting.put_nowait(event(job, notice, told))
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
        said = f"{uid}\0{notice.type}\0{notice.reason}\0{notice.message}"
        digest = hashlib.sha256(said.encode()).hexdigest()
        told = self._known.pop(digest, None)
        if told is not None and (now - told.last).total_seconds() <= AGAIN_SECONDS:
            told = replace(told, count=told.count + 1, last=now)
        else:
            stamp = f"{int(now.timestamp()):x}"
            told = EventSeries(f"{job['metadata']['name']}.{digest[:10]}{stamp}", 1, now, now)
        self._known[digest] = told
        while len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)
        return told


def event(job: Manifest, notice: Notice, told: EventSeries) -> Manifest:
    """The Event, for server-side apply: the same name said again only counts up."""
    metadata = job["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": told.name, "namespace": metadata["namespace"]},
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
        "firstTimestamp": _timestamp(told.first),
        "lastTimestamp": _timestamp(told.last),
        "count": told.count,
    }


def _timestamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
