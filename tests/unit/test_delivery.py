"""Delivery: small examples, and a world that loses, repeats, reorders, freezes and restarts."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rljob.wire.delivery import WINDOW, DeliveryVerdict, Receiver, Sender
from tests.vectors import PATH

# -- the receiver --------------------------------------------------------------------------------


def test_the_steps_of_the_vectors() -> None:
    receiver = Receiver()
    for step in json.loads(PATH.read_text())["delivery"]:
        epoch, seq = step["arrives"]
        verdict = receiver.check(epoch, seq)
        assert verdict.value == step["verdict"]
        if verdict is DeliveryVerdict.NEW:
            receiver.commit(epoch, seq)
        state = {"epoch": receiver.epoch, "ack": receiver.ack, "bits": receiver.bits}
        assert state == {name: step[name] for name in state}


def arrived(receiver: Receiver) -> set[int]:
    """The positions that a receiver says have arrived."""
    later = {receiver.ack + 1 + i for i in range(70) if receiver.bits >> i & 1}
    return set(range(receiver.ack)) | later


@given(st.lists(st.integers(0, 150), max_size=200))
def test_a_receiver_is_a_set_within_a_window(seqs: list[int]) -> None:
    receiver, model = Receiver(epoch=1), set[int]()
    for seq in seqs:
        missing = next(i for i in range(200) if i not in model)
        expected = DeliveryVerdict.NEW
        if seq in model:
            expected = DeliveryVerdict.DUPLICATE
        elif seq > missing + WINDOW:
            expected = DeliveryVerdict.BEYOND
        assert receiver.check(1, seq) is expected
        if expected is DeliveryVerdict.NEW:
            receiver.commit(1, seq)
            model.add(seq)
        assert arrived(receiver) == model
        assert receiver.count == len(model)
        assert receiver.bits < 2**64


POSITIONS = st.sets(st.integers(0, 60))


@given(POSITIONS, POSITIONS, st.integers(0, 2**62))
def test_what_a_sender_says_is_added_to_what_is_known(
    ours: set[int], theirs: set[int], base: int
) -> None:
    receiver, other = Receiver(epoch=1, ack=base), Receiver(epoch=1, ack=base)
    for known, positions in ((receiver, ours), (other, theirs)):
        for position in sorted(positions):
            known.commit(1, base + position)
    receiver.learn(1, other.ack, other.bits)
    assert {p - base for p in range(base, base + 130) if has(receiver, p)} == ours | theirs


def has(receiver: Receiver, seq: int) -> bool:
    return receiver.check(receiver.epoch, seq) is DeliveryVerdict.DUPLICATE


def test_a_fresh_receiver_learns_any_position_at_once() -> None:
    receiver = Receiver()
    receiver.learn(3, 2**60, 0b1)
    assert (receiver.epoch, receiver.ack, receiver.bits) == (3, 2**60, 0b1)
    assert receiver.check(3, 2**60) is DeliveryVerdict.NEW
    receiver.learn(2, 5, 0)
    assert receiver.ack == 2**60, "an older epoch changes nothing"


def test_a_newer_epoch_begins_anew_and_shuts_out_the_older() -> None:
    receiver = Receiver()
    receiver.commit(1, 0)
    assert receiver.check(2, 0) is DeliveryVerdict.NEW
    receiver.begin(2)
    assert receiver.check(1, 1) is DeliveryVerdict.STALE
    assert receiver.count == 0


# -- the sender ----------------------------------------------------------------------------------


def test_credit_is_in_bytes_absolute_and_only_grows() -> None:
    sender = Sender()
    assert not sender.may_send(1)
    sender.granted(0, 0, 250)
    sender.send(100, 0)
    sender.send(100, 0)
    assert not sender.may_send(100)
    assert sender.may_send(50)
    sender.granted(2, 0, 100)
    assert sender.limit == 250
    sender.granted(2, 0, 300)
    assert sender.may_send(100)


def test_a_sender_stays_within_the_window_of_what_is_missing() -> None:
    sender = Sender(limit=10**6)
    for _ in range(WINDOW):
        sender.send(1, 0)
    assert not sender.may_send(1)
    sender.granted(0, 2**62 - 1, 0)
    assert sender.unacked == 2, "0 and 63 are missing"
    assert not sender.may_send(1)
    assert sender.granted(1, 0, 0) == [0]
    assert sender.may_send(1)


def test_each_message_has_its_own_age() -> None:
    sender = Sender(retransmit_after=1.0, limit=100)
    sender.send(1, now=0.0)
    sender.send(1, now=0.6)
    assert sender.due(0.9) == []
    assert sender.due(1.0) == [0]
    assert sender.due(1.5) == []
    assert sender.due(1.6) == [1]
    assert sender.due(2.0) == [0]
    assert sender.retransmits == 3


def test_acknowledgements_of_others_do_not_keep_a_lost_message_from_being_sent_again() -> None:
    """The trap: a timer on "no acknowledgement at all" never fires while one message is alive."""
    sender, again = Sender(retransmit_after=1.0, limit=10**6), 0
    lost = sender.send(1, now=0.0)
    for step in range(1, 40):
        now = step * 0.1
        seq = sender.send(1, now)
        again += sender.due(now).count(lost)
        sender.granted(0, (1 << seq) - 1, 0)
    assert again == 3, "at 1.0, 2.0 and 3.0 seconds"


def test_what_a_sender_knows_to_be_confirmed() -> None:
    sender = Sender(limit=100)
    assert sender.confirmed() == (0, 0)
    for _ in range(5):
        sender.send(1, 0)
    sender.granted(0, 0b0101, 0)
    assert sender.confirmed() == (0, 0b0101)
    sender.granted(4, 0, 0)
    assert sender.confirmed() == (4, 0)


def test_a_receiver_that_lost_its_record_goes_on_where_the_sender_is() -> None:
    sender, receiver = Sender(limit=10**6), Receiver(epoch=1)
    for _ in range(200):
        seq = sender.send(1, 0)
        receiver.commit(1, seq)
        sender.granted(receiver.ack, receiver.bits, 0)
    fresh = Receiver()
    assert fresh.check(1, sender.send(1, 0)) is DeliveryVerdict.BEYOND
    fresh.learn(1, *sender.confirmed())
    assert fresh.check(1, 200) is DeliveryVerdict.NEW


# -- a world -------------------------------------------------------------------------------------

SIZE = 10
AHEAD = 4
TOTAL = 150


@dataclass
class World:
    """One producer and one store; either may be killed, frozen or cut off at any moment.

    What is not in `durable` is lost with its process. `TOTAL` messages are produced in the last epoch.
    """

    rng: random.Random
    faults: bool = True
    now: float = 0.0
    to_store: list[tuple[Any, ...]] = field(default_factory=list)
    to_producer: list[tuple[Any, ...]] = field(default_factory=list)
    epoch: int = 1
    sender: Sender = field(default_factory=Sender)
    durable: Receiver = field(default_factory=Receiver)
    stored: Counter[tuple[int, int]] = field(default_factory=Counter)
    acked: set[tuple[int, int]] = field(default_factory=set)
    granted: int | None = None
    welcome: bool = False
    frozen: dict[str, float] = field(default_factory=dict)
    produced: int = 0
    resent: int = 0

    def step(self) -> None:
        self.now += self.rng.choice((0.01, 0.1, 0.4))
        if self.faults:
            self._fault()
        if self.frozen.get("producer", 0) <= self.now:
            self._produce()
        if self.frozen.get("store", 0) <= self.now:
            self._store()

    def _fault(self) -> None:
        kind = self.rng.random()
        if kind < 0.01:
            # The producer is killed: what it had not delivered is gone with it.
            self.epoch += 1
            self.sender, self.welcome, self.produced = Sender(), False, 0
        elif kind < 0.03:
            self.granted = None
        elif kind < 0.05:
            self.frozen[self.rng.choice(("producer", "store"))] = self.now + 3
        for queue in (self.to_store, self.to_producer):
            if queue and kind > 0.9:
                del queue[self.rng.randrange(len(queue)) :]
            elif queue and kind > 0.8:
                queue.append(self.rng.choice(queue))
            elif kind > 0.7:
                self.rng.shuffle(queue)

    def _produce(self) -> None:
        waiting, self.to_producer[:] = list(self.to_producer), []
        for kind, epoch, ack, bits, limit in waiting:
            if kind == "who":
                self.welcome = False
            elif kind == "welcome" and not self.welcome:
                self.welcome = True
                self._transmit(self.sender.all_due(self.now))
            elif kind == "grant" and epoch == self.epoch:
                self.acked |= {(epoch, seq) for seq in self.sender.granted(ack, bits, limit)}
        if not self.welcome:
            known = self.sender.confirmed()
            self.to_store.append(("hello", self.epoch, 0, known, self.sender.limit))
            return
        again = self.sender.due(self.now)
        self.resent += len(again)
        self._transmit(again)
        while self.produced < TOTAL and self.sender.may_send(SIZE):
            self.produced += 1
            self._transmit([self.sender.send(SIZE, self.now)])
        self.to_store.append(("status", self.epoch, 0, (0, 0), self.sender.limit))
        assert self.sender.sent_bytes <= self.sender.limit

    def _transmit(self, seqs: list[int]) -> None:
        self.to_store += [("segment", self.epoch, seq, (0, 0), 0) for seq in seqs]

    def _store(self) -> None:
        waiting, self.to_store[:] = list(self.to_store), []
        for kind, epoch, seq, known, limit in waiting:
            if kind == "hello":
                if epoch >= self.durable.epoch:
                    self.durable.learn(epoch, *known)
                    self.granted = max(self.durable.count, limit // SIZE)
                    self.to_producer.append(("welcome", epoch, 0, 0, 0))
            elif self.granted is None or epoch != self.durable.epoch:
                self.to_producer.append(("who", epoch, 0, 0, 0))
            elif kind == "segment":
                full = self.faults and self.rng.random() < 0.1
                if self.durable.check(epoch, seq) is DeliveryVerdict.NEW and not full:
                    self.stored[epoch, seq] += 1
                    self.durable.commit(epoch, seq)
            else:
                self.granted = max(self.granted, limit // SIZE)
        if self.granted is not None:
            self.granted = max(self.granted, self.durable.count + AHEAD)
            state = (self.durable.ack, self.durable.bits, self.granted * SIZE)
            self.to_producer.append(("grant", self.durable.epoch, *state))


@pytest.mark.parametrize("seed", range(40))
def test_acknowledged_is_stored_once_and_all_arrives_when_the_world_heals(seed: int) -> None:
    world = World(random.Random(seed))
    for _ in range(400):
        world.step()
        assert world.acked <= set(world.stored)
        assert max(world.stored.values(), default=1) == 1
        assert world.sender.next_seq <= world.durable.count + AHEAD + WINDOW
    world.faults = False
    for _ in range(2000):
        world.step()
        if len([1 for epoch, _ in world.acked if epoch == world.epoch]) == TOTAL:
            break
    assert {seq for epoch, seq in world.stored if epoch == world.epoch} == set(range(TOTAL))
    assert {seq for epoch, seq in world.acked if epoch == world.epoch} == set(range(TOTAL))
    assert world.sender.unacked == 0


def test_a_healthy_world_repeats_nothing() -> None:
    world = World(random.Random(0), faults=False)
    while world.sender.next_seq < TOTAL or world.sender.unacked:
        world.step()
    assert world.resent == 0
    assert sum(world.stored.values()) == TOTAL
