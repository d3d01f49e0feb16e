"""Executes the decisions of `reconcile`, one write after the other."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from rljob.kube import names
from rljob.kube.kinds import BY_NAME, JOB, Manifest
from rljob_operator.act import keys
from rljob_operator.act.reconcile_cache import ReconcileCache, child
from rljob_operator.api.client import OperatorApi
from rljob_operator.api.errors import ApiError
from rljob_operator.ask.state_key import StateKey
from rljob_operator.decide.decision import Decision, Notice, Reference
from rljob_operator.watch.cache import Cache

_OVER_QUOTA = "exceeded quota"
_log = logging.getLogger(__name__)
T = TypeVar("T")
Tell = Callable[[Manifest, Notice], None]


class Executor:
    """Writes to the API server and puts the responses into the cache.

    Args:
        tell: posts an Event about an RLJob; never fails.
        state_key: for the Secrets of jobs.
        clock: monotonic seconds.
        now: the time of day.
    """

    def __init__(
        self,
        api: OperatorApi,
        cache: Cache,
        tell: Tell,
        state_key: StateKey,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._api, self._cache, self._tell, self._state_key = api, cache, tell, state_key
        self._clock, self._now = clock, now

    async def carry_out(self, job: Manifest, decision: Decision, memory: ReconcileCache) -> None:
        """Execute the decision, in the order that `Decision` defines.

        A refused manifest is recorded and the other writes continue. After another failure of one object the
        writes continue too, and the error is raised at the end. If the API server cannot be reached, the
        error is raised at once. Raises ApiError and NotLeading.
        """
        if decision.delete_job:
            await self._delete_job(job)
            return
        failures: list[ApiError] = []
        token = self._state_key.token(job["metadata"]["uid"])
        minted = {number: keys.secret(job, number, token) for number in decision.mint_keys}
        for number, secret in minted.items():
            await _collect(failures, self._mint(number, secret, memory))
        for reference in decision.delete:
            await _collect(failures, self._delete(job, reference, memory))
        for manifest in decision.apply:
            await _collect(failures, self._apply(job, manifest, memory))
        replacements = [reference.replacement for reference in decision.delete]
        wanted = (*minted.values(), *replacements, *decision.apply)
        memory.keep_refusals({child(manifest) for manifest in wanted if manifest is not None})
        if decision.write_status:
            await _collect(failures, self._write_status(job, decision, memory))
        if failures:
            raise failures[0]

    async def _delete_job(self, job: Manifest) -> None:
        metadata = job["metadata"]
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        await self._api.delete(JOB, namespace, name, uid, "Background")
        self._say("deleted the job: ttlSecondsAfterFinished has passed", job)

    async def _mint(self, generation: int, secret: Manifest, memory: ReconcileCache) -> None:
        namespace = secret["metadata"]["namespace"]
        made = await self._attempt(secret, memory, lambda: self._api.create(secret, namespace))
        if made is not None:
            memory.accept(secret)
            memory.keys_made[generation] = self._clock()

    async def _delete(self, job: Manifest, reference: Reference, memory: ReconcileCache) -> None:
        namespace = job["metadata"]["namespace"]
        wanted = reference.replacement
        if wanted is not None and not await self._would_be_taken(wanted, namespace, memory):
            return
        kind, id_ = BY_NAME[reference.kind], (namespace, reference.name)
        left = await self._api.delete(kind, *id_, reference.uid, reference.propagation)
        known = self._cache.get(reference.kind, id_)
        if left is not None:
            self._cache.put(left, self._clock())
        elif known is not None and known["metadata"]["uid"] == reference.uid:
            self._cache.drop(known, self._clock())
        self._say(f"deleted {reference.kind} {reference.name}", job)

    async def _would_be_taken(
        self, wanted: Manifest, namespace: str, memory: ReconcileCache
    ) -> bool:
        """Dry run of a create under another name: the object to be replaced still uses its own."""
        name = f"{wanted['metadata']['name']}-{secrets.token_hex(2)}"
        other = {**wanted, "metadata": {**wanted["metadata"], "name": name}}

        async def dry_run() -> bool:
            try:
                await self._api.create(other, namespace, dry_run=True)
            except ApiError as error:
                # The quota has room once the old object is deleted.
                if not (error.reason == "forbidden" and _OVER_QUOTA in error.message):
                    raise
            return True

        if await self._attempt(wanted, memory, dry_run) is None:
            return False
        memory.accept(wanted)
        return True

    async def _apply(self, job: Manifest, manifest: Manifest, memory: ReconcileCache) -> None:
        namespace = job["metadata"]["namespace"]
        answer = await self._attempt(manifest, memory, lambda: self._api.apply(manifest, namespace))
        if answer is not None:
            self._cache.put(answer, self._clock())
            memory.settle(manifest, answer)
            self._say("applied {} {}".format(*child(manifest)), job)

    async def _write_status(
        self, job: Manifest, decision: Decision, memory: ReconcileCache
    ) -> None:
        status = decision.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        try:
            answer = await self._api.apply_status(job, status)
        except ApiError as error:
            # The job was deleted.
            if error.reason == "not_found":
                return
            raise
        self._cache.put(answer, self._clock())
        memory.status_written = self._now()
        for notice in decision.notices:
            self._tell(job, notice)

    def _say(self, message: str, job: Manifest) -> None:
        metadata = job["metadata"]
        _log.info(message, extra={"namespace": metadata["namespace"], "job": metadata["name"]})

    async def _attempt(
        self, manifest: Manifest, memory: ReconcileCache, call: Callable[[], Awaitable[T]]
    ) -> T | None:
        """The result of a call that writes a manifest; None if it is refused now or was refused recently."""
        if not memory.may_try(manifest, self._clock()):
            return None
        try:
            return await call()
        except ApiError as error:
            # E.g. a failing webhook or an exhausted address range: report it to the user.
            failed = error.reason == "server" and memory.strike(manifest)
            if not (error.refused or failed):
                raise
            memory.refuse(manifest, error.message, self._clock())
            metadata = manifest["metadata"]
            extra = {
                "namespace": metadata["namespace"],
                "job": metadata["labels"][names.JOB_NAME_LABEL],
                "reason": error.message,
            }
            _log.warning("{} {} was refused".format(*child(manifest)), extra=extra)
            return None


async def _collect(failures: list[ApiError], step: Awaitable[None]) -> None:
    try:
        await step
    except ApiError as error:
        if error.unreached:
            raise
        failures.append(error)
