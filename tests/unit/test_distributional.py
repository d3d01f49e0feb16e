"""C51 and QRDQN: targets and gradients against torch, masks, and that they go on after a restart."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rljob import algorithms
from rljob.algorithms.base import Algorithm, Place, Policy, Progress, Replay, Seen
from rljob.envs.spaces import BoxSpace, DiscreteSpace
from rljob.errors import InputError
from rljob.nets.acting import ActingNetworks
from rljob.spec.sections import AlgorithmSpec
from tests.unit.segments import (
    RandomEngine,
    make_algorithm,
    make_learner,
    replay_batch,
    same_arrays,
)

PAGES = {"C51": "c51.md", "QRDQN": "qr-dqn.md"}
HEADS = {"C51": "logits", "QRDQN": "quantiles"}
START = Progress(steps=0, share=0.0)
BOTH = pytest.mark.parametrize("name", PAGES)
SMALL: dict[str, dict[str, Any]] = {
    "C51": {"atoms": 11, "valueMin": -3, "valueMax": 3},
    "QRDQN": {"quantiles": 7, "huberThreshold": 0.5},
}
DUELING = {**SMALL["C51"], "dueling": True}


def loss_of(name: str, network: Any, target_network: Any, batch: Any, double: bool) -> Any:
    """The loss `[B]` as the papers write it, by torch; differentiable by the network's parameters."""
    data = {key: torch.as_tensor(value) for key, value in batch.items()}
    rows, count = torch.arange(len(data["action"])), batch["next_mask"].shape[1]
    small = SMALL[name]

    def outputs(of: Any, observation: Any) -> Any:
        found = of(observation)
        each = found[HEADS[name]].unflatten(-1, (count, -1))
        if "value" not in found:
            return each
        return found["value"][:, None] + each - each.sum(1, keepdim=True) / count

    with torch.no_grad():
        ahead = outputs(target_network, data["next_observation"])
        judged = outputs(network, data["next_observation"]) if double else ahead
    support = torch.linspace(-3, 3, 11)
    mean = (judged.softmax(-1) * support).sum(-1) if name == "C51" else judged.mean(-1)
    best = mean.masked_fill(~data["next_mask"], -torch.inf).argmax(-1)
    assert (best != mean.argmax(-1)).float().mean() > 0.2, "the masks are of no use"
    ret, discount = data["n_step_return"][:, None], data["n_step_discount"][:, None]
    taken = outputs(network, data["observation"])[rows, data["action"]]
    if name == "C51":
        shifted = (ret + discount * support).clamp(-3, 3)
        near = (1 - (shifted[:, :, None] - support).abs() / 0.6).clamp(0, 1)
        target = (near * ahead[rows, best].softmax(-1)[:, :, None]).sum(1)
        return -(target * taken.log_softmax(-1)).sum(-1)
    error = (ret + discount * ahead[rows, best])[:, None, :] - taken[:, :, None]
    threshold, quantiles = small["huberThreshold"], small["quantiles"]
    huber = torch.nn.functional.huber_loss(
        error, torch.zeros_like(error), delta=threshold, reduction="none"
    )
    middle = (torch.arange(quantiles)[:, None] + 0.5) / quantiles
    return ((middle - (error < 0).float()).abs() * huber / threshold).mean(2).sum(1)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize(
    ("name", "small"),
    [*SMALL.items(), ("C51", DUELING)],
    ids=[*SMALL, "C51-dueling"],
)
def test_loss_and_gradient_are_those_of_the_papers_and_obey_masks(
    name: str, small: dict[str, Any], double: bool
) -> None:
    algorithm = make_algorithm(
        name, DiscreteSpace(5), masked=True, double=double, maxGradientNorm=None, **small
    )
    learner, network = make_learner(algorithm)
    target_network = copy.deepcopy(network)
    # Updates after which target and learning network differ.
    for updates in range(3):
        learner.update(replay_batch(algorithm, 64, updates), Progress(0, 0.0, updates))
    batch = replay_batch(algorithm, 128, 7)
    expected = loss_of(name, copy.deepcopy(network), target_network, batch, double)
    clone = copy.deepcopy(network)
    loss_of(name, clone, target_network, batch, double).mean().backward()
    norm = np.sqrt(sum(float(p.grad.square().sum()) for p in clone.parameters()))
    metrics = learner.update(batch, START).metrics
    assert metrics["loss"] == pytest.approx(float(expected.detach().mean()), rel=1e-4)
    assert metrics["gradient_norm"] == pytest.approx(norm, rel=1e-3)
    for mine, autograd in zip(network.parameters(), clone.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), autograd.grad.numpy(), atol=1e-5)


def test_priorities_are_what_is_left_to_learn() -> None:
    """QRDQN's are its losses, C51's the divergence, both of each transition without its weight."""
    algorithm = make_algorithm(
        "QRDQN", DiscreteSpace(5), masked=True, replay="prioritised", **SMALL["QRDQN"]
    )
    learner, network = make_learner(algorithm)
    batch = replay_batch(algorithm, 64, prioritised=True)
    expected = loss_of("QRDQN", network, network, batch, double=False).detach().numpy()
    found = learner.update(batch, START).priorities
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-3)

    algorithm = make_algorithm("C51", replay="prioritised", **SMALL["C51"])
    learner, _ = make_learner(algorithm)
    batch = replay_batch(algorithm, 64, prioritised=True)
    # Of each transition nothing follows, and the reward is that of an atom: its entropy is 0.
    batch["n_step_return"][:], batch["n_step_discount"][:] = 0.6, 0
    batch["probability"][:] = 0.1
    update = learner.update(batch, START)
    assert update.priorities is not None
    assert update.priorities.mean() == pytest.approx(update.metrics["loss"], rel=1e-3)
    assert make_learner(make_algorithm("C51"))[0].update(batch, START).priorities is None


@pytest.mark.parametrize("replay", ["uniform", "prioritised"])
@BOTH
def test_a_restored_learner_goes_on_bitwise_as_if_never_stopped(name: str, replay: str) -> None:
    algorithm = make_algorithm(name, replay=replay, targetUpdateInterval=3)
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


@BOTH
def test_schedules_and_the_target_network(name: str) -> None:
    algorithm = make_algorithm(
        name,
        learningRate={"from": 0.01, "to": 0},
        epsilon={"from": 1.0, "to": 0.1, "steps": 1000},
        targetUpdateInterval=2,
    )
    learner, _ = make_learner(algorithm)
    weight = f"body.heads.{HEADS[name]}.weight"
    equal = []
    for updates in range(4):
        before = learner.state().arrays[f"network.{weight}"]
        batch = replay_batch(algorithm, 16, seed=updates)
        update = learner.update(batch, Progress(0, 0.25 * updates, updates))
        arrays = learner.state().arrays
        equal.append(bool((arrays[f"target.{weight}"] == arrays[f"network.{weight}"]).all()))
        rate = 0.01 * (1 - 0.25 * updates)
        assert update.metrics["learning_rate"] == pytest.approx(rate)
        if updates == 0:
            moved = float(np.abs(arrays[f"network.{weight}"] - before).max())
            assert moved == pytest.approx(rate, rel=0.02)
    assert equal == [False, True, False, True]
    found = [learner.publish(Progress(s, 0.0))["epsilon"] for s in (0, 500, 10**9)]
    assert found == pytest.approx([1.0, 0.55, 0.1])


def test_the_best_action_has_the_greatest_mean() -> None:
    # Three actions; two atoms or quantiles each.
    c51 = make_algorithm("C51", DiscreteSpace(3), atoms=2, valueMin=0, valueMax=10)
    qr_dqn = make_algorithm("QRDQN", DiscreteSpace(3), quantiles=2)
    logits = np.array([0, 0, 0, 2, 5, 6], np.float32)
    chance = 1 / (1 + np.exp([0, -2, -1]))
    quantiles = np.array([1, 2, -7, 9, 2, 1], np.float32)
    for algorithm, head, output, value, order in (
        (c51, "logits", logits, 10 * chance, [1, 2, 0]),
        (qr_dqn, "quantiles", quantiles, [1.5, 1, 1.5], [0, 2, 1]),
    ):
        assert (act(algorithm, head, output, [True] * 3).action == order[0]).all()
        acted = act(algorithm, head, output, [each != order[0] for each in range(3)])
        assert (acted.action == order[1]).all()
        assert acted.scores.label == "value"
        expected = [np.nan if each == order[0] else value[each] for each in range(3)]
        np.testing.assert_allclose(acted.scores.values[0], expected, rtol=1e-5)
        mask = [each != order[0] for each in range(3)]
        explored = act(algorithm, head, output, mask, epsilon=1.0)
        share = np.bincount(explored.action, minlength=3) / 4000
        np.testing.assert_allclose(share, np.where(mask, 0.5, 0), atol=0.05)
        assert explored.scores is None


def act(
    algorithm: Algorithm, head: str, output: np.ndarray, mask: list[bool], epsilon: float = 0.0
) -> Any:
    """What is done 4000 times where the network says `output`; greedily without an epsilon."""
    count = 4000
    networks = ActingNetworks({"q": FixedEngine(head, output)})
    networks.load({"epsilon": np.array(epsilon)})
    place = Place(count, np.random.default_rng(0), total=count, greedy=epsilon == 0)
    actor = algorithm.actor(Policy(networks, count), place)
    yes = np.ones(count, bool)
    observation, reward = np.zeros((count, 4), np.float32), np.zeros(count, np.float32)
    return actor.act(Seen(observation, yes, yes, reward, np.tile(mask, (count, 1))))


class FixedEngine(RandomEngine):
    """Answers the same for every row."""

    def __init__(self, head: str, output: np.ndarray) -> None:
        super().__init__({}, np.random.default_rng(0))
        self._head, self._output = head, output

    def __call__(self, *inputs: np.ndarray, core: np.ndarray | None = None) -> Any:
        return {self._head: np.tile(self._output, (len(inputs[0]), 1))}


@BOTH
def test_replay_settings_reach_the_buffer(name: str) -> None:
    data = make_algorithm(name, replay="prioritised", priorityExponent=0.7, batchSize=32).data
    assert isinstance(data, Replay)
    assert (data.priority_exponent, data.batch_size) == (0.7, 32)
    assert data.weighting == "proportional"
    for replay in ("rank", "linearRank"):
        data = make_algorithm(name, replay=replay).data
        assert isinstance(data, Replay)
        assert (data.priority_exponent, data.weighting) == (0.6, replay)
    # Without a priority, nothing has to be corrected either.
    even = make_algorithm(name, replay="prioritised", priorityExponent=0)
    batch = replay_batch(even, 8)
    assert make_learner(even)[0].update(batch, START).priorities is None
    data = make_algorithm(name, priorityExponent=0.7).data
    assert isinstance(data, Replay)
    assert data.priority_exponent == 0


@BOTH
def test_actions_that_are_not_discrete_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} needs Discrete actions") as caught:
        make_algorithm(name, BoxSpace((2,)))
    assert caught.value.path == "environment"


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("C51", {"valueMin": 1, "valueMax": 1}, r"valueMin \(1\) must be below valueMax \(1\)"),
        ("C51", {"valueMin": 11}, r"valueMin \(11\) must be below valueMax \(10\)"),
        ("C51", {"atoms": 1}, "atoms: 1 is not allowed"),
        ("QRDQN", {"quantiles": 0}, "quantiles: 0 is not allowed"),
        ("QRDQN", {"huberThreshold": -1}, "huberThreshold: -1 is not allowed"),
        *[(name, {"nStep": 50}, r"nStep \(50\) must not be above rolloutLength") for name in PAGES],
    ],
    ids=str,
)
def test_bad_settings_are_refused(name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        algorithms.load_config(AlgorithmSpec(name=name, config=config))
    assert str(caught.value.path).startswith("algorithm.config")


@BOTH
def test_the_page_lists_every_metric(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/algorithms" / PAGES[name]).read_text()
    algorithm = make_algorithm(name)
    learner, _ = make_learner(algorithm)
    for metric in learner.update(replay_batch(algorithm, 8), START).metrics:
        assert f"| `{metric}` |" in page, metric
