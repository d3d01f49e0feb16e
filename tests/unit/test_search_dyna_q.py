"""SearchDynaQ by hand: tables of rewards and of novelty, value iteration, and who is tried next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rljob.algorithms.acting import Actor, Place, Policy, Seen
from rljob.algorithms.base import Arrays, Learner, Progress
from rljob.envs.spaces import DiscreteSpace
from rljob.nets.acting import ActingNetworks
from tests.unit.segments import make_algorithm

NOW = Progress(steps=0, share=0.0)
NEVER = 1_000_000
SPACES = DiscreteSpace(2), DiscreteSpace(4)


def make(masked: bool = False, **config: Any) -> Learner:
    """A learner for four states and two actions."""
    settings = {"learningRate": 0.5, "gamma": 0.5, "planningInterval": NEVER, **config}
    return make_algorithm("SearchDynaQ", *SPACES, masked, **settings).learner({}, 0)


def segment(
    steps: list[tuple[int, int, float, bool, int]], new: float = 1.0, **more: Any
) -> Arrays:
    """One environment: state, action, reward, whether it terminated, and the state that followed."""
    length = len(steps)
    return {
        "observation": np.array([*(each[0] for each in steps), steps[-1][4]])[:, None],
        "action": np.array([each[1] for each in steps])[:, None],
        "reward": np.array([each[2] for each in steps], np.float32)[:, None],
        "terminated": np.array([each[3] for each in steps])[:, None],
        "truncated": np.zeros((length, 1), np.bool_),
        "valid": np.ones((length, 1), np.bool_),
        "novelty": np.full((length, 1), new, np.float32),
        **more,
    }


def actor(arrays: dict[str, Any], count: int, greedy: bool = False) -> tuple[Actor, ActingNetworks]:
    algorithm, networks = make_algorithm("SearchDynaQ", *SPACES, bonus=0.5), ActingNetworks({})
    networks.load({name: np.array(array) for name, array in arrays.items()})
    place = Place(count, np.random.default_rng(0), greedy=greedy)
    return algorithm.actor(Policy(networks, count), place), networks


def seen(states: list[int], mask: np.ndarray | None = None) -> Seen:
    flags = np.zeros(len(states), np.bool_)
    return Seen(np.array(states), flags, ~flags, flags.astype(np.float32), mask)


def test_both_tables_follow_each_transition() -> None:
    learner = make(searchGamma=0.5, noveltyDecay=0.9)
    metrics = learner.update(segment([(0, 0, 8.0, False, 1), (1, 1, 4.0, True, 2)]), NOW).metrics
    state = learner.state().arrays
    assert state["q"][:2].tolist() == [[4, 0], [0, 2]]
    assert state["interest"][:2].tolist() == [[0.5, 0], [0, 0.5]]
    assert state["new"].tolist() == pytest.approx([0.9, 0.9, 1, 1])
    assert metrics["error"] == 6
    assert metrics["novelty"] == 1
    # Now 1 has a value, and is less new; what an end leads to counts for nothing.
    learner.update(segment([(0, 0, 8.0, False, 1)], new=0.5), NOW)
    state = learner.state().arrays
    assert state["q"][0, 0] == 0.5 * (4 + 8 + 0.5 * 2)
    # The policy that searches takes the best action in 9 of 10 times, and any in the other.
    ahead = 0.5 * (0.9 * 0.5 + 0.1 * 0.25)
    assert state["interest"][0, 0] == pytest.approx(0.5 * (0.5 + 0.5 * 0.9 + ahead))


def test_value_iteration_finds_the_values_of_the_model() -> None:
    learner = make(planningInterval=2, learningRate=1e-9, planningThreshold=1e-9)
    chain = [(0, 0, 0.0, False, 1), (1, 0, 0.0, False, 2), (2, 0, 8.0, True, 3)]
    # In state 1 action 1 leads back in half of the times, else to the end.
    chance = [(1, 1, 6.0, True, 3), (1, 1, 0.0, False, 0)]
    learner.update(segment([*chain, *chance]), NOW)
    assert learner.state().arrays["q"].max() < 1e-6
    metrics = learner.update(segment(chain), Progress(0, 0.0, updates=1)).metrics
    q = learner.state().arrays["q"]
    assert q[:3, 0].tolist() == pytest.approx([2, 4, 8])
    assert q[1, 1] == pytest.approx(0.5 * 6 + 0.5 * 0.5 * 2)
    assert 3 <= metrics["planning_sweeps"] <= 100
    # What was never tried has no value.
    assert not q[[0, 2, 3], 1].any()


def test_value_iteration_stops_after_as_many_sweeps_as_it_may() -> None:
    learner = make(planningInterval=1, planningSweeps=2, planningThreshold=1e-9)
    assert learner.update(segment([(0, 0, 1.0, False, 0)]), NOW).metrics["planning_sweeps"] == 2


def test_a_mask_leaves_actions_out_of_the_values() -> None:
    learner = make(masked=True, searchGamma=0.5)
    mask = np.array([[[True, True]], [[False, True]]])
    learner.update(segment([(1, 0, 8.0, True, 0)], mask=np.ones((2, 1, 2), np.bool_)), NOW)
    learner.update(segment([(0, 0, 0.0, False, 1)], new=0.0, mask=mask), NOW)
    state = learner.state().arrays
    assert state["q"][0, 0] == state["interest"][0, 0] == 0


def test_what_is_published_is_a_mixture_of_both_within_1() -> None:
    learner = make(searchShare=0.25)
    assert not learner.publish(NOW)["score"].any()
    learner.update(segment([(0, 0, 0.0, True, 1)]), NOW)
    learner.update(segment([(0, 1, 0.0, True, 1)], new=0.0), NOW)
    # Without rewards, novelty alone.
    assert learner.publish(NOW)["score"][0].tolist() == [1, 0]
    learner.update(segment([(0, 1, -4.0, True, 1)], new=0.0), NOW)
    assert learner.publish(NOW)["score"][0].tolist() == [1, 0]
    learner.update(segment([(0, 0, -9.0, True, 1)], new=1.0), NOW)
    assert learner.publish(NOW)["score"][0].tolist() == [0.25, 0.75]


def test_what_was_not_tried_comes_first_and_is_then_tried_less() -> None:
    """All environments are in one state and share what they try."""
    arrays = {"q": np.zeros((4, 2)), "score": np.zeros((4, 2)), "tried": np.zeros((4, 2))}
    acting, networks = actor(arrays, 6)
    assert sorted(acting.act(seen([0] * 6)).action.tolist()) == [0, 0, 0, 1, 1, 1]
    # A new version counts what its rollouts did: action 1 was tried too seldom for its score.
    networks.load({**arrays, "score": np.array([[1.0, 0.9]] * 4), "tried": np.array([[90, 1]] * 4)})
    assert acting.act(seen([0] * 6)).action.tolist() == [1] * 6
    networks.load(
        {**arrays, "score": np.array([[1.0, 0.2]] * 4), "tried": np.array([[90, 90]] * 4)}
    )
    assert acting.act(seen([0] * 6)).action.tolist() == [0] * 6
    mask = np.array([[False, True]] * 6)
    assert acting.act(seen([0] * 6, mask)).action.tolist() == [1] * 6


def test_greedy_actions_are_those_of_the_rewards() -> None:
    arrays = {"q": [[2.0, 1.0]] * 4, "score": [[0.0, 1.0]] * 4, "tried": [[9.0, 0.0]] * 4}
    acted = actor(arrays, 2, greedy=True)[0].act(seen([0, 3]))
    assert acted.action.tolist() == [0, 0]
    assert acted.scores is not None
    assert acted.scores.values.tolist() == [[2, 1], [2, 1]]


def test_a_restored_learner_goes_on() -> None:
    learner, other = make(planningInterval=2), make(planningInterval=2)
    walk = segment([(0, 0, 1.0, False, 1), (1, 1, 2.0, False, 2), (2, 0, 4.0, True, 3)])
    learner.update(walk, NOW)
    other.load_state(learner.state())
    for each in (learner, other):
        each.update(walk, Progress(0, 0.0, updates=1))
    for name, array in learner.publish(NOW).items():
        np.testing.assert_array_equal(other.publish(NOW)[name], array)
