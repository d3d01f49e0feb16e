"""DQN's returns, loss and targets by hand, and that it goes on after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rljob import algorithms
from rljob.algorithms.base import Algorithm, Arrays, Place, Policy, Progress, Replay, Seen
from rljob.algorithms.built_in.dqn import huber_loss
from rljob.algorithms.importance import importance_weights
from rljob.algorithms.n_step import n_step
from rljob.envs.spaces import BoxSpace
from rljob.errors import InputError
from rljob.nets.acting import ActingNetworks
from rljob.spec.sections import AlgorithmSpec
from tests.unit.segments import make_algorithm, make_learner, replay_batch, same_arrays

T, F = True, False
START = Progress(steps=0, share=0.0)


def returns(
    reward: list[float],
    terminated: list[bool] | None = None,
    truncated: list[bool] | None = None,
    valid: list[bool] | None = None,
    n: int = 3,
) -> tuple[list[float], list[float], list[int]]:
    """One environment, gamma = 0.5."""
    length = len(reward)
    found = n_step(
        np.array(reward, np.float32)[:, None],
        np.array(terminated or [F] * length)[:, None],
        np.array(truncated or [F] * length)[:, None],
        np.array(valid or [T] * length)[:, None],
        n=n,
        gamma=0.5,
    )
    assert [array.dtype for array in found] == [np.float32, np.float32, np.int32]
    ret, discount, next_row = (array[:, 0].tolist() for array in found)
    return ret, discount, next_row


def test_n_step_is_shorter_at_the_end_of_the_segment() -> None:
    ret, discount, next_row = returns([1, 2, 4, 8])
    assert ret == [1 + 2 / 2 + 4 / 4, 2 + 4 / 2 + 8 / 4, 4 + 8 / 2, 8]
    assert discount == [1 / 8, 1 / 8, 1 / 4, 1 / 2]
    assert next_row == [3, 4, 4, 4]


def test_n_step_ends_with_a_terminated_episode_and_has_no_bootstrap() -> None:
    ret, discount, _ = returns([1, 2, 99, 8, 16], terminated=[F, T, F, F, F], valid=[T, T, F, T, T])
    assert [ret[i] for i in (0, 1, 3, 4)] == [1 + 2 / 2, 2, 8 + 16 / 2, 16]
    assert [discount[i] for i in (0, 1, 3, 4)] == [0, 0, 1 / 4, 1 / 2]


def test_n_step_bootstraps_from_the_final_observation_of_a_truncated_episode() -> None:
    ret, discount, next_row = returns(
        [1, 2, 99, 8, 16], truncated=[F, T, F, F, F], valid=[T, T, F, T, T]
    )
    assert [ret[i] for i in (0, 1, 3, 4)] == [1 + 2 / 2, 2, 8 + 16 / 2, 16]
    assert [discount[i] for i in (0, 1, 3, 4)] == [1 / 4, 1 / 2, 1 / 4, 1 / 2]
    assert [next_row[i] for i in (0, 1, 3, 4)] == [2, 2, 5, 5]


def test_one_step_and_more_steps_than_rows() -> None:
    assert returns([1, 2], n=1) == ([1, 2], [1 / 2, 1 / 2], [1, 2])
    assert returns([1, 2], n=9) == ([2, 2], [1 / 4, 1 / 2], [2, 2])


def test_loss_by_hand() -> None:
    # Errors 0.5 and -3: 0.5 * 0.25 = 0.125 and 3 - 0.5 = 2.5; derivatives 0.5/2 and -1/2.
    error = np.array([0.5, -3], np.float32)
    found = huber_loss(error, None)
    assert found.total == pytest.approx((0.125 + 2.5) / 2)
    assert found.by_value.tolist() == pytest.approx([0.25, -0.5])
    weighted = huber_loss(error, np.array([1.0, 0.2], np.float32))
    assert weighted.total == pytest.approx((0.125 + 0.5) / 2)
    assert weighted.by_value.tolist() == pytest.approx([0.25, -0.1])
    assert weighted.by_value.dtype == np.float32


@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("double", [True, False])
def test_the_target_by_hand(double: bool, dueling: bool) -> None:
    """One update's reported error equals q - (return + discount * bootstrap)."""
    algorithm = make_algorithm("DQN", double=double, dueling=dueling, replay="prioritised")
    learner, network = make_learner(algorithm)
    for seed in range(3):
        learner.update(replay_batch(algorithm, 16, seed, prioritised=True), START)
    batch = replay_batch(algorithm, 16, 7, prioritised=True)
    state = learner.state().arrays
    q_now, q_next = (_q(network, batch[name]) for name in ("observation", "next_observation"))
    with torch.no_grad():
        weights = network.state_dict()
        trained = {name: tensor.clone() for name, tensor in weights.items()}
        network.load_state_dict(
            {name: torch.from_numpy(state[f"target.{name}"]) for name in weights}
        )
        q_target = _q(network, batch["next_observation"])
        network.load_state_dict(trained)
    assert (q_target != q_next).any()
    rows = np.arange(16)
    best = q_next.argmax(-1) if double else q_target.argmax(-1)
    target = batch["n_step_return"] + batch["n_step_discount"] * q_target[rows, best]
    error = q_now[rows, batch["action"]] - target
    priorities = learner.update(batch, START).priorities
    assert priorities is not None
    np.testing.assert_allclose(priorities, np.abs(error), rtol=1e-4, atol=1e-4)


def _q(network: Any, observation: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        outputs = network(torch.from_numpy(observation))
    advantage: np.ndarray = outputs["advantage"].numpy()
    if "value" not in outputs:
        return advantage
    value: np.ndarray = outputs["value"].numpy()
    centred: np.ndarray = advantage - advantage.mean(-1, keepdims=True)
    values: np.ndarray = value + centred
    return values


def test_importance_weights_undo_the_drawing() -> None:
    """With the exponent at 1, a transition drawn 4 times as often counts a quarter."""
    batch = {"probability": np.array([0.01, 0.04]), "stored": np.array(100)}
    found = importance_weights(batch, 1.0)
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx([1, 0.25])
    assert importance_weights(batch, 0.5).tolist() == pytest.approx([1, 0.5])


@pytest.mark.parametrize("name", ["DQN", "C51", "QRDQN"])
def test_a_transition_counts_by_its_importance(name: str) -> None:
    """The loss is the mean of the transitions' own, each times its weight."""

    def loss(batch: Arrays, replay: str) -> float:
        algorithm = make_algorithm(name, replay=replay, importanceExponent=1.0)
        return make_learner(algorithm)[0].update(batch, START).metrics["loss"]

    batch = replay_batch(make_algorithm(name), 2)
    alone = [loss({key: array[[i]] for key, array in batch.items()}, "uniform") for i in (0, 1)]
    assert loss(batch, "uniform") == pytest.approx(sum(alone) / 2, rel=1e-4)
    batch |= {"probability": np.array([0.01, 0.1]), "stored": np.array(100)}
    expected = (alone[0] + 0.1 * alone[1]) / 2
    assert loss(batch, "prioritised") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("replay", ["uniform", "prioritised"])
def test_a_restored_learner_goes_on_bitwise_as_if_never_stopped(replay: str) -> None:
    algorithm = make_algorithm("DQN", replay=replay, targetUpdateInterval=3)
    batches = [replay_batch(algorithm, 16, seed, replay == "prioritised") for seed in range(8)]
    whole, _ = make_learner(algorithm)
    for updates, batch in enumerate(batches[:4]):
        whole.update(batch, Progress(100, 0.1, updates))
    state = whole.state()
    resumed, _ = make_learner(algorithm, seed=9)
    resumed.load_state(state)
    for learner in (whole, resumed):
        for updates, batch in enumerate(batches[4:], start=4):
            learner.update(batch, Progress(200, 0.2, updates))
    assert same_arrays(whole, resumed)
    assert whole.state().values == resumed.state().values


def test_the_schedule_decides_how_far_an_update_goes() -> None:
    """Adam's first step moves each weight by about the learning rate."""
    name = "network.body.heads.advantage.weight"
    algorithm = make_algorithm("DQN", learningRate={"from": 0.01, "to": 0})
    for share, rate in ((0.0, 0.01), (0.75, 0.0025), (1.0, 0.0)):
        learner, _ = make_learner(algorithm)
        before = learner.state().arrays[name]
        update = learner.update(replay_batch(algorithm, 16), Progress(0, share))
        assert update.metrics["learning_rate"] == pytest.approx(rate)
        moved = np.abs(learner.state().arrays[name] - before).max()
        assert float(moved) == pytest.approx(rate, rel=0.02)


def test_the_target_network_follows_at_its_interval() -> None:
    algorithm = make_algorithm("DQN", targetUpdateInterval=2, tau=1.0)
    learner, _ = make_learner(algorithm)
    name = "body.heads.advantage.weight"
    equal = []
    for updates in range(4):
        learner.update(replay_batch(algorithm, 16, seed=updates), Progress(0, 0.0, updates))
        arrays = learner.state().arrays
        equal.append(bool((arrays[f"target.{name}"] == arrays[f"network.{name}"]).all()))
    assert equal == [False, True, False, True]


def test_tau_mixes() -> None:
    algorithm = make_algorithm("DQN", targetUpdateInterval=1, tau=0.25)
    learner, _ = make_learner(algorithm)
    name = "body.heads.advantage.weight"
    before = learner.state().arrays[f"target.{name}"]
    learner.update(replay_batch(algorithm, 16), START)
    arrays = learner.state().arrays
    expected = 0.75 * before + 0.25 * arrays[f"network.{name}"]
    np.testing.assert_allclose(arrays[f"target.{name}"], expected, rtol=1e-5, atol=1e-7)


def test_epsilon_falls_with_the_steps_and_decides_how_much_is_random() -> None:
    algorithm = make_algorithm("DQN", epsilon={"from": 1.0, "to": 0.1, "steps": 1000})
    learner, _ = make_learner(algorithm)
    found = [learner.publish(Progress(s, 0.0))["epsilon"] for s in (0, 500, 1000, 10**9)]
    assert found == pytest.approx([1.0, 0.55, 0.1, 0.1])
    for epsilon in (0.0, 0.5, 1.0):
        action = _act(algorithm, epsilon, greedy=False)
        assert action.dtype == np.int64
        assert action.mean() == pytest.approx(1 - epsilon / 2, abs=0.02)
    assert _act(algorithm, 1.0, greedy=True).all(), "greedy actions are never random"


def _act(algorithm: Algorithm, epsilon: float, greedy: bool) -> np.ndarray:
    """What is done where action 1 is the better one, 10,000 times."""
    count = 10_000
    networks = ActingNetworks({"q": PreferringEngine()})
    networks.load({"epsilon": np.array(epsilon)})
    place = Place(count, np.random.default_rng(0), total=count, greedy=greedy)
    actor = algorithm.actor(Policy(networks, count), place)
    seen = Seen(
        np.zeros((count, 4), np.float32),
        np.ones(count, bool),
        np.ones(count, bool),
        np.zeros(count, np.float32),
    )
    return actor.act(seen).action


class PreferringEngine:
    """Says that action 1 is better than action 0."""

    core_size = 0

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        assert not tensors

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Arrays:
        return {"advantage": np.tile(np.array([0, 1], np.float32), (len(inputs[0]), 1))}


def test_replay_settings_reach_the_buffer() -> None:
    data = make_algorithm("DQN", replay="prioritised", priorityExponent=0.7, batchSize=32).data
    assert isinstance(data, Replay)
    assert (data.priority_exponent, data.batch_size) == (0.7, 32)
    data = make_algorithm("DQN", priorityExponent=0.7).data
    assert isinstance(data, Replay)
    assert data.priority_exponent == 0


def test_actions_that_are_not_discrete_are_refused() -> None:
    with pytest.raises(InputError, match="DQN") as caught:
        make_algorithm("DQN", BoxSpace((2,)))
    assert caught.value.path == "environment"


def test_the_old_settings_of_epsilon_are_refused_with_the_new_one() -> None:
    with pytest.raises(InputError, match=r"write epsilon: \{from: 0.9, to: 0.05, steps: 10000\}"):
        algorithms.load_config(AlgorithmSpec(name="DQN", config={"epsilonStart": 0.9}))


def test_the_page_lists_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/algorithms/dqn.md").read_text()
    algorithm = make_algorithm("DQN")
    learner, _ = make_learner(algorithm)
    batch = replay_batch(algorithm, 8)
    for name in learner.update(batch, START).metrics:
        assert f"| `{name}` |" in page, name
