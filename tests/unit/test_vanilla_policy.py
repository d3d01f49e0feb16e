"""The policy gradient in a table: gradients against differences, an update by hand, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rljob.algorithms.acting import Place, Policy, Seen
from rljob.algorithms.base import Arrays, Learner, Progress
from rljob.algorithms.built_in.vanilla_policy import of_normal, of_softmax
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space
from rljob.errors import InputError
from rljob.nets.acting import ActingNetworks
from tests.unit.segments import make_algorithm

NOW = Progress(steps=0, share=0.0)
BOX = BoxSpace((2,), low=-1, high=1)


def make(action: Space, masked: bool = False, **config: Any) -> tuple[Learner, Arrays]:
    """A learner for four states, and its tables."""
    settings = {"learningRate": 0.5, "gamma": 0.5, "baselineRate": 0.0, **config}
    learner = make_algorithm("VanillaPolicy", action, DiscreteSpace(4), masked, **settings).learner(
        {}, 0
    )
    return learner, learner.publish(NOW)


def segment(states: list[int], actions: np.ndarray, log_prob: float, **flags: Any) -> Arrays:
    """One environment, reward 1 at each step, ended by its last; `states` has one more."""
    length = len(actions)
    ended = np.arange(length) == length - 1
    found = {
        "observation": np.array(states),
        "action": actions,
        "reward": np.ones(length, np.float32),
        "terminated": ended,
        "truncated": np.zeros(length, np.bool_),
        "valid": np.ones(length, np.bool_),
        "log_prob": np.full(length, log_prob, np.float32),
        **flags,
    }
    return {name: array[:, None] for name, array in found.items()}


def test_gradients_are_those_of_the_log_probability() -> None:
    rng, small = np.random.default_rng(0), 1e-6
    logits, mask = rng.standard_normal(4), np.array([True, True, False, True])
    _, gradient = of_softmax(logits, 1, mask)
    for k in range(4):
        shifted = logits + small * (np.arange(4) == k)
        slope = (of_softmax(shifted, 1, mask)[0] - of_softmax(logits, 1, mask)[0]) / small
        assert gradient["logits"][k] == pytest.approx(slope, abs=1e-5)
    mean, log_std, action = rng.standard_normal((3, 2))
    _, gradient = of_normal(mean, log_std, action)
    for k in range(2):
        by = small * (np.arange(2) == k)
        here = of_normal(mean, log_std, action)[0]
        slope = (of_normal(mean + by, log_std, action)[0] - here) / small
        assert gradient["mean"][k] == pytest.approx(slope, rel=1e-4)
        slope = (of_normal(mean, log_std + by, action)[0] - here) / small
        assert gradient["log_std"][k] == pytest.approx(slope, rel=1e-4)


def test_log_probabilities_are_those_that_acting_stores() -> None:
    algorithm = make_algorithm("VanillaPolicy", BOX, DiscreteSpace(4))
    networks = ActingNetworks({})
    networks.load(algorithm.learner({}, 0).publish(NOW))
    actor = algorithm.actor(Policy(networks, 2), Place(2, np.random.default_rng(0)))
    flags = np.zeros(2, np.bool_)
    acted = actor.act(Seen(np.array([0, 3]), flags, ~flags, np.zeros(2, np.float32)))
    for row in range(2):
        known = of_normal(np.zeros(2), np.full(2, np.log(0.5)), acted.action[row])[0]
        assert acted.extras["log_prob"][row] == pytest.approx(known, rel=1e-5)


def test_an_update_by_hand() -> None:
    learner, tables = make(DiscreteSpace(2))
    metrics = learner.update(segment([0, 1, 2], np.array([1, 0]), np.log(0.5)), NOW).metrics
    # Returns 1.5 and 1; the gradient of two equally likely actions is a half up and a half down.
    step = 0.5 * np.array([[-0.75, 0.75], [0.5, -0.5]])
    # That of the first has the norm 0.75 sqrt(2), and is scaled down to 1.
    step[0] /= 0.75 * np.sqrt(2)
    np.testing.assert_allclose(tables["logits"][:2], step)
    assert not tables["logits"][2:].any()
    assert metrics["mean_return"] == 1.25
    assert metrics["mean_ratio"] == pytest.approx(1)
    assert metrics["known"] == 1


def test_an_action_that_the_policy_has_left_counts_less() -> None:
    """It acted with probability 1 where the present policy has 1/2."""
    learner, tables = make(DiscreteSpace(2))
    assert learner.update(segment([0, 1], np.array([1]), 0.0), NOW).metrics["mean_ratio"] == 0.5
    np.testing.assert_allclose(tables["logits"][0], [-0.125, 0.125])


def test_what_is_as_good_as_ever_changes_nothing() -> None:
    learner, tables = make(DiscreteSpace(2), baselineRate=1.0)
    rows = segment([0, 1], np.array([1]), np.log(0.5))
    learner.update(rows, NOW)
    before = tables["logits"].copy()
    assert before.any()
    learner.update(rows, NOW)
    np.testing.assert_array_equal(tables["logits"], before)


def test_steps_whose_episode_goes_on_are_left_out() -> None:
    learner, tables = make(DiscreteSpace(2))
    rows = segment([0, 1], np.array([1]), np.log(0.5), terminated=np.array([False]))
    assert learner.update(rows, NOW).metrics == {"known": 0}
    assert not tables["logits"].any()


def test_a_box_learns_where_and_how_widely_to_act() -> None:
    learner, tables = make(BOX, stdRate=0.1, maxGradientNorm=None, learningRate=0.1)
    log_prob = of_normal(np.zeros(2), np.full(2, np.log(0.5)), np.array([0.5, 0.0]))[0]
    learner.update(segment([3, 0], np.array([[0.5, 0.0]], np.float32), log_prob), NOW)
    # The noise is (1, 0) standard deviations of 1/2.
    np.testing.assert_allclose(tables["mean"][3], [0.2, 0], rtol=1e-6)
    np.testing.assert_allclose(tables["log_std"][3], np.log(0.5) - np.array([0, 0.01]), rtol=1e-6)
    np.testing.assert_allclose(tables["log_std"][0], np.log(0.5))


def test_a_box_keeps_its_means_within_its_bounds_and_its_width_above_the_least() -> None:
    unbounded = BoxSpace((1,))
    for action, farthest in ((BoxSpace((1,), low=0, high=9), 1.0), (unbounded, 2.0)):
        settings = {"minStd": 0.25, "stdRate": 1.0, "maxGradientNorm": None, "learningRate": 1.0}
        learner, tables = make(action, **settings)
        learner.update(segment([0, 1], np.array([[0.5]], np.float32), -9.0), NOW)
        assert tables["mean"][0].tolist() == [farthest]
        learner.update(segment([1, 2], np.array([[0.0]], np.float32), -9.0), NOW)
        learner.update(segment([1, 2], np.array([[0.0]], np.float32), -9.0), NOW)
        np.testing.assert_allclose(np.exp(tables["log_std"][1]), 0.25)


def test_actions_that_are_not_allowed_get_no_gradient() -> None:
    learner, tables = make(DiscreteSpace(3), masked=True)
    mask = np.array([[True, True, False], [True, True, True]])
    learner.update(segment([0, 1], np.array([1]), np.log(0.5), mask=mask), NOW)
    np.testing.assert_allclose(tables["logits"][0], [-0.25, 0.25, 0])


@pytest.mark.parametrize("action", [DiscreteSpace(2), BOX])
def test_a_restored_learner_goes_on(action: Space) -> None:
    (learner, tables), (other, others) = make(action, baselineRate=0.5), make(action)
    value = np.ones((1, *action.shape), action.dtype)
    learner.update(segment([0, 1], value, -1.0), NOW)
    other.load_state(learner.state())
    assert any(table.any() for table in tables.values())
    for name, table in tables.items():
        np.testing.assert_array_equal(others[name], table)
    assert other.state().arrays["baseline"][0] == learner.state().arrays["baseline"][0] != 0


def test_several_choices_are_refused() -> None:
    with pytest.raises(InputError, match="VanillaPolicy needs Discrete or Box actions") as caught:
        make_algorithm("VanillaPolicy", MultiDiscreteSpace((2, 2)), DiscreteSpace(4))
    assert caught.value.path == "environment"
