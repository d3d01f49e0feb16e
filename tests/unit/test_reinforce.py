"""REINFORCE: which returns are known, and the gradient of the others' weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rljob.algorithms.base import Progress
from rljob.algorithms.whole_returns import whole_returns
from tests.unit.segments import make_algorithm, make_learner, random_segment, same_arrays

START = Progress(steps=0, share=0.0)


def column(*values: float, kind: type = float) -> np.ndarray:
    return np.array(values, kind)[:, None]


def test_returns_are_known_up_to_the_last_end_of_an_episode() -> None:
    # Two steps, an end; a row that only resets; two steps, cut off; a reset; a step of an open episode.
    batch = {
        "reward": column(1, 2, 50, 3, 4, 60, 5).astype(np.float32),
        "terminated": column(0, 1, 0, 0, 0, 0, 0, kind=bool),
        "truncated": column(0, 0, 0, 0, 1, 0, 0, kind=bool),
        "valid": column(1, 1, 0, 1, 1, 0, 1, kind=bool),
    }

    ret, known = whole_returns(batch, gamma=0.5)

    assert known[:, 0].tolist() == [True, True, False, True, True, False, False]
    assert ret[known].tolist() == [2.0, 2.0, 5.0, 4.0]


def test_the_loss_is_that_of_the_paper() -> None:
    algorithm = make_algorithm("REINFORCE", normaliseReturns=False, entropyCoefficient=0)
    learner, network = make_learner(algorithm)
    batch = random_segment(algorithm, 12, 4)
    ret, known = whole_returns(batch, gamma=0.99)
    assert 0 < known.sum() < batch["valid"].sum()
    with torch.no_grad():
        logits = network(torch.from_numpy(batch["observation"][:-1][known]))["logits"]
    taken = logits.log_softmax(-1).numpy()[np.arange(known.sum()), batch["action"][known]]

    metrics = learner.update(batch, START).metrics

    assert metrics["policy_loss"] == pytest.approx(-(taken * ret[known]).mean(), rel=1e-4)
    assert metrics["known"] == pytest.approx(known.sum() / batch["valid"].sum())


def test_what_is_not_known_is_not_trained_on() -> None:
    algorithm = make_algorithm("REINFORCE")
    batch = random_segment(algorithm, 12, 4)
    _, known = whole_returns(batch, gamma=0.99)
    other = {name: array.copy() for name, array in batch.items()}
    other["reward"][~known] = 1e6
    other["action"][~known] = 1 - other["action"][~known]
    learners = [make_learner(algorithm)[0] for _ in range(2)]

    for learner, each in zip(learners, (batch, other), strict=True):
        learner.update(each, START)

    assert same_arrays(*learners)


def test_a_batch_in_which_no_episode_ends_changes_nothing() -> None:
    algorithm = make_algorithm("REINFORCE")
    batch = random_segment(algorithm, 4, 2)
    for name in ("terminated", "truncated"):
        batch[name][:] = False
    batch["valid"][:] = True
    learner, untouched = (make_learner(algorithm)[0] for _ in range(2))

    assert learner.update(batch, START).metrics == {"known": 0.0}
    assert same_arrays(learner, untouched)
