"""Which segments count as trained on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rljob.wire.delivery import WINDOW
from rljob.wire.messages import MAX_JSON_BYTES, Rejected
from rljob.wire.watermark import MOST_ACTORS, Watermark


def test_each_segment_once() -> None:
    mark = Watermark()
    assert [mark.take(1, 1, seq) for seq in (0, 2, 0, 1, 2, 3)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]
    assert mark.take(2, 1, 0), "another actor"
    assert mark.take(1, 2, 0), "a new life"
    assert not mark.take(1, 1, 9), "an old life counts as done"


def test_a_gap_does_not_swallow_what_comes_just_behind_it() -> None:
    mark = Watermark()
    mark.take(1, 1, 0)
    assert mark.take(1, 1, 500)
    assert mark.take(1, 1, 499), "a little late"
    assert mark.take(1, 1, 500 - WINDOW)
    assert not mark.take(1, 1, 500 - WINDOW - 1), "below what is covered"


@given(st.lists(st.integers(0, 40), max_size=60))
def test_it_is_a_set_while_all_is_within_the_window(seqs: list[int]) -> None:
    mark, model = Watermark(), set()
    for seq in seqs:
        assert mark.has(3, 4, seq) == (seq in model)
        assert mark.take(3, 4, seq) == (seq not in model)
        model.add(seq)
    again = Watermark.from_json(json.loads(json.dumps(mark.to_json())))
    assert all(again.has(3, 4, seq) == (seq in model) for seq in range(50))


def test_looking_changes_nothing() -> None:
    mark = Watermark()
    assert not mark.has(1, 1, 5)
    assert mark.to_json() == []


@pytest.mark.parametrize(
    "bad", [None, {}, "x", [1], [[1, 2, 3]], [[1, 2, 3, -1]], [[1, 2, 3, 2**64]], [[1, 2, 3, 0.5]],
            [[1, 2, 3, True]]],
)  # fmt: skip
def test_odd_json_is_rejected(bad: Any) -> None:
    with pytest.raises(Rejected):
        Watermark.from_json(bad)


def test_of_ever_new_rollouts_the_last_are_kept() -> None:
    mark = Watermark()
    for actor in range(MOST_ACTORS + 10):
        mark.take(actor, 1, 0)
        mark.take(3, 1, actor)
    assert len(mark.actors) == MOST_ACTORS
    assert mark.has(3, 1, MOST_ACTORS + 9), "it goes on"
    assert not mark.has(4, 1, 0), "silent for longest"
    assert mark.has(MOST_ACTORS + 9, 1, 0)
    assert len(json.dumps(mark.to_json())) < MAX_JSON_BYTES
