"""The steps in which a job changes its keys: no role is ever without a key that the others accept."""

from __future__ import annotations

import random

from rljob.wire.rotation import KeyOrder, KeyReport, following, lags, slowest

ROLES = 5


def steps(wanted: int) -> list[KeyOrder]:
    order, found = KeyOrder(), [KeyOrder()]
    while (order := following(order, wanted)) != found[-1]:
        found.append(order)
    return found


def test_the_new_generation_is_used_before_the_old_one_is_refused() -> None:
    assert steps(1) == [KeyOrder(1, 1)]
    assert steps(2) == [KeyOrder(1, 1), KeyOrder(1, 2), KeyOrder(2, 2)]
    assert steps(5) == [KeyOrder(1, 1), KeyOrder(1, 5), KeyOrder(5, 5)]


def test_who_lags() -> None:
    assert lags(KeyOrder(1, 1), 2, None)
    assert lags(KeyOrder(1, 1), 2, KeyReport(1, 1, 1))
    assert not lags(KeyOrder(1, 1), 2, KeyReport(2, 1, 1))
    assert lags(KeyOrder(1, 2), 2, KeyReport(2, 1, 1))
    assert not lags(KeyOrder(1, 2), 2, KeyReport(2, 2, 1))
    assert lags(KeyOrder(2, 2), 2, KeyReport(2, 2, 1))
    assert not lags(KeyOrder(2, 2), 2, KeyReport(2, 2, 2))


def test_a_role_has_done_what_its_slowest_socket_has() -> None:
    assert slowest([]) is None
    assert slowest([KeyReport(3, 2, 1), KeyReport(2, 2, 2)]) == KeyReport(2, 2, 1)


def test_any_two_roles_can_always_talk_however_late_each_one_is() -> None:
    """Roles take each order at times of their own; whoever orders asks all of them before each step."""
    rng = random.Random(1)
    for _ in range(200):
        reports = [KeyReport(1, 1, 1)] * ROLES
        order, wanted = KeyOrder(), 2
        for _ in range(200):
            late = rng.randrange(ROLES)
            # A role sees the new generation and the newest order in one look.
            reports[late] = KeyReport(wanted, order.current, order.oldest)
            for one in reports:
                for other in reports:
                    assert other.oldest <= one.current <= other.known
            if not any(lags(order, wanted, report) for report in reports):
                order = following(order, wanted)
        assert order == KeyOrder(2, 2)
        assert set(reports) == {KeyReport(2, 2, 2)}
