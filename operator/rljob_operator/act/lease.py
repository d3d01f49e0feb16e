"""Leader election: the operator that holds the Lease and renews it in time acts.

Changes of the Lease are timed by our own clock: the clocks of two machines need not agree. A holder that
cannot renew stops writing `STOP_SECONDS` after its last renewal and ends. Another process may take over
`LEASE_SECONDS` after the last renewal that it saw.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from rljob.kube.kinds import LEASE, Manifest
from rljob_operator.api.client import OperatorApi
from rljob_operator.api.errors import ApiError, NotLeading

LEASE_SECONDS = 15
STOP_SECONDS = 10.0
RETRY_SECONDS = 2.0
_log = logging.getLogger(__name__)


class LostLease(Exception):
    """The Lease was not renewed in time; this process must end."""


@dataclass(frozen=True)
class LeaseObservation:
    """The last change of the Lease that we saw; `at` is in our own monotonic seconds."""

    holder: str
    version: str
    at: float
    seconds: float


def look(lease: Manifest, before: LeaseObservation | None, now: float) -> LeaseObservation:
    """Update `LeaseObservation` after reading the Lease."""
    version = str(lease["metadata"]["resourceVersion"])
    if before is not None and before.version == version:
        return before
    spec: dict[str, Any] = lease.get("spec") or {}
    seconds = float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
    return LeaseObservation(spec.get("holderIdentity") or "", version, now, seconds)


def turn(seen: LeaseObservation, identity: str, now: float) -> Literal["renew", "take", "wait"]:
    """The next action."""
    if seen.holder == identity:
        return "renew"
    return "take" if not seen.holder or now >= seen.at + seen.seconds else "wait"


class Election:
    """Holds the Lease, or waits for it.

    Args:
        name, namespace: of the Lease.
        identity: unique name of this process.
        clock: monotonic seconds.
    """

    def __init__(
        self, name: str, namespace: str, identity: str, clock: Callable[[], float]
    ) -> None:
        self._name, self._namespace, self._identity = name, namespace, identity
        self._clock = clock
        self._renewed: float | None = None
        self._seen: LeaseObservation | None = None
        self.leading = asyncio.Event()

    def fence(self) -> float:
        """Seconds for which writing is safe; raises NotLeading if there are none."""
        left = self._left()
        if left <= 0:
            raise NotLeading(f"{self._identity} does not hold the Lease {self._name}")
        # A write that starts in time ends before another process may write.
        return left + LEASE_SECONDS - STOP_SECONDS

    async def run(self, api: OperatorApi) -> None:
        """Never returns; raises LostLease when the Lease is lost."""
        while True:
            began = self._clock()
            try:
                async with asyncio.timeout(STOP_SECONDS / 2):
                    await self._once(api, began)
            except (ApiError, TimeoutError) as error:
                _log.warning("cannot renew the Lease", extra={"reason": str(error)})
            if self._renewed is not None and self._left() <= 0:
                raise LostLease(f"the Lease {self._name} was not renewed for {STOP_SECONDS:g} s")
            await asyncio.sleep(RETRY_SECONDS)

    async def release(self, api: OperatorApi) -> None:
        """Release the Lease so that another process can take over at once. Call it after the last write."""
        if self._renewed is None:
            return
        self._renewed = None
        self.leading.clear()
        try:
            found = await api.call("get", LEASE, "GET", self._path(), seconds=2.0)
            if (found.get("spec") or {}).get("holderIdentity") == self._identity:
                await self._replace(api, found, holder="")
        except ApiError as error:
            _log.warning("the Lease was not released", extra={"reason": str(error)})

    def _left(self) -> float:
        renewed = self._renewed
        return 0.0 if renewed is None else renewed + STOP_SECONDS - self._clock()

    async def _once(self, api: OperatorApi, began: float) -> None:
        try:
            found = await api.call("get", LEASE, "GET", self._path(), seconds=STOP_SECONDS / 2)
        except ApiError as error:
            if error.reason != "not_found":
                raise
            await self._create(api)
        else:
            self._seen = look(found, self._seen, self._clock())
            action = turn(self._seen, self._identity, self._clock())
            if action == "wait":
                if self._renewed is not None:
                    raise LostLease(f"{self._seen.holder} holds the Lease {self._name}")
                return
            await self._replace(api, found, holder=self._identity)
        self._renewed = began
        if not self.leading.is_set():
            _log.info("this process leads", extra={"identity": self._identity})
            self.leading.set()

    async def _create(self, api: OperatorApi) -> None:
        lease = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name},
            "spec": self._spec(self._identity, None),
        }
        await api.call("create", LEASE, "POST", LEASE.path(self._namespace), body=lease)

    async def _replace(self, api: OperatorApi, found: Manifest, holder: str) -> None:
        # The resourceVersion makes this fail if another process updated the Lease first.
        lease = {**found, "spec": self._spec(holder, found.get("spec") or {})}
        await api.call("update", LEASE, "PUT", self._path(), body=lease, seconds=STOP_SECONDS / 2)

    def _spec(self, holder: str, before: dict[str, Any] | None) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        changes = (before or {}).get("leaseTransitions", 0)
        acquired = (before or {}).get("acquireTime", now)
        if before is not None and before.get("holderIdentity") != holder and holder:
            changes, acquired = changes + 1, now
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": LEASE_SECONDS if holder else 1,
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": changes,
        }

    def _path(self) -> str:
        return LEASE.path(self._namespace, self._name)


class AlwaysLeading:
    """Replaces Election if there is only one operator."""

    def __init__(self) -> None:
        self.leading = asyncio.Event()
        self.leading.set()

    def fence(self) -> float:
        """Writing is always allowed."""
        return float("inf")

    async def run(self, _api: OperatorApi) -> None:
        """Never returns."""
        await asyncio.Event().wait()

    async def release(self, _api: OperatorApi) -> None:
        """Does nothing."""
