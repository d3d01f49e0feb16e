"""Where the boundaries of a strict run are."""

from __future__ import annotations

from itertools import pairwise

from rljob.roles.learner.training import STRICT_BOUNDARY, boundary_after


def test_boundaries_come_ever_further_apart() -> None:
    environments, found = 4, [0]
    while len(found) < 30:
        found.append(boundary_after(found[-1], environments))
    distances = [(b - a) / environments for a, b in pairwise(found)]

    assert distances[:4] == [STRICT_BOUNDARY] * 4
    assert distances == sorted(distances)
    # An episode of 10,000 steps can end, and an interruption costs at most a fifth.
    assert distances[-1] > 10_000
    assert all(b - a <= b / 5 for a, b in pairwise(found[5:]))
