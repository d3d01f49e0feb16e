"""Dyna-Q by hand: it learns from real and from imagined transitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rljob.algorithms.base import Arrays, Learner, Progress
from rljob.envs.spaces import DiscreteSpace
from tests.unit.segments import make_algorithm

NOW = Progress(steps=0, share=0.0)


def make(seed: int = 0, masked: bool = False, **config: Any) -> tuple[Learner, np.ndarray]:
    """A learner for four states and two actions, and its table."""
    settings = {"learningRate": 0.5, "gamma": 0.5, "planningSteps": 1, **config}
    spaces = DiscreteSpace(2), DiscreteSpace(4)
    learner = make_algorithm("DynaQ", *spaces, masked, **settings).learner({}, seed)
    return learner, learner.publish(NOW)["q"]


def segment(steps: list[tuple[int, int, float, bool, int]], **more: np.ndarray) -> Arrays:
    """One environment: state, action, reward, whether it terminated, and the state that followed."""
    states = [each[0] for each in steps] + [steps[-1][4]]
    return {
        "observation": np.array(states)[:, None],
        "action": np.array([each[1] for each in steps])[:, None],
        "reward": np.array([each[2] for each in steps], np.float32)[:, None],
        "terminated": np.array([each[3] for each in steps])[:, None],
        "truncated": np.zeros((len(steps), 1), np.bool_),
        "valid": np.ones((len(steps), 1), np.bool_),
        **more,
    }


def test_one_transition_is_learned_from_once_and_then_imagined() -> None:
    learner, q = make(planningSteps=3)
    metrics = learner.update(segment([(0, 1, 8.0, True, 3)]), NOW).metrics
    # Half of what is left of 8, four times.
    assert q[0, 1] == 7.5
    assert np.count_nonzero(q) == 1
    assert metrics["error"] == 8
    assert metrics["planning_error"] == pytest.approx((4 + 2 + 1) / 3)
    assert metrics["model_share"] == 1 / 8


def test_planning_carries_a_reward_back_to_states_that_were_left_long_ago() -> None:
    learner, q = make(planningSteps=400, learningRate=1.0)
    learner.update(segment([(0, 0, 0.0, False, 1)]), NOW)
    learner.update(segment([(1, 0, 0.0, False, 2)]), NOW)
    assert not q.any()
    learner.update(segment([(2, 0, 8.0, True, 3)]), NOW)
    assert q[:, 0].tolist() == [2, 4, 8, 0]


def test_what_is_random_is_valued_by_its_mean() -> None:
    learner, q = make(learningRate=0.01, planningSteps=1000)
    for reward, state in ((4.0, 1), (0.0, 2)):
        learner.update(segment([(0, 0, reward, True, state)]), NOW)
    # Of either reward, in half of the imagined transitions.
    assert q[0, 0] == pytest.approx(2, abs=0.6)


def test_actions_that_a_state_does_not_allow_have_no_value() -> None:
    learner, q = make(masked=True, learningRate=1.0)
    q[1] = [8, 2]
    mask = np.array([[[True, True]], [[False, True]]])
    learner.update(segment([(0, 0, 0.0, False, 1)], mask=mask), NOW)
    assert q[0, 0] == 0.5 * 2


def test_rows_that_only_reset_are_no_transitions() -> None:
    learner, q = make()
    rows = segment([(0, 0, 9.0, False, 1)], valid=np.array([[False]]))
    assert learner.update(rows, NOW).metrics == {}
    assert not q.any()


def test_a_restored_learner_goes_on() -> None:
    learner, q = make(seed=1, planningSteps=20)
    other, other_q = make(seed=2, planningSteps=20)
    walk = segment([(0, 0, 1.0, False, 1), (1, 1, 2.0, False, 2), (2, 0, 4.0, True, 3)])
    learner.update(walk, NOW)
    other.load_state(learner.state())
    np.testing.assert_array_equal(other_q, q)
    for each in (learner, other):
        each.update(walk, NOW)
    np.testing.assert_array_equal(other_q, q)
