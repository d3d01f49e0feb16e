"""What is sampled is what was inserted, uniformly or by priority, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob.roles.buffer.arena import Arena
from rljob.roles.buffer.replay import ReplayStore, Sampled, data_bytes
from rljob.spec.experience import Field
from rljob.wire.arrays import Layout, unpack
from tests.unit.experience import make_layout

LENGTH, ENVS, SLOTS = 5, 3, 6
ROWS = LENGTH * ENVS


def make(
    exponent: float = 0.0, path: Path | None = None, next_row: bool = True
) -> tuple[ReplayStore, Layout, Arena]:
    extra = {"next_row": "int32"} if next_row else {}
    plain = make_layout(LENGTH, ENVS, n_step_return="float32", **extra)
    layout = Layout((*plain.fields, Field("mask", "bool", (LENGTH + 1, ENVS, 7))))
    arena = Arena.create(path, {}, SLOTS, data_bytes(layout, SLOTS, exponent))
    return ReplayStore(arena, layout, exponent), layout, arena


def segment(layout: Layout, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random, but for marks in the first two numbers of each observation: its segment and row."""
    _, arrays = layout.allocate()
    observation = arrays["observation"]
    observation[..., 0] = number
    observation[..., 1] = np.arange(observation[..., 0].size).reshape(LENGTH + 1, ENVS)
    observation[..., 2:] = rng.random(observation[..., 2:].shape)
    arrays["action"][...] = rng.integers(0, 1000, (LENGTH, ENVS))
    for name in ("reward", "n_step_return"):
        arrays[name][...] = rng.random((LENGTH, ENVS))
    arrays["terminated"][...] = rng.random((LENGTH, ENVS)) < 0.3
    arrays["valid"][...] = rng.random((LENGTH, ENVS)) < 0.8
    arrays["valid"][0, 0] = True
    arrays["mask"][...] = rng.random((LENGTH + 1, ENVS, 7)) < 0.5
    if "next_row" in arrays:
        steps = np.arange(LENGTH, dtype=np.int32)[:, None]
        arrays["next_row"][...] = np.minimum(steps + rng.integers(1, 4, (LENGTH, ENVS)), LENGTH)
    return arrays


def fill(store: ReplayStore, layout: Layout, count: int, first: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(count)
    segments = [segment(layout, number, rng) for number in range(first, first + count)]
    for number, arrays in enumerate(segments, first):
        store.put(arrays, (1, 1, number), (7, 100 + number), 10.0 * number)
    return segments


def drawn(sampled: Sampled) -> dict[str, np.ndarray]:
    """All transitions of a delivery, `[K * B, ...]`."""
    arrays = unpack(sampled.payload.data)
    return {name: a.reshape(-1, *a.shape[2:]) for name, a in arrays.items()}


def where(batch: dict[str, np.ndarray]) -> np.ndarray:
    """(segment, step, environment) of each transition, by its marks."""
    mark = batch["observation"].astype(np.int64)
    return np.stack([mark[:, 0], mark[:, 1] // ENVS, mark[:, 1] % ENVS], axis=1)


@pytest.mark.parametrize("exponent", [0.0, 0.6])
@pytest.mark.parametrize("next_row", [False, True])
@pytest.mark.parametrize("count", [1, 3, SLOTS, 2 * SLOTS + 2])
def test_samples_are_what_was_inserted(exponent: float, next_row: bool, count: int) -> None:
    store, layout, _ = make(exponent, next_row=next_row)
    segments = fill(store, layout, count)
    batch = drawn(store.sample(4, 200, np.random.default_rng(1), 0.0))
    seen = set()
    for index, (number, step, env) in enumerate(where(batch)):
        assert number >= count - SLOTS, "an overwritten segment was sampled"
        arrays = segments[number]
        assert arrays["valid"][step, env], "a row that only resets was sampled"
        for name in ("action", "reward", "terminated", "n_step_return"):
            assert batch[name][index] == arrays[name][step, env], name
        after = arrays["next_row"][step, env] if next_row else step + 1
        for name in ("observation", "mask"):
            now, following = arrays[name][step, env], arrays[name][after, env]
            np.testing.assert_array_equal(batch[name][index], now)
            np.testing.assert_array_equal(batch[f"next_{name}"][index], following)
        seen.add((number, step, env))
    held = sum(int(arrays["valid"].sum()) for arrays in segments[-SLOTS:])
    assert store.held == held
    assert len(seen) > held * 0.9


@pytest.mark.parametrize("exponent", [0.0, 0.6])
def test_shapes_and_dtypes(exponent: float) -> None:
    store, layout, _ = make(exponent)
    fill(store, layout, 2)
    arrays = unpack(store.sample(2, 8, np.random.default_rng(0), 0.0).payload.data)
    expected = {
        "action": ("int64", (2, 8)),
        "reward": ("float32", (2, 8)),
        "terminated": ("bool", (2, 8)),
        "n_step_return": ("float32", (2, 8)),
        "observation": ("float32", (2, 8, 4)),
        "next_observation": ("float32", (2, 8, 4)),
        "mask": ("bool", (2, 8, 7)),
        "next_mask": ("bool", (2, 8, 7)),
    }
    if exponent:
        expected["key"] = ("uint64", (2, 8))
        expected["probability"] = ("float64", (2, 8))
        expected["stored"] = ("int64", (2, 8))
    assert {name: (a.dtype.name, a.shape) for name, a in arrays.items()} == expected
    other = unpack(store.sample(1, 3, np.random.default_rng(0), 0.0).payload.data)
    assert other["reward"].shape == (1, 3), "another size than the last"


def test_versions_and_ages_are_those_of_the_sampled() -> None:
    store, layout, _ = make()
    fill(store, layout, 3)
    sampled = store.sample(1, 32, np.random.default_rng(0), now=25.0)
    numbers = where(drawn(sampled))[:, 0]
    np.testing.assert_array_equal(sampled.versions, 100 + numbers)
    np.testing.assert_array_equal(sampled.ages, 25.0 - 10.0 * numbers)


def test_every_transition_is_equally_likely() -> None:
    store, layout, _ = make()
    segments = fill(store, layout, SLOTS + 2)
    batch = drawn(store.sample(10, 2000, np.random.default_rng(3), 0.0))
    _, counts = np.unique(where(batch), axis=0, return_counts=True)
    held = sum(int(arrays["valid"].sum()) for arrays in segments[2:])
    assert len(counts) == held
    expected = 20_000 / held
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    # Mean held - 1, deviation sqrt(2 held): four deviations.
    assert chi_square < held - 1 + 4 * np.sqrt(2 * held)


def test_priorities_decide_how_likely_and_the_batch_says_it() -> None:
    exponent = 0.7
    store, layout, _ = make(exponent)
    fill(store, layout, SLOTS)
    rng = np.random.default_rng(4)
    batch = drawn(store.sample(4, 2000, rng, 0.0))
    keys = np.unique(batch["key"])
    assert len(keys) == store.held
    assert (batch["stored"] == store.held).all()
    np.testing.assert_allclose(batch["probability"], 1 / store.held)
    priorities = rng.random(len(keys)) * 5 + 0.1
    store.reprioritise(keys, priorities)
    expected = priorities**exponent / (priorities**exponent).sum()
    batch = drawn(store.sample(10, 2000, rng, 0.0))
    index = np.searchsorted(keys, batch["key"])
    np.testing.assert_allclose(batch["probability"], expected[index])
    counts = np.bincount(index, minlength=len(keys))
    chi_square = float(((counts - 20_000 * expected) ** 2 / (20_000 * expected)).sum())
    assert chi_square < len(keys) - 1 + 4 * np.sqrt(2 * len(keys))


def test_what_is_new_gets_the_highest_priority_so_far() -> None:
    store, layout, _ = make(1.0)
    fill(store, layout, 1)
    rng = np.random.default_rng(0)
    keys = np.unique(drawn(store.sample(1, 500, rng, 0.0))["key"])
    store.reprioritise(keys, np.full(len(keys), 9.0))
    fill(store, layout, 1, first=1)
    batch = drawn(store.sample(1, 500, rng, 0.0))
    np.testing.assert_allclose(batch["probability"], 1 / store.held)


def test_priorities_of_what_was_overwritten_are_ignored() -> None:
    store, layout, _ = make(1.0)
    fill(store, layout, SLOTS)
    rng = np.random.default_rng(0)
    old = drawn(store.sample(1, 2000, rng, 0.0))
    stale = np.unique(old["key"][where(old)[:, 0] == 0])
    fill(store, layout, 1, first=SLOTS)
    store.reprioritise(stale, np.full(len(stale), 1000.0))
    batch = drawn(store.sample(1, 500, rng, 0.0))
    np.testing.assert_allclose(batch["probability"], 1 / store.held)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_priorities_that_are_none_are_ignored(bad: float) -> None:
    store, layout, _ = make(1.0)
    fill(store, layout, 2)
    rng = np.random.default_rng(0)
    keys = drawn(store.sample(1, 50, rng, 0.0))["key"]
    store.reprioritise(keys, np.full(len(keys), bad))
    beyond = np.array([2**64 - 1, 2**32 - 1, 2**33 + SLOTS * ROWS], np.uint64)
    store.reprioritise(beyond, np.full(3, 5.0))
    store.reprioritise(np.zeros(0, np.uint64), np.zeros(0))
    batch = drawn(store.sample(1, 500, rng, 0.0))
    np.testing.assert_allclose(batch["probability"], 1 / store.held)


def test_a_uniform_store_has_no_priorities() -> None:
    store, layout, _ = make(0.0)
    fill(store, layout, 1)
    store.reprioritise(np.array([1], np.uint64), np.array([2.0]))


def test_the_ring_says_what_it_evicts_and_how_full_it_is() -> None:
    store, layout, _ = make()
    rng = np.random.default_rng(0)
    evicted = [store.put(segment(layout, n, rng), (1, 1, n), (1, 1), 0.0) for n in range(SLOTS + 2)]
    assert evicted == [0] * SLOTS + [1, 1]
    assert store.fill == 1.0
    half, layout, _ = make()
    fill(half, layout, SLOTS // 2)
    assert half.fill == 0.5


@pytest.mark.parametrize("exponent", [0.0, 0.6])
@pytest.mark.parametrize("count", [0, 1, SLOTS - 1, SLOTS, SLOTS + 1, 2 * SLOTS + 3])
def test_a_new_process_goes_on_where_the_old_one_was(
    tmp_path: Path, exponent: float, count: int
) -> None:
    store, layout, _ = make(exponent, tmp_path / "arena")
    fill(store, layout, count)
    arena = Arena.open(tmp_path / "arena")
    assert arena is not None
    again = ReplayStore(arena, layout, exponent)
    assert (again.held, again.fill) == (store.held, store.fill)
    fill(again, layout, 1, first=count)
    batch = drawn(again.sample(1, 1000, np.random.default_rng(0), 0.0))
    assert set(where(batch)[:, 0]) == set(range(max(0, count + 1 - SLOTS), count + 1))


def test_a_new_process_draws_as_the_old_one_would_have(tmp_path: Path) -> None:
    store, layout, _ = make(0.6, tmp_path / "arena")
    rng = np.random.default_rng(0)
    fill(store, layout, SLOTS + 1)
    batch = drawn(store.sample(1, 200, rng, 0.0))
    store.reprioritise(batch["key"], rng.random(200) * 9)
    fill(store, layout, 1, first=SLOTS + 1)
    # A copy, as of a checkpoint: both go on alone.
    shutil.copyfile(tmp_path / "arena", tmp_path / "copy")
    arena = Arena.open(tmp_path / "copy")
    assert arena is not None
    again = ReplayStore(arena, layout, 0.6)
    # The next segments enter with the highest priority so far, which is not theirs to forget.
    for one in (store, again):
        fill(one, layout, 1, first=SLOTS + 2)
    first, second = (
        drawn(one.sample(2, 500, np.random.default_rng(1), 0.0)) for one in (store, again)
    )
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], name)


@pytest.mark.parametrize("exponent", [0.0, 0.6])
@pytest.mark.parametrize("count", [1, SLOTS - 1, SLOTS, SLOTS + 2])
def test_what_a_killed_process_was_writing_is_never_sampled(
    tmp_path: Path, count: int, exponent: float
) -> None:
    store, layout, torn = make(exponent, tmp_path / "arena")
    fill(store, layout, count)
    # The next put, killed before its commit: data of a segment 99 in a slot that holds nothing.
    slot = count % SLOTS
    torn.begin(slot)
    rng = np.random.default_rng(0)
    for name, array in segment(layout, 99, rng).items():
        store._fields[name][slot] = array
    arena = Arena.open(tmp_path / "arena")
    assert arena is not None
    again = ReplayStore(arena, layout, exponent)
    lost = max(0, count - SLOTS + 1)
    numbers = set(where(drawn(again.sample(1, 2000, rng, 0.0)))[:, 0])
    assert numbers == set(range(lost, count))
    assert again.put(segment(layout, count, rng), (1, 1, count), (1, 1), 0.0) == 0
    numbers = set(where(drawn(again.sample(1, 2000, rng, 0.0)))[:, 0])
    assert numbers == set(range(lost, count + 1)), "the torn slot is the next to be used"


def test_a_row_that_points_nowhere_does_no_harm() -> None:
    store, layout, _ = make()
    arrays = segment(layout, 0, np.random.default_rng(0))
    arrays["next_row"][...] = 2**31 - 1
    store.put(arrays, (1, 1, 0), (1, 1), 0.0)
    arrays["next_row"][...] = -(2**31)
    store.put(arrays, (1, 1, 1), (1, 1), 0.0)
    store.sample(1, 100, np.random.default_rng(0), 0.0)
