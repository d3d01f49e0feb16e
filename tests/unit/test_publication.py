"""Which policy versions are sent."""

from __future__ import annotations

from rljob.roles.learner.publish_schedule import PUBLISH_EVERY, Publication


def test_versions_that_rollouts_wait_for_are_all_sent() -> None:
    sent = Publication(awaited=True)
    for version in range(3):
        assert sent.due(version, now=5.0)
        sent.sent(version, now=5.0)
        assert not sent.due(version, now=9.0)


def test_of_others_one_in_a_while_and_the_newest_before_waiting() -> None:
    sent = Publication(awaited=False)
    assert sent.due(0, now=5.0)
    sent.sent(0, now=5.0)
    assert not sent.due(1, now=5.0 + 0.9 * PUBLISH_EVERY)
    assert sent.due(1, now=5.0 + 0.9 * PUBLISH_EVERY, idle=True)
    assert sent.due(2, now=5.0 + 1.1 * PUBLISH_EVERY)
    sent.sent(2, now=6.0)
    assert sent.published == 2
    assert not sent.due(2, now=6.0, idle=True)
