"""The bandit of Agent57: every arm first, then the best of late, and one that it has not seen for long."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.bandit import SlidingWindowUCB


def bandit(arms: int, window: int, epsilon: float = 0.0, bonus: float = 1.0) -> SlidingWindowUCB:
    return SlidingWindowUCB(arms, window, epsilon, bonus, np.random.default_rng(0))


def test_every_arm_is_tried_before_any_is_preferred() -> None:
    tried, chosen = bandit(5, 50), []
    for _ in range(5):
        chosen.append(tried.choose())
        tried.add(chosen[-1], 10.0 * chosen[-1])
    assert sorted(chosen) == [0, 1, 2, 3, 4]
    assert tried.choose() == 4


def test_the_bound_is_the_mean_and_more_for_what_was_tried_seldom() -> None:
    for bonus, best in ((0.1, 0), (1.0, 1)):
        found = bandit(2, 50, bonus=bonus)
        for _ in range(9):
            found.add(0, 1.0)
        found.add(1, 0.5)
        # Bounds 1 + bonus sqrt(ln 10 / 9) and 0.5 + bonus sqrt(ln 10): 1.05 and 0.65, or 1.51 and 2.02.
        assert found.choose() == best


def test_what_has_left_the_window_is_forgotten() -> None:
    found = bandit(2, 4, bonus=0.0)
    for arm, reward in ((0, 9.0), (0, -9.0), (1, 0.0), (0, -9.0), (0, -9.0)):
        found.add(arm, reward)
    assert found.choose() == 1
    found.add(0, 5.0)
    found.add(0, 5.0)
    # Of arm 1 nothing is left.
    assert found.choose() == 1


def test_a_share_of_the_choices_is_any() -> None:
    found = bandit(4, 50, epsilon=0.4, bonus=0.0)
    for arm, reward in enumerate((0.0, 0.0, 1.0, 0.0)):
        found.add(arm, reward)
    shares = np.bincount([found.choose() for _ in range(4000)], minlength=4) / 4000
    assert shares == pytest.approx([0.1, 0.1, 0.7, 0.1], abs=0.03)
