"""Advantages against numbers computed by hand, gamma = 0.5 and lambda = 0.5 unless said."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.gae import gae

T, F = True, False


def advantages(
    reward: list[float],
    value: list[float],
    terminated: list[bool] | None = None,
    truncated: list[bool] | None = None,
    valid: list[bool] | None = None,
    gae_lambda: float = 0.5,
) -> list[float]:
    """One environment."""
    n = len(reward)
    result = gae(
        np.array(reward, np.float32)[:, None],
        np.array(value, np.float32)[:, None],
        np.array(terminated or [F] * n)[:, None],
        np.array(truncated or [F] * n)[:, None],
        np.array(valid or [T] * n)[:, None],
        gamma=0.5,
        gae_lambda=gae_lambda,
    )
    assert result.dtype == np.float32
    return [float(each) for each in result[:, 0]]


def test_a_segment_that_cuts_an_episode_goes_on_with_the_last_value() -> None:
    # delta = 1 + 4/2 - 2 = 1;  2 + 6/2 - 4 = 1;  3 + 8/2 - 6 = 1
    # A = 1 + (1 + 1/4)/4 = 1.3125;  1 + 1/4 = 1.25;  1
    assert advantages([1, 2, 3], [2, 4, 6, 8]) == pytest.approx([1.3125, 1.25, 1])


def test_a_terminated_episode_has_no_value_afterwards() -> None:
    # delta_1 = 2 + 0 - 4 = -2, and row 2 starts anew: 3 + 8/2 - 6 = 1
    found = advantages([1, 2, 3], [2, 4, 6, 8], terminated=[F, T, F])
    assert found == pytest.approx([1 - 2 / 4, -2, 1])


def test_a_truncated_episode_goes_on_with_the_value_of_its_final_observation() -> None:
    # Row 1 is truncated: delta_1 = 2 + 6/2 - 4 = 1. Row 2 only resets. Row 3: 5 + 4/2 - 10 = -3.
    found = advantages([1, 2, 99, 5], [2, 4, 6, 10, 4], truncated=[F, T, F, F], valid=[T, T, F, T])
    assert found == pytest.approx([1 + 1 / 4, 1, 0, -3])


def test_no_sum_crosses_a_truncation_even_without_a_row_that_resets() -> None:
    assert advantages([1, 2, 3], [2, 4, 6, 8], truncated=[F, T, F]) == pytest.approx([1.25, 1, 1])


def test_lambda_0_is_one_step_and_lambda_1_is_monte_carlo() -> None:
    assert advantages([1, 2, 3], [2, 4, 6, 8], gae_lambda=0) == pytest.approx([1, 1, 1])
    # 1 + 2/2 + 3/4 + 8/8 - 2 = 1.75
    assert advantages([1, 2, 3], [2, 4, 6, 8], gae_lambda=1)[0] == pytest.approx(1.75)


def test_environments_do_not_mix() -> None:
    rng = np.random.default_rng(0)
    reward = rng.standard_normal((6, 3), dtype=np.float32)
    value = rng.standard_normal((7, 3), dtype=np.float32)
    done = rng.random((6, 3)) < 0.3
    none, every = np.zeros((6, 3), bool), np.ones((6, 3), bool)
    together = gae(reward, value, done, none, every, gamma=0.9, gae_lambda=0.8)
    for i in range(3):
        alone = gae(
            reward[:, i : i + 1],
            value[:, i : i + 1],
            done[:, i : i + 1],
            none[:, :1],
            every[:, :1],
            gamma=0.9,
            gae_lambda=0.8,
        )
        np.testing.assert_array_equal(together[:, i : i + 1], alone)
