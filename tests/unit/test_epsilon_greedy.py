"""Actions of which a share is random."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.epsilon_greedy import epsilon_greedy


def test_without_exploration_the_best_action_is_taken() -> None:
    values = np.array([[0.0, 2.0, 1.0], [3.0, 3.0, -1.0]])

    action = epsilon_greedy(values, 0.0, np.random.default_rng(0))

    assert (action.tolist(), action.dtype) == ([1, 0], np.int64)


@pytest.mark.parametrize("epsilon", [0.3, np.float32(0.3), np.full(30_000, 0.3)])
def test_a_share_of_the_actions_is_random(epsilon: float | np.ndarray) -> None:
    values = np.tile([0.0, 0.0, 1.0], (30_000, 1))

    action = epsilon_greedy(values, epsilon, np.random.default_rng(0))

    # Of the random ones a third is the best by chance.
    assert np.bincount(action) / 30_000 == pytest.approx([0.1, 0.1, 0.8], abs=0.01)


def test_each_row_may_have_a_share_of_its_own() -> None:
    values = np.tile([0.0, 1.0], (1000, 1))
    epsilon = np.repeat([0.0, 1.0], 500)

    action = epsilon_greedy(values, epsilon, np.random.default_rng(0))

    assert action[:500].all()
    assert 150 < action[500:].sum() < 350


def test_only_allowed_actions_are_taken() -> None:
    values = np.tile([3.0, 2.0, 1.0, 0.0], (30_000, 1))
    mask = np.tile([False, True, False, True], (30_000, 1))

    action = epsilon_greedy(values, 0.4, np.random.default_rng(0), mask)

    assert np.bincount(action) / 30_000 == pytest.approx([0.0, 0.8, 0.0, 0.2], abs=0.01)
