"""The loss of QRDQN and IQN by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.quantile_regression import midpoints, quantile_huber_loss


def test_quantile_huber_loss_by_hand() -> None:
    # Levels 1/4 and 3/4, threshold 1. Errors of the first 0.5 and 2.5: Huber 0.125 and 2, both times 1/4. Of the
    # second -1 and 1: Huber 0.5 and 0.5, times 1/4 below and 3/4 above.
    quantiles, target = np.array([[0, 1.5]], np.float32), np.array([[0.5, 2.5]], np.float32)
    levels = midpoints(2)
    assert levels.tolist() == [0.25, 0.75]
    found = quantile_huber_loss(quantiles, levels, target, 1.0, None)
    first, second = (0.125 + 2.0) / 4 / 2, (0.5 / 4 + 0.5 * 3 / 4) / 2
    assert found.total == pytest.approx(first + second)
    assert found.each.tolist() == pytest.approx([first + second])
    slopes = [-(0.5 + 1) / 4 / 2, -(-1 / 4 + 3 / 4) / 2]
    assert found.by_quantile[0].tolist() == pytest.approx(slopes)
    # Threshold 2: below it u² / 4 with slope u / 2.
    wide = quantile_huber_loss(quantiles, levels, target, 2.0, None)
    assert wide.total == pytest.approx((0.25 / 4 + 1.5) / 4 / 2 + (1 / 4 / 4 + 3 / 4 / 4) / 2)
    # No threshold: quantile regression.
    sharp = quantile_huber_loss(quantiles, levels, target, 0.0, np.array([0.5], np.float32))
    assert sharp.total == pytest.approx(0.5 * ((0.5 + 2.5) / 4 / 2 + (1 / 4 + 3 / 4) / 2))
    assert sharp.by_quantile[0].tolist() == pytest.approx([-0.5 / 4, -0.5 * 0.5 / 2])
    assert sharp.by_quantile.dtype == np.float32


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_the_derivative_is_that_of_the_loss(threshold: float) -> None:
    rng = np.random.default_rng(0)
    quantiles, target = (rng.normal(size=(3, size)).astype(np.float32) for size in (5, 4))
    weight = np.array([1, 0.5, 0.2], np.float32)
    # Levels of each transition's own.
    levels = rng.random((3, 5), np.float32)
    found = quantile_huber_loss(quantiles, levels, target, threshold, weight).by_quantile
    for b, i in np.ndindex(quantiles.shape):
        step = 1e-3
        more, less = quantiles.copy(), quantiles.copy()
        more[b, i] += step
        less[b, i] -= step
        rise, fall = (
            quantile_huber_loss(each, levels, target, threshold, weight).total
            for each in (more, less)
        )
        assert found[b, i] == pytest.approx((rise - fall) / (2 * step), abs=2e-3)


def test_quantiles_of_a_sample_are_found_by_descent() -> None:
    """The minimum for a uniform sample from 0 to 1 is the middle of each share."""
    target = ((np.arange(1000, dtype=np.float32) + 0.5) / 1000)[None]
    quantiles = np.zeros((1, 4), np.float32)
    for _ in range(400):
        quantiles -= (
            0.05 * quantile_huber_loss(quantiles, midpoints(4), target, 0.0, None).by_quantile
        )
    np.testing.assert_allclose(quantiles[0], [0.125, 0.375, 0.625, 0.875], atol=0.01)
