"""Whom the buffer knows: rollouts with what they were granted, and clients that talk nonsense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rljob.buffer.limiter import distribute
from rljob.plan import ACTOR_WINDOW
from rljob.wire.delivery import Receiver
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
class Actor:
    """What the buffer knows of one rollout.

    Attributes:
        granted: segments of this epoch that it may send, absolute.
        owed: whether it waits for an answer.
        waiting: share of its time that it last said to wait for credit.
        turn: when it was last granted something, among all grants.
    """

    client: bytes
    receiver: Receiver
    last_seen: float
    granted: int = 0
    owed: bool = True
    waiting: float = 0.0
    turn: int = 0

    @property
    def outstanding(self) -> int:
        return max(0, self.granted - self.receiver.count)

    def granted_before(self, segments: int) -> None:
        """Take over credit that it says it has; no more than is ever granted ahead."""
        self.granted = max(self.granted, min(segments, self.receiver.count + ACTOR_WINDOW))


@dataclass
class Rollouts:
    """Those that have said HELLO, by number."""

    actors: dict[int, Actor] = field(default_factory=dict)
    _turns: int = 0

    def known(self, number: int, client: bytes, epoch: int) -> Actor | None:
        """The rollout, if it has said HELLO under this number and name and in this epoch."""
        actor = self.actors.get(number)
        if actor is None or (actor.client, actor.receiver.epoch) != (client, epoch):
            return None
        return actor

    def live(self, now: float) -> dict[int, Actor]:
        """Rollouts that said something lately."""
        return {
            number: actor
            for number, actor in self.actors.items()
            if now - actor.last_seen < SILENT_AFTER
        }

    def forget(self, now: float) -> None:
        """Drop those that have long been silent."""
        gone = [n for n, actor in self.actors.items() if now - actor.last_seen > FORGET_AFTER]
        for number in gone:
            del self.actors[number]

    def share(self, room: Callable[[int], int], now: float) -> int:
        """Grant what there is room for; returns the segments that are granted and have not arrived.

        Args:
            room: how many may be granted beyond so many.
        """
        live = {number: actor.outstanding for number, actor in self.live(now).items()}
        outstanding = sum(live.values())
        free = room(outstanding)
        if free > 0:
            # Whoever has waited longest comes first; else, with little room, it would always be the same.
            live = dict(sorted(live.items(), key=lambda item: self.actors[item[0]].turn))
        for number, more in distribute(free, live).items():
            actor = self.actors[number]
            self._turns += 1
            actor.granted, actor.owed, actor.turn = actor.granted + more, True, self._turns
            outstanding += more
        return outstanding


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
class Status:
    """What a rollout says of itself: its share of time without credit, and whether these are its last
    words."""

    waiting: float
    leaving: bool

    @classmethod
    def read(cls, payload: memoryview) -> Status:
        """Raises Rejected for what a rollout would not say."""
        value = decode_json(payload)
        waiting, leaving = value.get("waiting", 0.0), value.get("leaving", False)
        if type(waiting) not in (int, float) or not 0 <= waiting <= 1:
            raise Rejected("json", "waiting is a number from 0 to 1")
        if type(leaving) is not bool:
            raise Rejected("json", "leaving is true or false")
        return cls(float(waiting), leaving)
