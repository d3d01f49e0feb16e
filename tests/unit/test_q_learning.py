"""Q-learning by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.base import Arrays, Progress, Schedule
from rljob.algorithms.built_in.q_learning import QLearning, QLearningConfig
from rljob.envs.spaces import DiscreteSpace, Spaces

NOW = Progress(steps=0, share=0.0)


def segment(
    states: list[int], actions: list[int], rewards: list[float], **flags: list[bool]
) -> Arrays:
    """One environment; `states` has one more."""
    length = len(actions)
    given = {name: np.array(flags.get(name, [False] * length))[:, None] for name in ("terminated",)}
    valid = np.array(flags.get("valid", [True] * length))[:, None]
    return {
        "observation": np.array(states)[:, None],
        "action": np.array(actions)[:, None],
        "reward": np.array(rewards, np.float32)[:, None],
        "valid": valid,
        **given,
    }


def make(rate: float = 0.5) -> tuple[QLearning, np.ndarray, object]:
    config = QLearningConfig(learning_rate=Schedule(rate), gamma=0.5)
    algorithm = QLearning(config, Spaces(DiscreteSpace(3), DiscreteSpace(2)))
    learner = algorithm.learner({}, 0)
    return algorithm, learner.publish(NOW)["q"], learner


def test_updates_by_hand() -> None:
    _, q, learner = make()
    # 0 -0-> 1 (reward 4), then 1 -1-> 2 (reward 2, terminated), then a row that only resets.
    rows = segment(
        [0, 1, 2, 0],
        [0, 1, 0],
        [4, 2, 99],
        terminated=[False, True, False],
        valid=[True, True, False],
    )
    metrics = learner.update(rows, NOW).metrics  # type: ignore[attr-defined]
    assert q.tolist() == [[2, 0], [0, 1], [0, 0]]
    assert metrics["error"] == pytest.approx(3)
    learner.update(rows, NOW)  # type: ignore[attr-defined]
    # The first transition now sees the value of the second: 2 + 0.5 (4 + 0.5 * 1 - 2).
    assert q.tolist() == [[3.25, 0], [0, 1.5], [0, 0]]


def test_a_truncated_episode_goes_on_with_what_followed() -> None:
    _, q, learner = make()
    q[1] = [8, 0]
    learner.update(segment([0, 1], [0], [0]), NOW)  # type: ignore[attr-defined]
    assert q[0, 0] == 0.5 * 0.5 * 8


def test_environments_in_the_same_state_correct_it_one_after_the_other() -> None:
    _, q, learner = make()
    one = segment([0, 1], [0], [4])
    many = {name: np.repeat(array, 64, axis=1) for name, array in one.items()}
    learner.update(many, NOW)  # type: ignore[attr-defined]
    assert q[0, 0] == pytest.approx(4)


def test_a_restored_learner_goes_on() -> None:
    algorithm, q, learner = make()
    learner.update(segment([0, 1], [0], [4]), NOW)  # type: ignore[attr-defined]
    other = algorithm.learner({}, 1)
    other.load_state(learner.state())  # type: ignore[attr-defined]
    np.testing.assert_array_equal(other.publish(NOW)["q"], q)


def test_epsilon_falls_with_the_job() -> None:
    _, _, learner = make()
    found = [learner.publish(Progress(0, share))["epsilon"] for share in (0.0, 0.5, 1.0)]  # type: ignore[attr-defined]
    assert found == pytest.approx([1.0, 0.525, 0.05])
