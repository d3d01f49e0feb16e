"""Noise for exploration: its statistics, and where it starts anew."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.noise import GaussianNoise, OrnsteinUhlenbeckNoise, make_noise

STEPS, ENVS, REVERSION = 400, 500, 0.15
NEVER = np.zeros(ENVS, bool)


def drawn(noise: GaussianNoise | OrnsteinUhlenbeckNoise) -> np.ndarray:
    """`[STEPS, ENVS, 2]`, within one episode."""
    return np.stack([noise.draw(NEVER) for _ in range(STEPS)])


def correlation(rows: np.ndarray, apart: int) -> float:
    """Of noise with so many steps between."""
    return float(np.corrcoef(rows[:-apart].ravel(), rows[apart:].ravel())[0, 1])


def test_gaussian_noise_is_standard_normal_and_independent() -> None:
    rows = drawn(GaussianNoise(np.random.default_rng(0), (ENVS, 2)))

    assert rows.shape == (STEPS, ENVS, 2)
    assert rows.dtype == np.float32
    assert rows.mean() == pytest.approx(0, abs=0.01)
    assert rows.std() == pytest.approx(1, abs=0.01)
    assert correlation(rows, 1) == pytest.approx(0, abs=0.01)


def test_ornstein_uhlenbeck_noise_is_like_that_of_the_steps_before() -> None:
    rows = drawn(OrnsteinUhlenbeckNoise(np.random.default_rng(0), (ENVS, 2), REVERSION))
    late = rows[50:]

    assert rows.dtype == np.float32
    assert late.mean() == pytest.approx(0, abs=0.03)
    assert late.std() == pytest.approx((1 - (1 - REVERSION) ** 2) ** -0.5, abs=0.03)
    for apart in (1, 3, 10):
        assert correlation(late, apart) == pytest.approx((1 - REVERSION) ** apart, abs=0.02)
    # Neither numbers of one action nor environments share their noise.
    assert np.corrcoef(late[..., 0].ravel(), late[..., 1].ravel())[0, 1] == pytest.approx(
        0, abs=0.03
    )
    assert np.corrcoef(late[:, 0, 0], late[:, 1, 0])[0, 1] == pytest.approx(0, abs=0.6)


def test_ornstein_uhlenbeck_noise_returns_to_0() -> None:
    noise = OrnsteinUhlenbeckNoise(np.random.default_rng(0), (ENVS, 2), REVERSION)
    rows = drawn(noise)
    far = rows[:-1] > 3

    change = (rows[1:] - rows[:-1])[far]

    assert change.mean() == pytest.approx(-REVERSION * rows[:-1][far].mean(), abs=0.02)


def test_it_starts_anew_only_where_an_episode_begins() -> None:
    noises = [OrnsteinUhlenbeckNoise(np.random.default_rng(0), (4, 1), REVERSION) for _ in range(2)]
    begins = np.array([False, True, False, True])
    for noise in noises:
        for _ in range(20):
            before = noise.draw(np.zeros(4, bool))
    on, anew = noises[0].draw(np.zeros(4, bool)), noises[1].draw(begins)

    np.testing.assert_array_equal(on[~begins], anew[~begins])
    np.testing.assert_allclose(
        on[begins] - anew[begins], (1 - REVERSION) * before[begins], rtol=1e-5, atol=1e-6
    )


def test_the_kind_is_that_of_the_setting() -> None:
    rng = np.random.default_rng(0)
    assert isinstance(make_noise("gaussian", rng, (1, 1), REVERSION), GaussianNoise)
    assert isinstance(
        make_noise("ornsteinUhlenbeck", rng, (1, 1), REVERSION), OrnsteinUhlenbeckNoise
    )
