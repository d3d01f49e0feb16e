"""A missed change is told from one that is on its way."""

from __future__ import annotations

from rljob_operator.watch.audit import Suspicions, differences

A, B = ("ns", "a"), ("ns", "b")


def test_differences() -> None:
    known = {A: ("u", 5)}
    assert differences({A: ("u", 5)}, known) == {}
    # What we know may be newer than the list.
    assert differences({A: ("u", 4)}, known) == {}
    assert differences({A: ("u", 6)}, known) == {A: ("u", 6)}
    assert differences({A: ("other", 5)}, known) == {A: ("other", 5)}
    assert differences({A: ("u", 5), B: ("v", 1)}, known) == {B: ("v", 1)}
    assert differences({}, known) == {A: ("", 0)}


def test_only_a_difference_that_stays_is_a_missed_change() -> None:
    suspicions = Suspicions()
    suspicions.note({A: ("u", 6)}, 0.0)
    assert suspicions
    assert suspicions.older_than(10.0, 9.9) == []
    suspicions.note({A: ("u", 6)}, 10.0)
    assert suspicions.older_than(10.0, 10.0) == [A]


def test_an_object_that_changes_all_the_time_is_always_behind_and_never_missed() -> None:
    suspicions = Suspicions()
    for now in range(100):
        suspicions.note({A: ("u", now)}, float(now))
        assert suspicions.older_than(10.0, float(now)) == []


def test_a_difference_that_went_away_is_forgotten() -> None:
    suspicions = Suspicions()
    suspicions.note({A: ("u", 6)}, 0.0)
    suspicions.note({}, 5.0)
    assert not suspicions
    suspicions.note({A: ("u", 6)}, 9.0)
    assert suspicions.older_than(10.0, 12.0) == []
