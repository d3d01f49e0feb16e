"""Whom the buffer knows: rollouts with what they were granted, and clients that talk nonsense."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rljob.roles.buffer.limiter import distribute
from rljob.wire.delivery import Receiver
from rljob.wire.experience import ACTOR_WINDOW
from rljob.wire.messages import Rejected, decode_json

SILENT_AFTER = 5.0
"""Seconds without a word after which a rollout's grants are no longer waited for."""
FORGET_AFTER = 60.0
"""Seconds after which a silent rollout is forgotten: pods come and go under ever new names. One that comes
back is asked who it is; what has arrived from it is in the arena, and in its HELLO."""
FENCE_AFTER = 3
"""Malformed messages in a row after which a client is not listened to until it says HELLO."""
MOST_STRIKES = 1024
"""Clients whose malformed messages are counted; a further one takes the place of the first."""


@dataclass
class ConnectedRollout:
    """What the buffer knows of one rollout.

    Attributes:
        granted: segments of this epoch that it may send, absolute.
        waiting: share of its time that it last said to wait for credit.
        turn: when it was last granted something, among all grants.
        counted: its part in the sums over all that are live, see `Rollouts`.
    """

    client: bytes
    receiver: Receiver
    last_seen: float
    granted: int = 0
    waiting: float = 0.0
    turn: int = 0
    counted: tuple[int, int] = (0, 0)

    @property
    def outstanding(self) -> int:
        return max(0, self.granted - self.receiver.count)

    def granted_before(self, segments: int) -> None:
        """Take over credit that it says it has; no more than is ever granted ahead."""
        self.granted = max(self.granted, min(segments, self.receiver.count + ACTOR_WINDOW))


class Rollouts:
    """Those that have said HELLO.

    Sums over them are kept up to date with every message, so that a turn of the buffer takes as long
    with many as with few.

    Attributes:
        actors: by number.
        pending_grants: numbers of those that wait for an answer, in the order in which they have come to.
    """

    def __init__(self) -> None:
        self.actors: dict[int, ConnectedRollout] = {}
        self.pending_grants: dict[int, None] = {}
        # The longest silent first.
        self._live: OrderedDict[int, ConnectedRollout] = OrderedDict()
        self._silent: OrderedDict[int, ConnectedRollout] = OrderedDict()
        self._outstanding = self._millionths = self._turns = 0

    def known(self, number: int, client: bytes, epoch: int) -> ConnectedRollout | None:
        """The rollout, if it has said HELLO under this number and name and in this epoch."""
        actor = self.actors.get(number)
        if actor is None or (actor.client, actor.receiver.epoch) != (client, epoch):
            return None
        return actor

    def welcome(self, number: int, actor: ConnectedRollout) -> None:
        """Take in one that says HELLO; it replaces what had its number."""
        self.leave(number)
        self.actors[number] = actor
        self.heard(number, actor, actor.last_seen)

    def leave(self, number: int) -> None:
        """Forget one, if it is known."""
        actor = self.actors.pop(number, None)
        if actor is not None:
            self._count(actor, (0, 0))
            for those in (self._live, self._silent, self.pending_grants):
                those.pop(number, None)

    def heard(self, number: int, actor: ConnectedRollout, now: float) -> None:
        """One has said something and is to be answered."""
        actor.last_seen = now
        self._silent.pop(number, None)
        self._live[number] = actor
        self._live.move_to_end(number)
        self.pending_grants[number] = None
        self.changed(number)

    def changed(self, number: int) -> None:
        """What is known of one may have changed."""
        actor = self._live.get(number)
        if actor is not None:
            # Whole numbers, so that no error grows in the sum.
            self._count(actor, (actor.outstanding, round(1e6 * actor.waiting)))

    def live(self, now: float) -> OrderedDict[int, ConnectedRollout]:
        """Rollouts that said something lately; others are no longer waited for, and in the end forgotten."""
        for number, actor in _older(self._live, now - SILENT_AFTER):
            self._silent[number] = actor
            self._count(actor, (0, 0))
        for number, _ in _older(self._silent, now - FORGET_AFTER):
            del self.actors[number]
            self.pending_grants.pop(number, None)
        return self._live

    def outstanding(self, now: float) -> int:
        """Segments that are granted to live ones and have not arrived."""
        self.live(now)
        return self._outstanding

    def waiting(self, now: float) -> float:
        """Share of their time that live ones say to wait for credit, the mean; 0 without any."""
        return self._millionths / 1e6 / max(1, len(self.live(now)))

    def share(self, room: Callable[[int], int], now: float) -> int:
        """Grant what there is room for; returns the segments that are granted and have not arrived.

        Args:
            room: how many may be granted beyond so many.
        """
        free = room(self.outstanding(now))
        if free > 0:
            # Whoever has waited longest comes first; else, with little room, it would always be the same.
            fair = sorted(self._live.items(), key=lambda item: item[1].turn)
            live = {number: actor.counted[0] for number, actor in fair}
            for number, more in distribute(free, live).items():
                actor = self.actors[number]
                self._turns += 1
                actor.granted, actor.turn = actor.granted + more, self._turns
                self.pending_grants[number] = None
                self.changed(number)
        return self._outstanding

    def _count(self, actor: ConnectedRollout, part: tuple[int, int]) -> None:
        self._outstanding += part[0] - actor.counted[0]
        self._millionths += part[1] - actor.counted[1]
        actor.counted = part


def _older(
    actors: OrderedDict[int, ConnectedRollout], than: float
) -> Iterator[tuple[int, ConnectedRollout]]:
    """Take those out that were heard at `than` or before, the longest silent first."""
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
        """Count one; whether the client is fenced by it."""
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
    """What a rollout says of itself: its share of time without credit, and whether these are its last
    words."""

    waiting: float
    leaving: bool

    @classmethod
    def read(cls, payload: memoryview) -> RolloutReport:
        """Raises Rejected for what a rollout would not say."""
        value = decode_json(payload)
        waiting, leaving = value.get("waiting", 0.0), value.get("leaving", False)
        if type(waiting) not in (int, float) or not 0 <= waiting <= 1:
            raise Rejected("json", "waiting must be a number from 0 to 1")
        if type(leaving) is not bool:
            raise Rejected("json", "leaving must be true or false")
        return cls(float(waiting), leaving)
