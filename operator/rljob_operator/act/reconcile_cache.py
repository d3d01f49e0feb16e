"""What this process remembers of one RLJob between two looks. All of it may be lost: it is found out again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob_operator.decide.observed import Inspection, Key

ChildKey = tuple[str, str]
"""Kind and name."""
STRIKES = 3
"""Answers that the API server failed by itself, after which that is no passing trouble any more."""
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0


@dataclass(frozen=True)
class Refusal:
    """The API server does not take a child as it is.

    Attributes:
        digest: of the manifest that it refused.
        message: what it said.
        attempts: how often it refused it.
        until: monotonic seconds before which it is not tried again.
    """

    digest: str
    message: str
    attempts: int
    until: float


@dataclass
class ReconcileCache:
    """Of the RLJob with this uid.

    Attributes:
        settled: see `Observed.settled`.
        keys_made: when we made the Secret or found it, monotonic seconds.
        status_written: when we wrote the status last.
        inspection: see `Observed.inspection`.
    """

    uid: str
    settled: dict[ChildKey, tuple[str, int]] = field(default_factory=dict)
    keys_made: float | None = None
    status_written: datetime | None = None
    inspection: Inspection | None = None
    _refusals: dict[ChildKey, Refusal] = field(default_factory=dict)
    _strikes: dict[ChildKey, int] = field(default_factory=dict)

    def refused(self) -> dict[ChildKey, str]:
        """See `Observed.refused`."""
        return {child: refusal.message for child, refusal in self._refusals.items()}

    def may_try(self, manifest: Manifest, now: float) -> bool:
        """Whether to send this child: not the same one again right after it was refused."""
        refusal = self._refusals.get(child(manifest))
        return refusal is None or refusal.digest != digest(manifest) or refusal.until <= now

    def refuse(self, manifest: Manifest, message: str, now: float) -> None:
        """It was refused; the next attempt comes after a delay that doubles each time."""
        before = self._refusals.get(child(manifest))
        same = before is not None and before.digest == digest(manifest)
        attempts = before.attempts + 1 if before is not None and same else 1
        delay = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(attempts - 1, 16))
        refusal = Refusal(digest(manifest), message, attempts, now + delay)
        self._refusals[child(manifest)] = refusal

    def strike(self, manifest: Manifest) -> bool:
        """The API server failed with it; whether so often that it is as good as refused."""
        count = self._strikes[child(manifest)] = self._strikes.get(child(manifest), 0) + 1
        return count >= STRIKES

    def accept(self, manifest: Manifest) -> None:
        """It was taken."""
        self._refusals.pop(child(manifest), None)
        self._strikes.pop(child(manifest), None)

    def settle(self, manifest: Manifest, answer: Manifest) -> None:
        """It was applied, and this is how the API server keeps it."""
        self.accept(manifest)
        generation = answer["metadata"].get("generation")
        # Without a generation an edit could not be told from what the API server made of it.
        if generation is not None:
            self.settled[child(manifest)] = digest(manifest), generation

    def keep_refusals(self, wanted: set[ChildKey]) -> None:
        """Forget refusals of what nobody wants any more."""
        self._refusals = {c: r for c, r in self._refusals.items() if c in wanted}
        self._strikes = {c: n for c, n in self._strikes.items() if c in wanted}

    def next_attempt(self) -> float | None:
        """When something that was refused is to be tried again."""
        return min((refusal.until for refusal in self._refusals.values()), default=None)


class ReconcileCaches:
    """One memory for each RLJob; a new one when another of the same name took its place."""

    def __init__(self) -> None:
        self._of: dict[Key, ReconcileCache] = {}

    def of(self, key: Key, uid: str) -> ReconcileCache:
        memory = self._of.get(key)
        if memory is None or memory.uid != uid:
            memory = self._of[key] = ReconcileCache(uid)
        return memory

    def forget(self, key: Key) -> None:
        self._of.pop(key, None)


def child(manifest: Manifest) -> ChildKey:
    return manifest["kind"], manifest["metadata"]["name"]


def digest(manifest: Manifest) -> str:
    """Its hash as `children` wrote it; empty for what has none."""
    annotations: dict[str, str] = manifest["metadata"].get("annotations") or {}
    return annotations.get(names.HASH_ANNOTATION, "")
