"""Which segments a learner has trained on, as it keeps them in checkpoints and tells the buffer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rljob.wire.delivery import WINDOW, DeliveryVerdict, Receiver
from rljob.wire.messages import Rejected

Origin = tuple[int, int, int]
"""A segment's (actor, epoch, seq)."""
MOST_ACTORS = 8192
"""Actors in a watermark. New rollouts have new names; the last segment of one that so many others have
followed was confirmed long ago."""


@dataclass
class Watermark:
    """Trained segments of the newest epoch of each actor; older epochs count as done.

    Segments of one actor come in any order and with gaps, for the buffer may have evicted some. The
    mark moves along so that it always covers the newest `WINDOW` positions; what lies below counts as
    done. (No rollout has nearly as many segments on their way at once.)

    Attributes:
        actors: the one whose segment was recorded last comes last.
    """

    actors: dict[int, Receiver] = field(default_factory=dict)

    def take(self, actor: int, epoch: int, seq: int) -> bool:
        """Record a segment; False when it was recorded before."""
        if self.has(actor, epoch, seq):
            return False
        receiver = self.actors[actor] = self.actors.pop(actor, Receiver())
        if len(self.actors) > MOST_ACTORS:
            del self.actors[next(iter(self.actors))]
        receiver.learn(epoch, max(0, seq - WINDOW), 0)
        receiver.commit(epoch, seq)
        return True

    def has(self, actor: int, epoch: int, seq: int) -> bool:
        """Whether a segment was recorded, or is older than what the mark covers."""
        receiver = self.actors.get(actor)
        if receiver is None:
            return False
        return receiver.check(epoch, seq) in (DeliveryVerdict.DUPLICATE, DeliveryVerdict.STALE)

    def to_json(self) -> list[list[int]]:
        return [[a, r.epoch, r.ack, r.bits] for a, r in self.actors.items()]

    @classmethod
    def from_json(cls, value: Any) -> Watermark:
        """Raises Rejected for anything that `to_json` would not have made."""
        rows = numbers(value, 4)
        return cls({actor: Receiver(epoch, ack, bits) for actor, epoch, ack, bits in rows})


def numbers(value: Any, width: int) -> list[list[int]]:
    """A JSON list of rows of `width` unsigned 64-bit numbers; raises Rejected for anything else."""
    if not isinstance(value, list):
        raise Rejected("json", f"{str(value)[:80]} is not a list")
    for row in value:
        whole = isinstance(row, list) and all(type(n) is int and 0 <= n < 2**64 for n in row)
        if not whole or len(row) != width:
            raise Rejected("json", f"{str(row)[:80]} is not a row of {width} unsigned numbers")
    return value
