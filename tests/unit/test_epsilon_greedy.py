"""Actions of which a share is random."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.base import Arrays, Place, Policy, Seen
from rljob.algorithms.epsilon_greedy import epsilon_greedy, epsilons
from rljob.envs.spaces import DiscreteSpace
from rljob.nets.acting import ActingNetworks
from tests.unit.segments import RandomEngine, make_algorithm


def test_without_exploration_the_best_action_is_taken() -> None:
    values = np.array([[0.0, 2.0, 1.0], [3.0, 3.0, -1.0]])

    action = epsilon_greedy(values, 0.0, np.random.default_rng(0))

    assert (action.tolist(), action.dtype) == ([1, 0], np.int64)


@pytest.mark.parametrize("epsilon", [0.3, np.float32(0.3), np.full(30_000, 0.3)])
def test_a_share_of_the_actions_is_random(epsilon: float | np.ndarray) -> None:
    values = np.tile([0.0, 0.0, 1.0], (30_000, 1))

    action = epsilon_greedy(values, epsilon, np.random.default_rng(0))

    # Of the random ones a third is the best by chance.
    assert np.bincount(action) / 30_000 == pytest.approx([0.1, 0.1, 0.8], abs=0.01)


def test_each_row_may_have_a_share_of_its_own() -> None:
    values = np.tile([0.0, 1.0], (1000, 1))
    epsilon = np.repeat([0.0, 1.0], 500)

    action = epsilon_greedy(values, epsilon, np.random.default_rng(0))

    assert action[:500].all()
    assert 150 < action[500:].sum() < 350


def test_only_allowed_actions_are_taken() -> None:
    values = np.tile([3.0, 2.0, 1.0, 0.0], (30_000, 1))
    mask = np.tile([False, True, False, True], (30_000, 1))

    action = epsilon_greedy(values, 0.4, np.random.default_rng(0), mask)

    assert np.bincount(action) / 30_000 == pytest.approx([0.0, 0.8, 0.0, 0.2], abs=0.01)


def test_each_environment_of_a_job_has_its_own_share() -> None:
    rng = np.random.default_rng(0)
    # Ape-X with 8 actors (Horgan et al. 2018): 0.4 ** (1 + i / 7 * 7).
    groups = [epsilons(0.4, Place(4, rng, first, total=8), spread=7) for first in (0, 4)]

    assert np.concatenate(groups) == pytest.approx([0.4**i for i in range(1, 9)])


@pytest.mark.parametrize(
    ("epsilon", "place", "spread", "expected"),
    [
        (0.3, (2, 1, 3), 0.0, [0.3, 0.3]),
        (0.3, (1, 0, 1), 7.0, [0.3]),
        (1.0, (2, 0, 2), 7.0, [1, 1]),
        (0.0, (2, 0, 2), 7.0, [0, 0]),
    ],
)
def test_without_a_spread_and_at_the_ends_all_are_the_same(
    epsilon: float, place: tuple[int, int, int], spread: float, expected: list[float]
) -> None:
    count, first, total = place
    found = epsilons(epsilon, Place(count, np.random.default_rng(0), first, total), spread)

    assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", ["DQN", "C51", "QRDQN", "QLearning"])
def test_algorithms_spread_epsilon_over_the_job(name: str) -> None:
    count, discrete = 8000, DiscreteSpace(2)
    observation = discrete if name == "QLearning" else None
    algorithm = make_algorithm(name, discrete, observation, epsilonSpread=9)
    shapes = {"DQN": ("advantage", 2), "C51": ("logits", 102), "QRDQN": ("quantiles", 400)}
    head, size = shapes.get(name, ("", 0))
    networks = ActingNetworks({"q": Ordered(head, size)} if head else {})
    table = {"q": np.array([[1.0, 0.0], [1.0, 0.0]])} if not head else {}
    networks.load({"epsilon": np.array(0.5), **table})
    place = Place(count, np.random.default_rng(1), total=count)
    actor = algorithm.actor(Policy(networks, count), place)
    yes = np.ones(count, bool)
    states = np.zeros(count, np.int64)
    action = actor.act(Seen(states, yes, yes, np.zeros(count, np.float32))).action

    # Half of the random actions are not the best one.
    assert action[:400].mean() == pytest.approx(0.5**1.2 / 2, abs=0.06)
    assert action[-2000:].mean() < 0.01


class Ordered(RandomEngine):
    """Prefers the first action always."""

    def __init__(self, head: str, size: int) -> None:
        super().__init__({}, np.random.default_rng(0))
        self._row = {head: np.linspace(1, 0, size, dtype=np.float32)}
        if head == "logits":
            # High returns are likely after the first action, low ones after the second.
            rising = np.linspace(0, 9, size // 2, dtype=np.float32)
            self._row = {head: np.concatenate([rising, rising[::-1]])}

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        return {name: np.tile(row, (len(inputs[0]), 1)) for name, row in self._row.items()}
