"""C51's projection and loss by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.base import Progress
from rljob.algorithms.built_in.c51 import categorical_loss, project
from tests.unit.segments import make_algorithm, make_learner, replay_batch

SUPPORT = np.array([-1, 0, 1], np.float32)


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        # On the atoms themselves.
        ([-1, 0, 1], [0.2, 0.3, 0.5]),
        # Half-way, and a quarter of the way from one atom to the next.
        ([-0.5, 0, 1], [0.1, 0.1 + 0.3, 0.5]),
        ([-1, 0.25, 1], [0.2, 0.3 * 0.75, 0.5 + 0.3 * 0.25]),
        # Beyond the ends.
        ([-7, -1.5, 9], [0.2 + 0.3, 0, 0.5]),
        # Terminated: everything is at the reward.
        ([0.25, 0.25, 0.25], [0, 0.75, 0.25]),
        ([1, 1, 1], [0, 0, 1]),
        ([5, 5, 5], [0, 0, 1]),
    ],
    ids=str,
)
def test_projection_by_hand(returns: list[float], expected: list[float]) -> None:
    probability = np.array([[0.2, 0.3, 0.5], [1, 0, 0]], np.float32)
    moved = np.array([returns, [0, 0, 0]], np.float32)
    found = project(probability, moved, SUPPORT)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array([expected, [0.0, 1.0, 0.0]]), atol=1e-6)


def test_projection_keeps_the_mass_and_between_the_ends_the_mean() -> None:
    rng = np.random.default_rng(0)
    support = np.linspace(-7, 13, 51, dtype=np.float32)
    probability = rng.dirichlet(np.full(51, 0.3), 1000).astype(np.float32)
    returns = (rng.uniform(-0.4, 0.5, (1000, 1)) + 0.9 * support).astype(np.float32)
    inside = project(probability, returns, support)
    np.testing.assert_allclose(inside.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(inside @ support, (probability * returns).sum(-1), atol=1e-4)
    anywhere = project(probability, rng.normal(0, 30, (1000, 51)).astype(np.float32), support)
    np.testing.assert_allclose(anywhere.sum(-1), 1, rtol=1e-5)
    assert (anywhere >= 0).all()


def test_categorical_loss_by_hand() -> None:
    predicted = np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]], np.float32)
    target = np.array([[0, 1, 0], [0.5, 0.25, 0.25]], np.float32)
    entropy = 0.5 * np.log(2) + 0.5 * np.log(4)
    found = categorical_loss(np.log(predicted), target, None)
    assert found.total == pytest.approx((np.log(4) + entropy) / 2)
    assert found.divergence.tolist() == pytest.approx([np.log(4), 0], abs=1e-6)
    expected = np.array([[0.25, -0.375, 0.125], [0, 0, 0]])
    np.testing.assert_allclose(found.by_logit, expected, atol=1e-6)
    weighted = categorical_loss(np.log(predicted), target, np.array([0.5, 1], np.float32))
    assert weighted.total == pytest.approx((0.5 * np.log(4) + entropy) / 2)
    assert weighted.divergence.tolist() == found.divergence.tolist()
    np.testing.assert_allclose(weighted.by_logit, expected * 0.5, atol=1e-6)
    assert weighted.by_logit.dtype == np.float32


def test_what_is_beyond_the_atoms_is_reported() -> None:
    algorithm = make_algorithm("C51", atoms=11, valueMin=-3, valueMax=3)
    learner, _ = make_learner(algorithm)
    batch = replay_batch(algorithm, 4)
    batch["n_step_return"] = np.array([0, 3.5, -9, 2], np.float32)
    batch["n_step_discount"][:] = 0
    assert learner.update(batch, Progress(0, 0.0)).metrics["beyond_range"] == pytest.approx(0.5)
