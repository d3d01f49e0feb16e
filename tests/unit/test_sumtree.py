"""Sums over a tree, against plain sums."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.roles.buffer.sumtree import SumTree


@pytest.mark.parametrize("leaves", [1, 2, 3, 7, 64, 1000])
def test_totals_and_values(leaves: int) -> None:
    rng = np.random.default_rng(leaves)
    tree, values = SumTree(leaves), np.zeros(leaves)
    for _ in range(20):
        changed = rng.integers(0, leaves, rng.integers(1, 2 * leaves + 1))
        new = rng.random(len(changed))
        tree.set(changed, new)
        for leaf, value in zip(changed, new, strict=True):
            values[leaf] = value
    np.testing.assert_array_equal(tree.get(np.arange(leaves)), values)
    assert tree.total == pytest.approx(values.sum())


def test_nothing_changes_for_no_leaves() -> None:
    tree = SumTree(5)
    tree.set(np.array([2]), np.array([3.0]))
    tree.set(np.zeros(0, np.int64), np.zeros(0))
    assert tree.total == 3.0


@pytest.mark.parametrize("leaves", [1, 2, 5, 100])
def test_a_mass_falls_where_cumulative_sums_say(leaves: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.random(leaves) * (rng.random(leaves) < 0.7)
    values[rng.integers(leaves)] = 1.0
    tree = SumTree(leaves)
    tree.set(np.arange(leaves), values)
    mass = rng.random(2000) * tree.total
    expected = np.searchsorted(np.cumsum(values), mass, side="right")
    np.testing.assert_array_equal(tree.find(mass), expected)


def test_a_mass_at_the_very_end_never_leaves_the_tree() -> None:
    """Sums are rounded, so a mass just below the total may be beyond what the last leaves hold."""
    leaves = 5
    tree = SumTree(leaves)
    tree.set(np.arange(leaves), np.array([0.1, 0.2, 0.3, 0.0, 0.0]))
    for mass in (tree.total, np.nextafter(tree.total, 0), tree.total * (1 + 1e-12)):
        assert tree.find(np.array([mass]))[0] in range(leaves)
