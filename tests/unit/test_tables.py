"""What algorithms with tables share: their spaces, their actions, and that they need no torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from rljob.algorithms.acting import Place, Policy, Seen
from rljob.algorithms.tables import TableActor, best_action, transitions
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Space
from rljob.errors import InputError
from rljob.nets.acting import ActingNetworks
from tests.unit.segments import make_algorithm

TABLES = ["QLearning", "DynaQ", "VanillaPolicy", "SearchDynaQ", "QLAgent57"]
CHOOSE = ["QLearning", "DynaQ", "SearchDynaQ", "QLAgent57"]
"""Those that choose among Discrete actions."""


def actor(q: list[list[float]], epsilon: float, count: int, greedy: bool = False) -> TableActor:
    networks = ActingNetworks({})
    networks.load({"q": np.array(q), "epsilon": np.array(epsilon)})
    place = Place(count, np.random.default_rng(0), greedy=greedy)
    return TableActor(
        make_algorithm("QLearning", observation=DiscreteSpace(2)), Policy(networks, count), place
    )


def seen(states: list[int], mask: np.ndarray | None = None) -> Seen:
    flags = np.zeros(len(states), np.bool_)
    return Seen(np.array(states), flags, ~flags, flags.astype(np.float32), mask)


def test_the_best_action_is_any_of_equals() -> None:
    values = np.array([[1.0, 3.0, 3.0]] * 1000 + [[5.0, 2.0, 3.0]] * 3)
    best = best_action(values, np.random.default_rng(0))
    assert np.mean(best[:1000] == 1) == pytest.approx(0.5, abs=0.06)
    assert set(best[:1000]) == {1, 2}
    assert best[1000:].tolist() == [0, 0, 0]
    mask = np.array([[False, True, False]] * 1003)
    assert set(best_action(values, np.random.default_rng(0), mask)) == {1}


def test_a_share_of_the_actions_is_random() -> None:
    chosen = actor([[0, 1, 0, 0]], 0.4, 4000).act(seen([0] * 4000)).action
    shares = np.bincount(chosen, minlength=4) / 4000
    assert shares == pytest.approx([0.1, 0.7, 0.1, 0.1], abs=0.03)


def test_a_greedy_action_is_the_best_and_shows_the_values() -> None:
    mask = np.array([[True, True], [True, False]])
    acted = actor([[0, 1], [3, 4]], 1.0, 2, greedy=True).act(seen([0, 1], mask))
    assert acted.action.tolist() == [1, 0]
    assert acted.scores is not None
    np.testing.assert_array_equal(acted.scores.values, [[0, 1], [3, np.nan]])


def test_transitions_are_those_of_valid_rows_in_order() -> None:
    batch = {
        "observation": np.array([[0, 5], [1, 6], [2, 7]]),
        "action": np.array([[0, 1], [1, 0]]),
        "reward": np.array([[0.5, 1], [2, 99]], np.float32),
        "terminated": np.array([[False, True], [False, False]]),
        "valid": np.array([[True, True], [True, False]]),
    }
    assert list(transitions(batch)) == [
        (0, 0, 1, 0.5, False),
        (5, 1, 6, 1.0, True),
        (1, 1, 2, 2.0, False),
    ]


@pytest.mark.parametrize("name", TABLES)
def test_other_observations_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} needs Discrete observations .* environment.conv"):
        make_algorithm(name, DiscreteSpace(2), BoxSpace((2,)))


@pytest.mark.parametrize("action", [BoxSpace((2,))])
@pytest.mark.parametrize("name", CHOOSE)
def test_other_actions_are_refused(name: str, action: Space) -> None:
    with pytest.raises(InputError, match=f"{name} needs Discrete actions") as caught:
        make_algorithm(name, action, DiscreteSpace(2))
    assert caught.value.path == "environment"


def test_their_learners_never_import_torch() -> None:
    program = """
import sys
import rljob.roles.learner.loop
from rljob.algorithms import load_config, resolve_algorithm, uses_torch
from rljob.envs.spaces import DiscreteSpace, Spaces
from rljob.nets import build_networks
from rljob.spec.sections import AlgorithmSpec, NetworkSpec
for name in sys.argv[1:]:
    spec = AlgorithmSpec(name=name)
    algorithm = resolve_algorithm(spec)
    assert not uses_torch(algorithm), name
    spaces = Spaces(DiscreteSpace(3), DiscreteSpace(2))
    made = algorithm(load_config(spec), spaces)
    learner = made.learner(build_networks(NetworkSpec(), made.networks, spaces, 0), 0)
    learner.load_state(learner.state())
    assert "torch" not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", program, *TABLES], check=True, timeout=120)
