"""When a dead role is started again."""

from __future__ import annotations

from rljob.local.restarts import FIRST_DELAY, LONGEST_DELAY, Restarts, RunPosition


def test_delays_double_up_to_the_longest() -> None:
    restarts = Restarts(most=8, window=60.0)
    delays = [restarts.died(RunPosition(), now=float(index)).delay for index in range(8)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert delays[0] == FIRST_DELAY
    assert delays[-1] == LONGEST_DELAY
    assert restarts.attempt == 8


def test_too_many_deaths_without_progress_are_a_crash_loop() -> None:
    restarts = Restarts(most=2, window=60.0)
    verdicts = [restarts.died(RunPosition(5), now=float(index)) for index in range(3)]
    assert [verdict.delay is None for verdict in verdicts] == [False, False, True]
    assert verdicts[-1].deaths == 3
    assert restarts.attempt == 2


def test_progress_since_the_last_death_forgives_it() -> None:
    restarts = Restarts(most=1, window=None)
    for index in range(10):
        assert restarts.died(RunPosition(steps=index + 1), now=float(index)).delay == FIRST_DELAY
    assert restarts.died(RunPosition(steps=10), now=10.0).delay is None


def test_a_new_checkpoint_is_progress() -> None:
    restarts = Restarts(most=1, window=None)
    assert restarts.died(RunPosition(100, checkpoint=3), now=0.0).delay is not None
    assert restarts.died(RunPosition(100, checkpoint=4), now=1.0).delay is not None
    assert restarts.died(RunPosition(100, checkpoint=4), now=2.0).delay is None


def test_a_resumed_learner_that_is_still_behind_made_no_progress() -> None:
    reached = RunPosition(100, 7)
    assert reached.furthest(RunPosition(40, 7)) == reached
    assert not RunPosition(40, 7).furthest(reached).beyond(reached)
    assert RunPosition(101, 7).beyond(reached)


def test_a_death_long_after_the_last_one_is_the_first_again() -> None:
    restarts = Restarts(most=1, window=60.0)
    assert [restarts.died(RunPosition(), now).delay for now in (0.0, 61.0, 122.0)] == [0.2] * 3
    assert restarts.died(RunPosition(), 182.0).delay is None


def test_without_a_window_time_forgives_nothing() -> None:
    restarts = Restarts(most=1, window=None)
    assert restarts.died(RunPosition(), 0.0).delay is not None
    assert restarts.died(RunPosition(), 1e6).delay is None


def test_no_restart_at_all() -> None:
    assert Restarts(most=0, window=None).died(RunPosition(10), 0.0).delay is None
