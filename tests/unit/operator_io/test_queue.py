"""The work queue: nothing is lost, nothing is looked at twice at once, failures are spaced."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rljob_operator.watch.queue import HOLD_SECONDS, LONGEST_RETRY_SECONDS, WorkQueue


def queue() -> WorkQueue[str]:
    return WorkQueue(lambda: 1.0)


def drain(q: WorkQueue[str], now: float) -> list[str]:
    found = []
    while (key := q.take(now)) is not None:
        found.append(key)
        q.done(key)
    return found


def test_a_key_that_waits_comes_once_and_in_turn() -> None:
    q = queue()
    for key in ("a", "b", "a"):
        q.add(key, 0.0)
    assert q.depth() == 2
    assert drain(q, 0.0) == ["a", "b"]


def test_a_key_in_hand_is_given_to_nobody_else_and_comes_again() -> None:
    q = queue()
    q.add("a", 0.0)
    assert q.take(0.0) == "a"
    q.add("a", 1.0)
    assert q.take(1.0) is None
    assert q.depth() == 1
    assert q.oldest_seconds(3.0) == 2.0
    q.done("a")
    assert drain(q, 1.0) == ["a"]


def test_later_is_not_now_and_the_earliest_counts() -> None:
    q = queue()
    q.add_later("a", 5.0)
    q.add_later("a", 3.0)
    q.add_later("a", 9.0)
    assert q.next_due() == 3.0
    assert q.take(2.9) is None
    assert drain(q, 3.0) == ["a"]
    assert q.next_due() is None


def test_who_looks_now_forgets_what_was_asked_for_later() -> None:
    q = queue()
    q.add_later("a", 5.0)
    q.add("a", 0.0)
    assert drain(q, 0.0) == ["a"]
    assert drain(q, 10.0) == []


def test_failures_are_spaced_more_and_more_and_success_forgets_them() -> None:
    q = queue()
    now, delays = 0.0, []
    for _ in range(12):
        q.add("a", now)
        key = q.take(now)
        assert key == "a"
        delays.append(q.failed("a", now))
        now += delays[-1]
    assert delays[:4] == [0.2, 0.4, 0.8, 1.6]
    assert delays[-1] == LONGEST_RETRY_SECONDS
    assert q.take(now) == "a"
    q.done("a")
    q.add("a", now)
    q.take(now)
    assert q.failed("a", now) == 0.2


def test_the_server_may_ask_for_a_longer_wait() -> None:
    q = queue()
    q.add("a", 0.0)
    q.take(0.0)
    assert q.failed("a", 0.0, at_least=7.0) == 7.0
    q.add("a", 1.0)
    assert q.take(6.9) is None
    assert q.take(7.0) == "a"


@pytest.mark.parametrize("when", ["during", "after"])
def test_what_happens_meanwhile_does_not_undo_the_delay(when: str) -> None:
    q = queue()
    for _ in range(9):
        q.add("a", 0.0)
        q.take(0.0)
        if when == "during":
            q.add("a", 0.0)
        delay = q.failed("a", 0.0)
        q._held.clear()
    assert delay > HOLD_SECONDS
    q.add("a", 100.0)
    q.take(100.0)
    if when == "during":
        q.add("a", 100.0)
    q.failed("a", 100.0)
    if when == "after":
        q.add("a", 100.0)
    assert q.take(100.0 + HOLD_SECONDS - 0.1) is None
    # But somebody who mends the job does not wait for the whole delay.
    assert q.take(100.0 + HOLD_SECONDS) == "a"


def test_jitter_spreads_over_half_of_the_delay() -> None:
    q: WorkQueue[str] = WorkQueue(lambda: 0.0)
    q.add("a", 0.0)
    q.take(0.0)
    assert q.failed("a", 0.0) == pytest.approx(0.1)


class Machine(RuleBasedStateMachine):
    """Against the simplest model: the set of keys that somebody still has to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.q = queue()
        self.now = 0.0
        self.owed: set[str] = set()
        self.in_hand: set[str] = set()

    @rule(key=st.sampled_from("abc"))
    def add(self, key: str) -> None:
        self.q.add(key, self.now)
        self.owed.add(key)

    @rule(key=st.sampled_from("abc"), delay=st.floats(0.0, 10.0))
    def add_later(self, key: str, delay: float) -> None:
        self.q.add_later(key, self.now + delay)

    @rule(seconds=st.floats(0.0, 10.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        key = self.q.take(self.now)
        if key is not None:
            assert key not in self.in_hand
            self.in_hand.add(key)
            self.owed.discard(key)

    @precondition(lambda self: self.in_hand)
    @rule(well=st.booleans(), data=st.data())
    def finish(self, well: bool, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.in_hand)))
        self.in_hand.discard(key)
        if well:
            self.q.done(key)
        else:
            self.q.failed(key, self.now)
            self.owed.add(key)

    @invariant()
    def oldest_is_no_negative_time(self) -> None:
        assert self.q.oldest_seconds(self.now) >= 0.0

    def teardown(self) -> None:
        for key in list(self.in_hand):
            self.q.done(key)
        assert self.owed <= set(drain(self.q, self.now + LONGEST_RETRY_SECONDS))


TestQueueAgainstTheModel = Machine.TestCase
