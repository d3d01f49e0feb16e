"""Content of the buffer: a plan, an arena and a mode of delivery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rljob.envs.spaces import Arrays, Spaces
from rljob.envs.values import problem
from rljob.errors import InputError
from rljob.process.memory import MemoryLimit
from rljob.roles.buffer.arena import Arena
from rljob.roles.buffer.delivering import Freshness, KeepAside, Mode, OnPolicyMode, ReplayMode
from rljob.roles.buffer.episodes import UntoldEpisodes
from rljob.roles.buffer.limiter import ReplayLimiter
from rljob.roles.buffer.replay import data_bytes
from rljob.roles.buffer.sequences import batch_fields
from rljob.spec import RLJobSpec
from rljob.spec.experience import OnPolicy, Replay
from rljob.wire.arrays import nbytes
from rljob.wire.delivery import DeliveryVerdict, Receiver
from rljob.wire.experience import EPISODE, PRIORITY, ExperienceFormat
from rljob.wire.messages import MAX_PAYLOAD_BYTES, Header, Rejected

PROCESS_BYTES = 128 * 2**20
"""Memory of the buffer beside its experience: its process, and messages on their way."""
_MARK_BYTES = 24
"""Of one that is drawn by priority: its key, its probability, and the number of those drawn from."""
_TABLE_BYTES = 1 << 14
"""At most what the table of a batch takes, with the bytes between arrays."""
_ORIGIN = ("actor", "epoch", "seq")


@dataclass(frozen=True)
class StoreSettings:
    """Settings of the buffer from the RLJob.

    Args:
        capacity: environment steps to store, at most.
        max_policy_lag: versions; see `OnPolicyLimiter`.
        samples_per_insert: overrides the algorithm's; see `ReplayLimiter`.
        strict: lockstep, for runs that can be repeated exactly.
        seed: of sampling.
        memory: that the process may use; None where that is not known.
        rollouts: whose segments share the capacity.
    """

    capacity: int
    max_policy_lag: int
    samples_per_insert: float | None
    strict: bool
    seed: int
    memory: MemoryLimit | None = None
    rollouts: int = 1

    @classmethod
    def of(cls, spec: RLJobSpec, seed: int, memory: MemoryLimit | None) -> StoreSettings:
        """Those of a job."""
        return cls(
            spec.buffer.capacity,
            0 if spec.strict else spec.buffer.max_policy_lag,
            spec.buffer.samples_per_insert,
            spec.strict,
            seed,
            memory,
            spec.rollout.replicas,
        )


class Observer:
    """Receives events of the buffer; the methods do nothing unless overridden."""

    def stored(self, actor: int, epoch: int, seq: int, steps: int) -> None: ...
    def recovered(self, actor: int, epoch: int, seq: int) -> None: ...
    def duplicate(self) -> None: ...
    def evicted(self, reason: str, actor: int, epoch: int, seq: int) -> None: ...
    def rejected(self, reason: str) -> None: ...
    def fenced(self) -> None: ...
    def delivered(self, freshness: Freshness) -> None: ...
    def resent(self) -> None: ...
    def set_aside(self) -> None: ...
    def application_faults(self, counted: Mapping[str, int]) -> None: ...


class Store:
    """The stored experience. It is created at the first learner's HELLO, when its size is known, and
    outlives the process in its arena.

    Args:
        path: file of the arena; None keeps the experience in this process only.
        arena: one that exists already, described by the same plan, or the number of segments that make
            a batch, for which a new one is made.
        keep_aside: takes batches that the learner died of.

    Attributes:
        episodes: those that the learner has not confirmed.

    Raises:
        InputError: when the job's experience does not fit into the capacity.
        RunError: when the space cannot be had.
    """

    def __init__(
        self,
        plan: ExperienceFormat,
        settings: StoreSettings,
        path: Path | None,
        arena: Arena | int,
        observer: Observer,
        keep_aside: KeepAside,
    ) -> None:
        self.plan = plan
        self._spaces = _spaces(plan)
        self.episodes = UntoldEpisodes(plan.episode_numbers)
        self._settings = settings
        self._path = path
        self._observer = observer
        self._keep_aside = keep_aside
        if isinstance(arena, int):
            arena = _new_arena(plan, arena, settings, path)
        self.arena = arena
        self.mode: Mode = self._make_mode(plan.data, settings)
        self._recover()

    def grown(self, segments_per_batch: int) -> Store | None:
        """The same in more space, when batches of so many segments need it; it replaces this one, and
        what was lent to a learner is in it as if it were not.

        Raises:
            InputError: when so many do not fit into the capacity.
            RunError: when the space cannot be had.
        """
        if not isinstance(self.plan.data, OnPolicy):
            return None
        slots = _queue_slots(self.plan, segments_per_batch, self._settings)
        if slots <= len(self.arena.slots):
            return None
        check_memory(self.plan, slots, self._settings)
        arena = self.arena.grown(self._path, slots)
        larger = Store(
            self.plan, self._settings, self._path, arena, self._observer, self._keep_aside
        )
        larger.episodes = self.episodes
        return larger

    def _make_mode(self, data: OnPolicy | Replay, settings: StoreSettings) -> Mode:
        if isinstance(data, OnPolicy):
            return OnPolicyMode(
                self.arena,
                self.plan,
                settings.max_policy_lag,
                self._evict,
                settings.strict,
                self._keep_aside,
            )
        ratio = ReplayLimiter(
            settings.samples_per_insert or data.samples_per_insert,
            data.min_size,
            data.samples,
            self.plan.steps,
            settings.strict,
        )
        return ReplayMode(self.arena, self.plan, data, ratio, settings.seed, self._keep_aside)

    @property
    def first_episode(self) -> int:
        """Number of the first of `episodes`, counted over all that ever ended."""
        return self.arena.counter("episodes") - len(self.episodes)

    def receive(
        self, header: Header, payload: memoryview, receiver: Receiver, now: float, rollout: str = ""
    ) -> None:
        """Take a SEGMENT: store it, unless it was stored before or there is no room.

        Args:
            rollout: name of the sender.

        Raises:
            Rejected: when it is not what HELLO said.
        """
        verdict = receiver.check(header.epoch, header.seq)
        if verdict is not DeliveryVerdict.NEW:
            if verdict is DeliveryVerdict.DUPLICATE:
                self.arena.count("duplicates")
                self._observer.duplicate()
            return
        arrays, episodes = self._read(payload)
        if not self.mode.fits():
            # Not acknowledged, so the rollout keeps it and offers it again.
            return
        origin = (header.actor, header.epoch, header.seq)
        steps = int(np.count_nonzero(arrays["valid"]))
        # The order matters: experience first, then the record of its arrival, the answer last.
        kept = self.mode.put(payload, origin, (header.lineage, header.version), now)
        self._observer.stored(*origin, steps)
        receiver.commit(header.epoch, header.seq)
        self.arena.remember(header.actor, receiver)
        if not kept:
            self._evict("lineage", *origin)
            return
        self.arena.count("segments")
        self.arena.count("steps", steps)
        if len(episodes):
            self.arena.count("episodes", len(episodes))
            stored = self.arena.counter("steps")
            self.episodes.add(episodes, header.version, rollout, stored)

    def _read(self, payload: memoryview) -> tuple[Arrays, np.ndarray]:
        """Arrays, which share memory with the payload, and episode records."""
        layout = self.plan.layout
        if not layout.matches(payload):
            raise Rejected("layout", "differs from what HELLO said")
        episodes = self._episodes_in(payload[layout.size :])
        arrays = layout.views(payload)
        # What is not finite would be in every mean from then on, and stop each learner that trains on it.
        # A priority may be anything; see `ReplayStore`.
        found = problem({n: a for n, a in arrays.items() if n != PRIORITY}, self._spaces)
        if found:
            raise Rejected("values", found)
        return arrays, episodes

    def _episodes_in(self, tail: memoryview) -> np.ndarray:
        numbers = self.plan.episode_numbers
        if len(tail) % (8 * numbers) or len(tail) > self.plan.records_bytes:
            raise Rejected("episodes", f"{len(tail)} bytes")
        episodes = np.frombuffer(tail, np.float64).reshape(-1, numbers)
        if not np.isfinite(episodes[:, : len(EPISODE)]).all() or np.isinf(episodes).any():
            raise Rejected("episodes", "not finite")
        return episodes

    def heard(self, episodes: int) -> None:
        """Forget the episodes that the learner has received, counted over all that ever ended."""
        known = min(max(0, episodes - self.first_episode), len(self.episodes))
        self.episodes.forget(known)

    def numbers(self) -> dict[str, float]:
        """The store's numbers for STATS."""
        counted = ("steps", "episodes", "evicted", "duplicates")
        return {
            **{name: self.arena.counter(name) for name in counted},
            "stored": self.mode.stored,
            "fill": self.mode.fill,
        }

    def _recover(self) -> None:
        """Record the arrival that was stored but not recorded when an earlier life was killed."""
        for slot in self.arena.stored():
            actor, epoch, seq = (int(self.arena.slots[name][slot]) for name in _ORIGIN)
            receiver = self.arena.receiver(actor)
            if receiver.check(epoch, seq) is DeliveryVerdict.NEW:
                receiver.commit(epoch, seq)
                self.arena.remember(actor, receiver)
                self.arena.count("segments")
                self.arena.count("steps", self.mode.steps(slot))
                self._observer.recovered(actor, epoch, seq)

    def _evict(self, reason: str, actor: int, epoch: int, seq: int) -> None:
        self.arena.count("evicted")
        self._observer.evicted(reason, actor, epoch, seq)


def _spaces(plan: ExperienceFormat) -> Spaces | None:
    """The spaces of a job's experience; None where they are of a kind that only a newer rljob knows."""
    try:
        return Spaces.from_json(plan.spaces)
    except ValueError:
        return None


def _new_arena(
    plan: ExperienceFormat, segments_per_batch: int, settings: StoreSettings, path: Path | None
) -> Arena:
    slots = slots_for(plan, segments_per_batch, settings)
    check_memory(plan, slots, settings)
    return Arena.create(path, plan.to_json(), slots, _data_bytes(plan, slots))


def _data_bytes(plan: ExperienceFormat, slots: int) -> int:
    if isinstance(plan.data, OnPolicy):
        return slots * plan.layout.size
    return data_bytes(plan.layout, slots, plan.data.priority_exponent)


def check_memory(plan: ExperienceFormat, slots: int, settings: StoreSettings) -> None:
    """Compare what the experience needs with what the buffer may use, before anything is reserved.

    Raises:
        InputError: it does not fit.
    """
    limit = settings.memory
    size = _data_bytes(plan, slots)
    if limit is None or size + PROCESS_BYTES <= limit.bytes:
        return
    steps = slots * plan.steps
    each = -(-size // steps)
    most = max(0, limit.bytes - PROCESS_BYTES) // each
    raise InputError(
        f"{steps} steps of {each} bytes need {_mib(size)}, and the buffer's process {_mib(PROCESS_BYTES)}; "
        f"{limit.source} is {_mib(limit.bytes)}. Set at most {most}, or give the buffer more memory "
        "(resources.limits.memory in buffer.template)",
        path="buffer.capacity",
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def slots_for(plan: ExperienceFormat, segments_per_batch: int, settings: StoreSettings) -> int:
    """Segments to make room for.

    Raises:
        InputError: when the job's experience does not fit into the capacity.
    """
    if isinstance(plan.data, OnPolicy):
        return _queue_slots(plan, segments_per_batch, settings)
    return _ring_slots(plan, plan.data, settings)


def _queue_slots(plan: ExperienceFormat, segments_per_batch: int, settings: StoreSettings) -> int:
    # A batch in training, one being collected, and the stragglers that the lag bound allows.
    slots = segments_per_batch * (settings.max_policy_lag + 3)
    least = segments_per_batch * 3
    held = min(slots, settings.capacity // plan.steps)
    if held < least:
        raise InputError(
            f"{settings.capacity} steps are too few for this job; at least "
            f"{least * plan.steps} (3 updates of {segments_per_batch} x {plan.steps} steps)",
            path="buffer.capacity",
        )
    return held


def _ring_slots(plan: ExperienceFormat, data: Replay, settings: StoreSettings) -> int:
    # A transition travels with both its observations: at most twice its share of a segment.
    drawn, size = "transitions", 2 * data.agents * plan.layout.size // plan.steps + _MARK_BYTES
    if data.length > 1:
        drawn = f"sequences of {data.length} steps,"
        fields = batch_fields(plan.layout.fields, data.length, 1, 1, data.agents)
        size = sum(map(nbytes, fields)) + _MARK_BYTES
    most = (MAX_PAYLOAD_BYTES - _TABLE_BYTES) // (size * data.updates_per_publish)
    if data.batch_size > most:
        allowed = f"at most {most}"
        if data.length > 1 and not most:
            allowed = "not even one fits: shorten the sequences"
        raise InputError(
            f"{data.batch_size} {drawn} of {size} bytes, {data.updates_per_publish} times "
            f"in one message, exceed the size of a message; {allowed}",
            path="algorithm.config.batchSize",
        )
    slots = settings.capacity // plan.steps
    # Each rollout's segments are overwritten by those of all.
    needed = max(2, settings.rollouts * data.span if data.length > 1 else 0)
    if slots * plan.steps < data.min_size or slots < needed:
        least = max(data.min_size + plan.steps, needed * plan.steps)
        reason = f"the algorithm's minSize and one segment of {plan.steps} steps"
        if data.length > 1:
            reason += f"; sequences of {data.length} steps reach over {data.span} segments of each rollout"
        raise InputError(
            f"{settings.capacity} steps are too few for this job; at least {least} ({reason})",
            path="buffer.capacity",
        )
    return slots
