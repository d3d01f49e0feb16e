"""Delivery of experience: credit, acknowledgement, retransmission and de-duplication.

Pure state machines; the clock is an argument. The wire is at-least-once, the effect exactly-once:

* a `Sender` may have at most `limit` bytes of first transmissions behind it, an absolute number that
  only grows, so that a lost or repeated grant does no harm;
* every unacknowledged message has its own age and is sent again when *it* is old. (A timer on "no
  acknowledgement at all" starves: one live message keeps it from firing for the lost ones.)
* a `Receiver` accepts each (epoch, seq) once. It is asked before storing and told after, so that what
  was not stored is never acknowledged.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

WINDOW = 64
"""Positions beyond the first missing one that a receiver tracks; a sender never runs further ahead."""


@dataclass
class Sender:
    """The producer's side of one stream.

    Args:
        retransmit_after: seconds after which an unacknowledged message is sent again.
    """

    retransmit_after: float = 1.0
    next_seq: int = 0
    sent_bytes: int = 0
    limit: int = 0
    retransmits: int = 0
    _unacked: dict[int, float] = field(default_factory=dict)

    def may_send(self, size: int) -> bool:
        """Whether a new message of `size` bytes stays within the credit and the window."""
        lowest = next(iter(self._unacked), self.next_seq)
        return self.sent_bytes + size <= self.limit and self.next_seq - lowest < WINDOW

    def send(self, size: int, now: float) -> int:
        """Account for a new message and return its seq; the caller keeps it until it is acked."""
        assert self.may_send(size)
        seq = self.next_seq
        self.next_seq += 1
        self.sent_bytes += size
        self._unacked[seq] = now
        return seq

    def granted(self, ack: int, bits: int, limit: int) -> list[int]:
        """Take a grant; returns the seqs that it newly acknowledges, which may be forgotten."""
        self.limit = max(self.limit, limit)
        done = [
            seq for seq in self._unacked if seq < ack or (seq > ack and bits >> (seq - ack - 1) & 1)
        ]
        for seq in done:
            del self._unacked[seq]
        return done

    def due(self, now: float) -> list[int]:
        """The seqs to send again now; their age starts anew."""
        return self._again(
            [seq for seq, at in self._unacked.items() if now - at >= self.retransmit_after], now
        )

    def all_due(self, now: float) -> list[int]:
        """Every unacknowledged seq, whatever its age: the receiver was restarted."""
        return self._again(list(self._unacked), now)

    def confirmed(self) -> tuple[int, int]:
        """All that was acknowledged, as the `ack` and `bits` of a grant."""
        ack = next(iter(self._unacked), self.next_seq)
        later = (seq for seq in range(ack + 1, self.next_seq) if seq not in self._unacked)
        return ack, sum(1 << (seq - ack - 1) for seq in later)

    @property
    def unacked(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._unacked)

    def _again(self, seqs: list[int], now: float) -> list[int]:
        for seq in seqs:
            self._unacked[seq] = now
        self.retransmits += len(seqs)
        return seqs


class DeliveryVerdict(enum.Enum):
    """What a receiver says of one message before it is stored."""

    NEW = "new"
    DUPLICATE = "duplicate"
    STALE = "stale"
    """From an epoch that a newer one has replaced: the sender was restarted meanwhile."""
    BEYOND = "beyond"
    """Further ahead than `WINDOW`: cannot be tracked, is neither stored nor acknowledged."""


@dataclass
class Receiver:
    """The storing side of one stream: what has arrived of the newest epoch of one sender.

    `ack` positions from 0 have all arrived; bit `i` of `bits` says that `ack + 1 + i` has, too.
    (Position `ack` itself has not, or it would have been counted into `ack`.)
    """

    epoch: int = 0
    ack: int = 0
    bits: int = 0

    def check(self, epoch: int, seq: int) -> DeliveryVerdict:
        """Judge a message; changes nothing."""
        if epoch < self.epoch:
            return DeliveryVerdict.STALE
        ack, bits = (self.ack, self.bits) if epoch == self.epoch else (0, 0)
        if seq < ack or (seq > ack and bits >> (seq - ack - 1) & 1):
            return DeliveryVerdict.DUPLICATE
        return DeliveryVerdict.NEW if seq <= ack + WINDOW else DeliveryVerdict.BEYOND

    def commit(self, epoch: int, seq: int) -> None:
        """Record a message that was judged NEW and has been stored."""
        self.begin(epoch)
        self._advance(self.ack, self.bits << 1 | 1 << (seq - self.ack))

    def learn(self, epoch: int, ack: int, bits: int) -> None:
        """Take over what a sender says was acknowledged, by a life of ours that has lost its record.

        Without it the sender's next message would be `BEYOND` for ever.
        """
        self.begin(epoch)
        base = max(self.ack, ack)
        ours, theirs = self.bits << 1 >> (base - self.ack), bits << 1 >> (base - ack)
        self._advance(base, ours | theirs)

    def begin(self, epoch: int) -> None:
        """Start a newer epoch with nothing received; older or equal ones change nothing."""
        if epoch > self.epoch:
            self.epoch, self.ack, self.bits = epoch, 0, 0

    def _advance(self, base: int, arrived: int) -> None:
        # Bit i of `arrived` stands for position `base + i`.
        while arrived & 1:
            base += 1
            arrived >>= 1
        self.ack, self.bits = base, arrived >> 1

    @property
    def count(self) -> int:
        """Messages received in this epoch."""
        return self.ack + self.bits.bit_count()
