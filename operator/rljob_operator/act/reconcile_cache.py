"""State of one RLJob between two reconciles. It may be lost: the operator recovers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob_operator.decide.observed import Inspection, Key

ChildKey = tuple[str, str]
"""Kind and name."""
STRIKES = 3
"""Server errors for one object after which it counts as refused."""
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0


@dataclass(frozen=True)
class Refusal:
    """A refusal of a child by the API server.

    Attributes:
        digest: hash of the refused manifest.
        message: message of the API server.
        attempts: number of refusals.
        until: time of the next attempt, monotonic seconds.
    """

    digest: str
    message: str
    attempts: int
    until: float


@dataclass
class ReconcileCache:
    """State of the RLJob with this uid.

    Attributes:
        settled: see `Observed.settled`.
        keys_made: generation of keys to when its Secret was created or found, monotonic seconds.
        status_written: when the status was last written.
        inspection: see `Observed.inspection`.
    """

    uid: str
    settled: dict[ChildKey, tuple[str, int]] = field(default_factory=dict)
    keys_made: dict[int, float] = field(default_factory=dict)
    status_written: datetime | None = None
    inspection: Inspection | None = None
    _refusals: dict[ChildKey, Refusal] = field(default_factory=dict)
    _strikes: dict[ChildKey, int] = field(default_factory=dict)

    def refused(self) -> dict[ChildKey, str]:
        """See `Observed.refused`."""
        return {child: refusal.message for child, refusal in self._refusals.items()}

    def may_try(self, manifest: Manifest, now: float) -> bool:
        """Whether to send this child: a refused manifest is delayed."""
        refusal = self._refusals.get(child(manifest))
        return refusal is None or refusal.digest != digest(manifest) or refusal.until <= now

    def refuse(self, manifest: Manifest, message: str, now: float) -> None:
        """Record a refusal; the delay before the next attempt doubles each time."""
        before = self._refusals.get(child(manifest))
        same = before is not None and before.digest == digest(manifest)
        attempts = before.attempts + 1 if before is not None and same else 1
        delay = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(attempts - 1, 16))
        refusal = Refusal(digest(manifest), message, attempts, now + delay)
        self._refusals[child(manifest)] = refusal

    def strike(self, manifest: Manifest) -> bool:
        """Record a server error for this child. Returns whether it now counts as refused."""
        count = self._strikes[child(manifest)] = self._strikes.get(child(manifest), 0) + 1
        return count >= STRIKES

    def accept(self, manifest: Manifest) -> None:
        """Record that the child was accepted."""
        self._refusals.pop(child(manifest), None)
        self._strikes.pop(child(manifest), None)

    def settle(self, manifest: Manifest, answer: Manifest) -> None:
        """Record that the child was applied; `answer` is the stored object."""
        self.accept(manifest)
        generation = answer["metadata"].get("generation")
        # Without a generation, an edit cannot be distinguished from defaults set by the API server.
        if generation is not None:
            self.settled[child(manifest)] = digest(manifest), generation

    def keep_refusals(self, wanted: set[ChildKey]) -> None:
        """Forget refusals of children that are no longer wanted."""
        self._refusals = {c: r for c, r in self._refusals.items() if c in wanted}
        self._strikes = {c: n for c, n in self._strikes.items() if c in wanted}

    def next_attempt(self) -> float | None:
        """Time of the next attempt for a refused child, monotonic seconds."""
        return min((refusal.until for refusal in self._refusals.values()), default=None)


class ReconcileCaches:
    """One ReconcileCache per RLJob; a new one if the RLJob was replaced under the same name."""

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
    """The hash annotation of a child; empty if it has none."""
    annotations: dict[str, str] = manifest["metadata"].get("annotations") or {}
    return annotations.get(names.HASH_ANNOTATION, "")
