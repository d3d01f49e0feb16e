"""Connected rollouts with their grants; malformed messages per client."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from rljob.process.hardware import HardwareUse
from rljob.roles.buffer.limiter import distribute
from rljob.wire.application import FAULTS
from rljob.wire.delivery import Receiver
from rljob.wire.experience import ACTOR_WINDOW
from rljob.wire.messages import Rejected, decode_json

SILENT_AFTER = 5.0
"""Seconds without a message after which a rollout's grants no longer count."""
FORGET_AFTER = 60.0
"""Seconds after which a silent rollout is forgotten, because new pods have new names. One that comes back
must send HELLO; its received segments are recorded in the arena and in its HELLO."""
FENCE_AFTER = 3
"""Malformed messages in a row after which a client is ignored until it sends HELLO."""
MOST_CORES = 100_000
MOST_STRIKES = 1024
"""Clients whose malformed messages are counted; a further one replaces the oldest."""


@dataclass
class ConnectedRollout:
    """State of one rollout.

    Attributes:
        granted: segments of this epoch that it may send, absolute.
        waiting: share of its time that it waits for credit, as last reported.
        used: what it uses of its machine, as last reported.
        turn: sequence number of its last grant among all grants.
        counted: its part in the sums over all live rollouts, see `Rollouts`.
        application: the application that it says it belongs to; empty for none.
        told: what it has counted of its own, as last reported.
        waits: of an application, segments that wait to be sent, as last reported; None for a rollout, which begins a
            segment for each that it is granted.
    """

    client: bytes
    receiver: Receiver
    last_seen: float
    granted: int = 0
    waiting: float = 0.0
    used: HardwareUse = field(default_factory=HardwareUse)
    turn: int = 0
    counted: tuple[int, int, int, int] = (0, 0, 0, 0)
    application: str = ""
    told: dict[str, int] = field(default_factory=dict)
    waits: int | None = None

    @property
    def outstanding(self) -> int:
        return max(0, self.granted - self.receiver.count)

    @property
    def expected(self) -> int:
        """Outstanding segments that are on their way or being made. An application that has none is not waited for:
        nobody knows when its next decision is."""
        return 0 if self.waits == 0 else self.outstanding

    def newly_counted(self, counted: Mapping[str, int]) -> dict[str, int]:
        """What it has counted since its last report; a repeated or late report adds nothing."""
        more = {name: number - self.told.get(name, 0) for name, number in counted.items()}
        found = {name: number for name, number in more.items() if number > 0}
        self.told.update({name: counted[name] for name in found})
        return found

    def granted_before(self, segments: int) -> None:
        """Take over the credit that it reports, up to the largest grant."""
        self.granted = max(self.granted, min(segments, self.receiver.count + ACTOR_WINDOW))


class Rollouts:
    """Rollouts that have sent HELLO.

    Sums over them are updated with every message, so the duration of a turn of the buffer does not
    depend on their number.

    Attributes:
        actors: by number.
        pending_grants: numbers of the rollouts that wait for an answer, in order of arrival.
    """

    def __init__(self) -> None:
        self.actors: dict[int, ConnectedRollout] = {}
        self.pending_grants: dict[int, None] = {}
        # Longest silent first.
        self._live: OrderedDict[int, ConnectedRollout] = OrderedDict()
        self._silent: OrderedDict[int, ConnectedRollout] = OrderedDict()
        self._outstanding = self._millionths = self._turns = self._applications = 0
        self._thousandths = self._memory = 0

    def known(self, number: int, client: bytes, epoch: int) -> ConnectedRollout | None:
        """The rollout, if it has sent HELLO with this number, name and epoch."""
        actor = self.actors.get(number)
        if actor is None or (actor.client, actor.receiver.epoch) != (client, epoch):
            return None
        return actor

    def welcome(self, number: int, actor: ConnectedRollout) -> None:
        """Add a rollout that sent HELLO; it replaces the one with the same number."""
        self.leave(number)
        self.actors[number] = actor
        self.heard(number, actor, actor.last_seen)

    def leave(self, number: int) -> None:
        """Remove a rollout, if it is known."""
        actor = self.actors.pop(number, None)
        if actor is not None:
            self._count(actor, (0, 0, 0, 0))
            self._applications -= number in self._live and bool(actor.application)
            for those in (self._live, self._silent, self.pending_grants):
                those.pop(number, None)

    def heard(self, number: int, actor: ConnectedRollout, now: float) -> None:
        """Record that a rollout sent a message and needs an answer."""
        actor.last_seen = now
        self._silent.pop(number, None)
        self._applications += number not in self._live and bool(actor.application)
        self._live[number] = actor
        self._live.move_to_end(number)
        self.pending_grants[number] = None
        self.changed(number)

    def changed(self, number: int) -> None:
        """Update the sums after the state of a rollout changed."""
        actor = self._live.get(number)
        if actor is not None:
            # Integers, so that no rounding error accumulates.
            used = round(1000 * actor.used.cores), actor.used.memory
            self._count(actor, (actor.expected, round(1e6 * actor.waiting), *used))

    def live(self, now: float) -> OrderedDict[int, ConnectedRollout]:
        """Rollouts that sent a message recently; others no longer count and are later forgotten."""
        for number, actor in _older(self._live, now - SILENT_AFTER):
            self._silent[number] = actor
            self._applications -= bool(actor.application)
            self._count(actor, (0, 0, 0, 0))
        for number, _ in _older(self._silent, now - FORGET_AFTER):
            del self.actors[number]
            self.pending_grants.pop(number, None)
        return self._live

    def applications(self, now: float) -> int:
        """How many of the live ones are applications."""
        self.live(now)
        return self._applications

    def outstanding(self, now: float) -> int:
        """Segments that are granted to live rollouts and have not arrived, of applications those that they have."""
        self.live(now)
        return self._outstanding

    def waiting(self, now: float) -> float:
        """Mean share of time that live rollouts wait for credit; 0 without rollouts."""
        return self._millionths / 1e6 / max(1, len(self.live(now)))

    def share(self, room: Callable[[int], int], now: float) -> int:
        """Grant segments while there is room; returns the segments granted and not arrived.

        Args:
            room: from segments already granted to further segments that may be granted.
        """
        free = room(self.outstanding(now))
        if free > 0:
            # The longest waiting rollout comes first; else little room always goes to the same one.
            fair = sorted(self._live.items(), key=lambda item: item[1].turn)
            live = {number: actor.outstanding for number, actor in fair}
            waits = {n: actor.waits for n, actor in fair if actor.waits is not None}
            for number, more in distribute(free, live, waits).items():
                actor = self.actors[number]
                self._turns += 1
                actor.granted, actor.turn = actor.granted + more, self._turns
                self.pending_grants[number] = None
                self.changed(number)
        return self._outstanding

    def used(self, now: float) -> HardwareUse:
        """What the live rollouts use together."""
        self.live(now)
        return HardwareUse(self._thousandths / 1000, self._memory)

    def _count(self, actor: ConnectedRollout, part: tuple[int, int, int, int]) -> None:
        self._outstanding += part[0] - actor.counted[0]
        self._millionths += part[1] - actor.counted[1]
        self._thousandths += part[2] - actor.counted[2]
        self._memory += part[3] - actor.counted[3]
        actor.counted = part


def _older(
    actors: OrderedDict[int, ConnectedRollout], than: float
) -> Iterator[tuple[int, ConnectedRollout]]:
    """Remove those last heard at `than` or before, longest silent first."""
    while actors:
        number, actor = next(iter(actors.items()))
        if actor.last_seen > than:
            return
        del actors[number]
        yield number, actor


@dataclass
class Fence:
    """Counts malformed messages in a row, by client."""

    _strikes: dict[bytes, int] = field(default_factory=dict)

    def strike(self, client: bytes) -> bool:
        """Count one malformed message; returns whether it fences the client."""
        if client not in self._strikes and len(self._strikes) >= MOST_STRIKES:
            del self._strikes[next(iter(self._strikes))]
        self._strikes[client] = self._strikes.get(client, 0) + 1
        return self._strikes[client] == FENCE_AFTER

    def excludes(self, client: bytes) -> bool:
        return self._strikes.get(client, 0) >= FENCE_AFTER

    def clear(self, client: bytes) -> None:
        self._strikes.pop(client, None)


@dataclass(frozen=True)
class RolloutReport:
    """Report of a rollout: its share of time without credit, whether it is leaving, what it uses; of an application also what
    it has counted since its start, and how many segments wait to be sent, None where it does not say."""

    waiting: float
    leaving: bool
    used: HardwareUse
    counted: Mapping[str, int]
    waits: int | None = None

    @classmethod
    def read(cls, payload: memoryview) -> RolloutReport:
        """Raises Rejected for an invalid report."""
        value = decode_json(payload)
        waiting, leaving = value.get("waiting", 0.0), value.get("leaving", False)
        if type(waiting) not in (int, float) or not 0 <= waiting <= 1:
            raise Rejected("json", "waiting must be a number from 0 to 1")
        if type(leaving) is not bool:
            raise Rejected("json", "leaving must be true or false")
        cores, memory = value.get("cores", 0.0), value.get("memory", 0)
        if type(cores) not in (int, float) or not 0 <= cores <= MOST_CORES:
            raise Rejected("json", f"cores must be a number from 0 to {MOST_CORES}")
        if type(memory) is not int or not 0 <= memory < 2**50:
            raise Rejected("json", "memory must be an integer from 0 to 2**50 - 1")
        counted = value.get("counted", {})
        if not isinstance(counted, dict) or not all(
            type(number) is int and 0 <= number < 2**53 for number in counted.values()
        ):
            raise Rejected("json", "counted must hold whole numbers")
        waits = value.get("waits")
        if waits is not None and (type(waits) is not int or not 0 <= waits < 2**31):
            raise Rejected("json", "waits must be an integer from 0 to 2**31 - 1")
        known = {name: number for name, number in counted.items() if name in FAULTS}
        return cls(float(waiting), leaving, HardwareUse(float(cores), memory), known, waits)
