"""Segments of applications: what is trained on is the same as in a segment that ends where they are cut."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.gae import gae
from rljob.algorithms.n_step import n_step
from rljob.algorithms.v_trace import v_trace
from rljob.application.segments import Cut, OpenSegment
from rljob.envs.spaces import Arrays
from tests.unit.experience import on_policy_plan, replay_plan, sequence_plan

LENGTH = 8
ENDS = ("reward", "terminated", "truncated", "valid")


def filled(rows: int, cut: Cut, stale: bool = True) -> Arrays:
    """A closed segment of `rows` decisions; its memory has been used before."""
    segment = OpenSegment(on_policy_plan(length=LENGTH, envs=1))
    if stale:
        for array in segment.arrays.values():
            array[...] = 1
    segment.begin(0.0)
    rng = np.random.default_rng(rows)
    for row in range(rows):
        segment.arrays["observation"][row] = rng.random(4)
        segment.arrays["reward"][row] = rng.random()
        segment.arrays["action"][row] = row
    segment.rows = rows
    segment.close(cut, rng.random((1, 4)))
    return segment.arrays


def short(arrays: Arrays, rows: int) -> Arrays:
    """The same transitions in a segment of a rollout that has no more rows."""
    found = {name: arrays[name][:rows] for name in ENDS}
    if not arrays["terminated"][rows - 1]:
        found["truncated"] = np.zeros_like(found["truncated"])
    return found


@pytest.mark.parametrize("rows", [1, 5, LENGTH])
@pytest.mark.parametrize("cut", ["goes on", "truncated", "terminated"])
def test_every_estimate_is_that_of_a_segment_that_ends_there(rows: int, cut: Cut) -> None:
    arrays = filled(rows, cut)
    plain = short(arrays, rows)
    # Of observations, as a value network would have it; the padding's values must not matter.
    value = arrays["observation"].sum(axis=-1) + 7
    ratio = np.linspace(-1, 1, LENGTH, dtype=np.float32)[:, None]
    whole = [arrays[name] for name in ENDS]
    parts = [plain[name] for name in ENDS]

    advantage = gae(whole[0], value, *whole[1:], gamma=0.9, gae_lambda=0.8)
    same = gae(parts[0], value[: rows + 1], *parts[1:], gamma=0.9, gae_lambda=0.8)
    np.testing.assert_array_equal(advantage[:rows], same)
    assert not advantage[rows:].any()

    traced = v_trace(ratio, whole[0], value, *whole[1:], gamma=0.9)
    same_traced = v_trace(ratio[:rows], parts[0], value[: rows + 1], *parts[1:], gamma=0.9)
    np.testing.assert_array_equal(traced.target[:rows], same_traced.target)
    np.testing.assert_array_equal(traced.advantage[:rows], same_traced.advantage)

    stepped = n_step(*whole, n=3, gamma=0.9)
    same_stepped = n_step(*parts, n=3, gamma=0.9)
    for found, expected in zip(stepped, same_stepped, strict=True):
        np.testing.assert_array_equal(found[:rows], expected)


def test_padding_holds_nothing_of_what_the_memory_was_used_for() -> None:
    fresh, used = filled(3, "goes on", stale=False), filled(3, "goes on")
    for name, array in fresh.items():
        np.testing.assert_array_equal(array, used[name], name)
    assert used["valid"].sum() == 3
    assert used["truncated"][:, 0].tolist() == [False, False, True, *[False] * 5]


def test_a_full_segment_goes_on_where_its_episode_does() -> None:
    arrays = filled(LENGTH, "goes on")
    assert arrays["valid"].all()
    assert not arrays["truncated"].any()


def test_an_episode_that_terminated_needs_no_observation() -> None:
    segment = OpenSegment(replay_plan(length=LENGTH, envs=1))
    segment.arrays["observation"][0] = 3
    segment.rows = 1
    segment.close("terminated")
    assert (segment.arrays["observation"][1] == 3).all()
    assert segment.arrays["terminated"][0, 0]


def test_memory_of_the_network_is_padded_by_its_own_rows() -> None:
    segment = OpenSegment(sequence_plan(4, period=2, core_size=3, envs=1))
    segment.arrays["core"][...] = 1
    segment.rows = 3
    segment.close("goes on", np.zeros((1, 4), np.float32))
    # Rows 0 and 2 have memory before them; a segment has 4.
    assert segment.arrays["core"].shape[0] == 2
    assert (segment.arrays["core"] == 1).all()
    segment.begin(0.0)
    segment.rows = 1
    segment.close("goes on", np.zeros((1, 4), np.float32))
    assert segment.arrays["core"][:, 0, 0].tolist() == [1, 0]


def test_a_segment_leaves_with_its_rewards_or_when_they_do_not_come() -> None:
    segment = OpenSegment(on_policy_plan(length=LENGTH, envs=1))
    segment.rows = 2
    segment.unrewarded = {0: 10.0, 1: 12.0}
    assert not segment.may_leave(100.0, 5.0), "still open"
    segment.close("terminated")
    assert not segment.may_leave(16.9, 5.0)
    assert segment.may_leave(17.0, 5.0)
    del segment.unrewarded[0], segment.unrewarded[1]
    assert segment.may_leave(12.0, 5.0)
