"""Rows drawn by rank: exact ranks after any changes, and chances as the formulas say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from rljob.roles.buffer.arena import Arena
from rljob.roles.buffer.drawing import make_drawing
from rljob.roles.buffer.replay import ReplayStore, data_bytes
from rljob.spec.experience import Weighting
from rljob.wire.arrays import unpack
from tests.unit.experience import make_layout

ROWS = 60
RANKS = pytest.mark.parametrize("weighting", ["rank", "linearRank"])


def expected(priorities: np.ndarray, weighting: Weighting, exponent: float) -> np.ndarray:
    """Chances of all rows, by sorting them one by one."""
    order = sorted(np.flatnonzero(priorities), key=lambda row: (-priorities[row], row))
    count, weights = len(order), np.zeros(len(priorities))
    for rank, row in enumerate(order, 1):
        inverse, linear = rank**-exponent, 1 + exponent * (count - rank)
        weights[row] = {"rank": inverse, "linearRank": linear}.get(
            weighting, priorities[row] ** exponent
        )
    found: np.ndarray = weights / weights.sum()
    return found


@pytest.mark.parametrize("exponent", [0.3, 1.0])
@pytest.mark.parametrize("weighting", ["proportional", "rank", "linearRank"])
def test_chances_follow_from_the_priorities_after_any_changes(
    weighting: Weighting, exponent: float
) -> None:
    rng = np.random.default_rng(1)
    drawing, priorities = make_drawing(ROWS, weighting, exponent), np.zeros(ROWS, np.float32)
    for size in (5, 30, 60, 3, 17):
        rows = rng.integers(0, ROWS, size)
        # Equal priorities, and rows that are not drawn any more.
        for row, value in zip(rows, rng.integers(0, 9, size) / 4, strict=True):
            priorities[row] = value
        drawing.set(rows, priorities[rows])
        chances = expected(priorities, weighting, exponent)
        drawable = np.flatnonzero(priorities)
        np.testing.assert_allclose(drawing.chances(drawable), chances[drawable], rtol=1e-6)
        counts = np.bincount(drawing.draw(20_000, rng), minlength=ROWS)
        assert not counts[priorities == 0].any()
        mean = 20_000 * chances[drawable]
        chi_square = float(((counts[drawable] - mean) ** 2 / mean).sum())
        # Mean n - 1, deviation sqrt(2 n): four deviations.
        assert chi_square < len(drawable) - 1 + 4 * np.sqrt(2 * len(drawable))


@RANKS
def test_one_row_and_extreme_priorities(weighting: Weighting) -> None:
    drawing, rng = make_drawing(4, weighting, 0.6), np.random.default_rng(0)
    drawing.set(np.array([2]), np.array([1e-30]))
    assert (drawing.draw(50, rng) == 2).all()
    assert drawing.chances(np.array([2])) == pytest.approx([1])
    drawing.set(np.array([0, 3]), np.array([1e30, 1.0]))
    chances = drawing.chances(np.array([0, 3, 2]))
    assert (np.diff(chances) < 0).all()


@RANKS
def test_a_store_that_is_opened_again_draws_the_same(weighting: Weighting, tmp_path: Path) -> None:
    layout = make_layout(5, 3)
    size, rng = data_bytes(layout, 4, 0.6), np.random.default_rng(3)
    arena = Arena.create(tmp_path / "arena", {}, 4, size)
    store = ReplayStore(arena, layout, 0.6, weighting=weighting)
    for number in range(6):
        _, arrays = layout.allocate()
        arrays["valid"][...] = rng.random((5, 3)) < 0.8
        store.put(arrays, (1, 1, number), (7, number), 0.0)
        batch = unpack(store.sample(1, 20, rng, 0.0).payload.data)
        store.reprioritise(batch["key"][0], rng.random(20).astype(np.float32))
    # A copy, as of a checkpoint: both go on alone.
    shutil.copyfile(tmp_path / "arena", tmp_path / "copy")
    copied = Arena.open(tmp_path / "copy")
    assert copied is not None
    again = ReplayStore(copied, layout, 0.6, weighting=weighting)
    for seed in range(3):
        once, other = (
            unpack(each.sample(2, 30, np.random.default_rng(seed), 0.0).payload.data)
            for each in (store, again)
        )
        for name, array in once.items():
            np.testing.assert_array_equal(array, other[name])
