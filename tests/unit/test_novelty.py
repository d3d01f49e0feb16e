"""How new observations are within their episodes, also where these go on over segments."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.novelty import EpisodeNovelty


def fill(
    novelty: EpisodeNovelty, states: list[int], valid: list[bool], begins: list[int]
) -> list[float]:
    """Of the first of two environments; the other stays in state 9. `states` has one more; episodes begin at rows `begins`."""
    length = len(valid)
    segment = {
        "observation": np.stack([np.array(states), np.full(length + 1, 9)], axis=1),
        "valid": np.stack([np.array(valid), np.ones(length, np.bool_)], axis=1),
        "novelty": np.zeros((length, 2), np.float32),
        "begins": np.stack(
            [np.isin(np.arange(length), begins), np.zeros(length, np.bool_)], axis=1
        ),
    }
    novelty.fill(segment)
    return [float(each) for each in segment["novelty"][:, 0]]


def test_it_falls_with_each_visit_and_is_new_in_each_episode() -> None:
    novelty = EpisodeNovelty(2)
    found = fill(novelty, [0, 1, 1, 0, 1], [True] * 4, [0])
    assert found == pytest.approx([1, 2**-0.5, 1, 3**-0.5])
    # The same episode goes on, ends in state 1, and another one begins in state 0.
    found = fill(novelty, [1, 1, 0, 1], [True, False, True], [2])
    assert found == pytest.approx([4**-0.5, 0, 1])


def test_an_episode_that_is_cut_into_short_segments_goes_on() -> None:
    novelty = EpisodeNovelty(2)
    assert fill(novelty, [0, 1], [True], [0]) == [1]
    assert fill(novelty, [1, 1], [True], []) == pytest.approx([2**-0.5])
    # The segment before was full, so that no row lies between two episodes.
    assert fill(novelty, [0, 1], [True], [0]) == [1]
