"""The sums that a buffer keeps of its rollouts, against sums made anew."""

from __future__ import annotations

import random

from rljob.roles.buffer.rollouts import FORGET_AFTER, SILENT_AFTER, ConnectedRollout, Rollouts
from rljob.wire.delivery import Receiver


def check(rollouts: Rollouts, now: float) -> None:
    live = {n: a for n, a in rollouts.actors.items() if now - a.last_seen < SILENT_AFTER}
    assert dict(rollouts.live(now)) == live
    assert rollouts.outstanding(now) == sum(actor.outstanding for actor in live.values())
    mean = sum(actor.waiting for actor in live.values()) / max(1, len(live))
    assert abs(rollouts.waiting(now) - mean) < 1e-6
    assert all(now - actor.last_seen < FORGET_AFTER for actor in rollouts.actors.values())
    assert rollouts.pending_grants.keys() <= rollouts.actors.keys()


def test_sums_stay_right_whatever_rollouts_do() -> None:
    chance, rollouts, now = random.Random(0), Rollouts(), 0.0
    for _ in range(5000):
        now += chance.choice((0.01, 0.3, 2.0))
        number = chance.randrange(12)
        actor = rollouts.actors.get(number)
        what = chance.random()
        if actor is None or what < 0.05:
            rollouts.welcome(number, ConnectedRollout(b"", Receiver(), now, chance.randrange(3)))
        elif what < 0.1:
            rollouts.leave(number)
        elif what < 0.8:
            rollouts.heard(number, actor, now)
            actor.waiting = chance.random()
            actor.receiver.commit(0, actor.receiver.ack)
            rollouts.changed(number)
        else:
            rollouts.share(lambda granted: 20 - granted, now)
        if chance.random() < 0.2:
            rollouts.pending_grants.clear()
        check(rollouts, now)


def test_those_that_were_granted_longest_ago_come_first() -> None:
    rollouts = Rollouts()
    for number in range(4):
        rollouts.welcome(number, ConnectedRollout(b"", Receiver(), 0.0))
    turns = []
    for _ in range(8):
        rollouts.pending_grants.clear()
        rollouts.share(lambda granted: 1, 0.0)
        turns.extend(rollouts.pending_grants)
    assert turns == [0, 1, 2, 3] * 2


def test_one_that_is_forgotten_is_owed_nothing() -> None:
    rollouts = Rollouts()
    rollouts.welcome(1, ConnectedRollout(b"", Receiver(), 0.0, 2))
    rollouts.live(FORGET_AFTER + 1)
    assert not rollouts.actors
    assert not rollouts.pending_grants
    assert rollouts.outstanding(FORGET_AFTER + 1) == 0
