"""Agent57 with tables, by hand: the family of policies, who acts by which, and an update of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rljob.algorithms.acting import Actor, Place, Policy, Seen
from rljob.algorithms.base import Arrays, Learner, Progress
from rljob.algorithms.built_in.ql_agent57 import discounts, weights_of_novelty
from rljob.envs.spaces import DiscreteSpace
from rljob.errors import InputError
from rljob.nets.acting import ActingNetworks
from tests.unit.segments import make_algorithm

NOW = Progress(steps=0, share=0.0)
SPACES = DiscreteSpace(2), DiscreteSpace(4)


def make(**config: Any) -> Learner:
    """Two policies for four states and two actions, with discounts 1/2 and 1/4 and the weights 0 and 0.3 of novelty."""
    settings = {"policies": 2, "learningRate": 0.5, "gamma": 0.5, "searchGamma": 0.25, **config}
    return make_algorithm("QLAgent57", *SPACES, **settings).learner({}, 0)


def batch(*rows: tuple[int, int, float, bool, int, float], **more: np.ndarray) -> Arrays:
    """State, action, reward, whether it terminated, the state that followed, and its novelty in the episode."""
    state, action, reward, terminated, following, novelty = zip(*rows, strict=True)
    return {
        "observation": np.array(state),
        "action": np.array(action),
        "reward": np.array(reward, np.float32),
        "terminated": np.array(terminated),
        "next_observation": np.array(following),
        "novelty": np.array(novelty, np.float32),
        "probability": np.full(len(rows), 1 / 100),
        "stored": np.full(len(rows), 100),
        **more,
    }


def actor(arrays: dict[str, Any], count: int, **place: Any) -> Actor:
    config = {"policies": 2, "beta": 1.0, "banditEpsilon": 0.0, "banditBonus": 0.0, "epsilon": 0.0}
    algorithm, networks = make_algorithm("QLAgent57", *SPACES, **config), ActingNetworks({})
    networks.load({name: np.array(array, np.float64) for name, array in arrays.items()})
    given = Place(count, np.random.default_rng(0), total=count, **place)
    return algorithm.actor(Policy(networks, count), given)


def see(acting: Actor, begins: bool, reward: float, mask: np.ndarray | None = None) -> list[int]:
    """All environments are in state 0."""
    count = acting.place.count
    flags, rewards = np.full(count, begins), np.full(count, reward, np.float32)
    states = np.zeros(count, np.int64)
    return list(acting.act(Seen(states, flags, np.ones(count, np.bool_), rewards, mask)).action)


def test_the_family_goes_from_rewards_to_novelty() -> None:
    beta = weights_of_novelty(32, 0.3)
    assert (beta[0], beta[-1]) == (0, 0.3)
    assert (np.diff(beta) > 0).all()
    # In the middle the sigmoid is a half.
    assert beta[15] == pytest.approx(0.15)
    assert weights_of_novelty(1, 0.3).tolist() == [0]
    assert weights_of_novelty(2, 0.3).tolist() == [0, 0.3]
    assert 1 - discounts(3, 0.99, 0.9) == pytest.approx([0.01, 0.1**1.5, 0.1])
    assert discounts(2, 1.0, 0.0) == pytest.approx([1, 0])


def test_every_policy_learns_from_every_transition() -> None:
    learner = make(lifelongNovelty=3.0, noveltyDecay=0.5)
    learner.update(batch((1, 0, 8.0, True, 2, 0.5)), NOW)
    state = learner.state().arrays
    assert state["q"][:, 1].tolist() == [[4, 0]] * 2
    # The novelty in the episode, times 3 and then times 1 and a half of the 2 above it.
    assert state["interest"][:, 1].tolist() == [[0.75, 0]] * 2
    assert state["new"].tolist() == [2, 2, 1, 2]
    update = learner.update(batch((0, 1, 1.0, False, 1, 0.0)), NOW)
    state = learner.state().arrays
    assert state["q"][:, 0, 1].tolist() == pytest.approx(
        [0.5 * (1 + 0.5 * 4), 0.5 * (1 + 0.25 * 4)]
    )
    assert state["interest"][:, 0, 1].tolist() == pytest.approx(
        [0.5 * 0.5 * 0.75, 0.5 * 0.25 * 0.75]
    )
    assert update.metrics["error"] == 3
    assert update.priorities is not None
    assert update.priorities.tolist() == pytest.approx([3])


def test_each_policy_goes_on_as_it_would_act() -> None:
    """In state 1 action 0 is rewarded more, and action 1 leads to what is much newer."""
    learner = make(beta=100.0, learningRate=1.0, lifelongNovelty=1.0)
    learner.update(batch((1, 0, 8.0, True, 2, 0.0), (1, 1, 4.0, True, 3, 1.0)), NOW)
    learner.update(batch((0, 0, 0.0, False, 1, 0.0)), NOW)
    state = learner.state().arrays
    assert state["q"][:, 0, 0].tolist() == pytest.approx([0.5 * 8, 0.25 * 4])
    assert state["interest"][:, 0, 0].tolist() == pytest.approx([0, 0.25])


def test_an_action_that_is_not_allowed_next_is_not_gone_on_with() -> None:
    learner = make(learningRate=1.0)
    learner.update(batch((1, 0, 8.0, True, 2, 0.0)), NOW)
    mask = np.array([[False, True]])
    learner.update(batch((0, 0, 0.0, False, 1, 0.0), next_mask=mask), NOW)
    assert learner.state().arrays["q"][0, 0, 0] == 0


def test_what_is_drawn_often_counts_less() -> None:
    learner = make(importanceExponent=1.0)
    often = np.array([0.04, 0.01])
    learner.update(
        batch(*[(state, 0, 8.0, True, 2, 0.0) for state in (0, 1)], probability=often), NOW
    )
    assert learner.state().arrays["q"][0, :2, 0].tolist() == pytest.approx([1, 4])


def test_an_environment_plays_the_policy_that_has_paid_most_for_whole_episodes() -> None:
    # By rewards action 0 is the best, with novelty it is 1: the action tells the policy.
    acting = actor({"q": [[[1, 0]] * 4] * 2, "interest": [[[0, 5]] * 4] * 2}, 1)
    played = []
    for _ in range(6):
        (policy,) = see(acting, True, 0.0)
        # The episode pays 1 in two steps if it is played by policy 1; the reward of a step is seen at the next one.
        assert [see(acting, False, policy / 2) for _ in range(2)] == [[policy]] * 2
        played.append(int(policy))
    assert sorted(played[:2]) == [0, 1]
    assert played[2:] == [1] * 4


def test_evaluations_act_by_rewards_alone() -> None:
    arrays = {"q": [[[1, 0]] * 4, [[0, 1]] * 4], "interest": [[[0, 5]] * 4] * 2}
    acting = actor(arrays, 3, greedy=True)
    assert see(acting, True, 0.0) == [0, 0, 0]
    assert see(acting, False, 0.0, np.array([[False, True]] * 3)) == [1, 1, 1]


def test_environments_explore_by_their_place_in_the_job() -> None:
    arrays = {"q": [[[1, 0]] * 4], "interest": [[[0, 0]] * 4]}
    config = {"policies": 1, "epsilon": 0.4, "epsilonExponent": 7.0}
    algorithm, networks = make_algorithm("QLAgent57", *SPACES, **config), ActingNetworks({})
    networks.load({name: np.array(array, np.float64) for name, array in arrays.items()})
    place = Place(2, np.random.default_rng(0), first=1, total=3)
    acting = algorithm.actor(Policy(networks, 2), place)
    taken = np.array([see(acting, step == 0, 0.0) for step in range(4000)])
    # Half of the random actions are the best one.
    assert taken.mean(0) == pytest.approx([0.4**4.5 / 2, 0.4**8 / 2], abs=0.004)


def test_novelty_goes_with_the_segment() -> None:
    acting = actor({"q": np.zeros((2, 4, 2)), "interest": np.zeros((2, 4, 2))}, 1)
    segment = {
        "observation": np.array([[0], [1], [1]]),
        "valid": np.ones((2, 1), np.bool_),
        "novelty": np.zeros((2, 1), np.float32),
        "begins": np.array([[True], [False]]),
    }
    acting.finish(segment)
    assert segment["novelty"][:, 0].tolist() == pytest.approx([1, 2**-0.5])


def test_a_restored_learner_goes_on() -> None:
    learner, other = make(), make()
    rows = batch((0, 0, 1.0, False, 1, 1.0), (1, 1, 2.0, True, 2, 0.5))
    learner.update(rows, NOW)
    other.load_state(learner.state())
    for each in (learner, other):
        each.update(rows, NOW)
    for name, array in learner.state().arrays.items():
        np.testing.assert_array_equal(other.state().arrays[name], array)


def test_a_window_that_forgets_policies_is_refused() -> None:
    with pytest.raises(InputError, match=r"banditWindow \(7\) must not be below policies \(8\)"):
        make_algorithm("QLAgent57", *SPACES, banditWindow=7)
