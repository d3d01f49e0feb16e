"""The model of an environment as a table: counts, what it imagines, and its state."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.table_model import TableModel


def seen_often() -> TableModel:
    """State 1 and action 2 lead to state 3 in three of four times, else to the end in state 4; 5 and 0 lead to 1."""
    model = TableModel(6, 3)
    for reward in (1.0, 2.0, 3.0):
        model.observe(1, 2, 3, reward, False)
    model.observe(1, 2, 4, -1.0, True)
    for _ in range(20):
        model.observe(5, 0, 1, 0.0, False)
    return model


def test_it_counts_what_followed() -> None:
    model = seen_often()
    rows = model.rows()
    assert len(model) == 3
    assert list(zip(rows.state, rows.action, rows.following, strict=True)) == [(1, 2, 3), (1, 2, 4), (5, 0, 1)]  # fmt: skip
    assert rows.times.tolist() == [3, 1, 20]
    assert rows.reward.tolist() == [2, -1, 0]
    assert rows.terminated.tolist() == [0, 1, 0]
    assert model.tried[1, 2] == 4
    assert model.tried.sum() == 24


def test_what_was_tried_is_imagined_equally_often_and_what_followed_as_it_was_seen() -> None:
    count = 40_000
    drawn = seen_often().draw(np.random.default_rng(1), count)
    shares = {int(each): np.mean(drawn.following == each) for each in np.unique(drawn.following)}
    assert shares == pytest.approx({1: 1 / 2, 3: 3 / 8, 4: 1 / 8}, abs=0.01)
    np.testing.assert_array_equal(drawn.terminated, drawn.following == 4)
    assert set(drawn.reward[drawn.following == 3]) == {2.0}
    assert set(drawn.state[drawn.following == 1]) == {5}


def test_an_end_is_imagined_as_often_as_it_was_seen() -> None:
    model = TableModel(2, 1)
    for ended in (True, False, False, False):
        model.observe(0, 0, 1, 0.0, ended)
    drawn = model.draw(np.random.default_rng(1), 10_000)
    assert np.mean(drawn.terminated) == pytest.approx(0.25, abs=0.02)


def test_it_grows() -> None:
    model = TableModel(1000, 2)
    for state in range(1000):
        model.observe(state, state % 2, state // 2, float(state), False)
    assert len(model) == 1000
    np.testing.assert_array_equal(model.rows().reward, np.arange(1000))


def test_a_restored_model_goes_on() -> None:
    model, other = seen_often(), TableModel(6, 3)
    model.allowed[2, 1] = False
    other.observe(0, 0, 0, 9.0, True)
    other.load_state(model.state())
    for each in (model, other):
        each.observe(1, 2, 3, 6.0, False)
        each.observe(0, 1, 2, 7.0, True)
    for one, another in zip(model.rows(), other.rows(), strict=True):
        np.testing.assert_array_equal(one, another)
    np.testing.assert_array_equal(model.tried, other.tried)
    np.testing.assert_array_equal(model.allowed, other.allowed)
    with pytest.raises(ValueError, match=r"the shape \[6, 3\], not \[6, 4\]"):
        TableModel(6, 4).load_state(model.state())


def test_masks_are_those_of_states_that_an_episode_goes_on_from() -> None:
    model = TableModel(4, 2)
    model.observe_masks({})
    assert model.allowed.all()
    model.observe_masks(
        {
            "observation": np.array([[0, 3], [1, 2], [2, 0]]),
            "mask": np.array([[[1, 0], [1, 1]], [[0, 1], [0, 0]], [[1, 0], [1, 0]]], np.bool_),
            "valid": np.array([[True, True], [True, False]]),
            "terminated": np.array([[False, True], [False, False]]),
            "truncated": np.zeros((2, 2), np.bool_),
        }
    )
    # State 2 was an end with nothing allowed in one environment, and in the other it is left next.
    assert model.allowed.tolist() == [[True, False], [False, True], [True, False], [True, True]]
