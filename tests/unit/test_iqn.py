"""IQN: the loss and its gradient against torch, values in acting, masks, settings, and that it goes on after a restart."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rljob import algorithms, nets
from rljob.algorithms.base import Algorithm, Learner, Place, Policy, Progress, Replay, Seen
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.spec.sections import AlgorithmSpec, NamedNetworkSpec, NetworkSpec
from tests.unit.segments import make_algorithm, replay_batch, same_arrays

START = Progress(steps=0, share=0.0)
SMALL: dict[str, Any] = {
    "quantiles": 5,
    "targetQuantiles": 3,
    "valueQuantiles": 6,
    "cosines": 7,
    "features": 12,
    "huberThreshold": 0.5,
    "maxGradientNorm": None,
}
ACTIONS = 4


def make(**config: Any) -> Algorithm:
    return make_algorithm("IQN", DiscreteSpace(ACTIONS), masked=True, **{**SMALL, **config})


def make_learner(algorithm: Algorithm, seed: int = 0) -> tuple[Learner, dict[str, Any]]:
    spec, spaces = NetworkSpec(config={"hidden": [16]}), algorithm.spaces  # type: ignore[attr-defined]
    networks = nets.build_networks(spec, algorithm.networks, spaces, seed)
    return algorithm.learner(networks, seed), networks


def quantile(networks: Any, observation: np.ndarray, levels: np.ndarray) -> Any:
    """Of all actions at levels `[B, L]`, one level after the other: `[B, L, actions]`."""
    found = []
    for column in levels.T:
        cosines = [np.cos(np.pi * i * column) for i in range(SMALL["cosines"])]
        level = networks["level"](torch.tensor(np.stack(cosines, axis=1), dtype=torch.float32))
        observed = networks["observation"](torch.from_numpy(observation))
        product = observed["features"] * torch.relu(level["features"])
        found.append(networks["value"](product)["value"])
    return torch.stack(found, dim=1)


def loss_of(networks: Any, targets: Any, batch: Any, double: bool, rng: Any) -> Any:
    """The loss `[B]` as the paper writes it."""
    count = len(batch["action"])
    levels = rng.random((count, SMALL["quantiles"]), np.float32)
    target_levels = rng.random((count, SMALL["targetQuantiles"]), np.float32)
    even = np.tile((np.arange(6) + 0.5) / 6, (count, 1))
    rows = torch.arange(count)
    with torch.no_grad():
        ahead = batch["next_observation"]
        mean = quantile(networks if double else targets, ahead, even).mean(1)
        allowed = torch.from_numpy(batch["next_mask"])
        best = mean.masked_fill(~allowed, -torch.inf).argmax(-1)
        assert (best != mean.argmax(-1)).float().mean() > 0.2, "the masks are of no use"
        following = quantile(targets, ahead, target_levels)[rows, :, best]
    ret, discount = (torch.from_numpy(batch[f"n_step_{name}"]) for name in ("return", "discount"))
    target = ret[:, None] + discount[:, None] * following
    taken = quantile(networks, batch["observation"], levels)[rows, :, batch["action"]]
    loss = torch.zeros(count)
    for i in range(SMALL["quantiles"]):
        for j in range(SMALL["targetQuantiles"]):
            error = target[:, j] - taken[:, i]
            huber = torch.where(error.abs() <= 0.5, error**2 / 2, 0.5 * (error.abs() - 0.25))
            below = (error < 0).float()
            weight = (torch.from_numpy(levels[:, i]) - below).abs()
            loss = loss + weight * huber / 0.5 / SMALL["targetQuantiles"]
    return loss


@pytest.mark.parametrize("double", [True, False])
def test_loss_and_gradient_are_those_of_the_paper_and_obey_masks(double: bool) -> None:
    algorithm = make(double=double, replay="prioritised")
    learner, networks = make_learner(algorithm, seed=3)
    targets = copy.deepcopy(networks)
    # The draws of the update that is looked at come after those of these.
    rng = np.random.default_rng(3)
    for updates in range(3):
        batch = replay_batch(algorithm, 64, updates, prioritised=True)
        learner.update(batch, Progress(0, 0.0, updates))
        rng.random((64, SMALL["quantiles"]), np.float32)
        rng.random((64, SMALL["targetQuantiles"]), np.float32)
    batch = replay_batch(algorithm, 128, 7, prioritised=True)
    clones = copy.deepcopy(networks)
    each = loss_of(clones, targets, batch, double, rng)
    weight = (batch["probability"] * batch["stored"]) ** -0.4
    expected = (each * torch.from_numpy(weight / weight.max())).mean()
    expected.backward()
    update = learner.update(batch, START)
    assert update.metrics["loss"] == pytest.approx(float(expected.detach()), rel=1e-4)
    assert update.priorities is not None
    np.testing.assert_allclose(update.priorities, each.detach(), rtol=1e-3, atol=2e-6)
    for name, network in networks.items():
        pairs = zip(network.parameters(), clones[name].parameters(), strict=True)
        for mine, autograd in pairs:
            np.testing.assert_allclose(mine.grad, autograd.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("greedy", [True, False])
def test_values_in_acting_are_those_of_the_learned_networks(greedy: bool) -> None:
    algorithm, count = make(), 50
    _, networks = make_learner(algorithm)
    spaces = Spaces(BoxSpace((4,)), DiscreteSpace(ACTIONS), True)
    acting = nets.build_acting(NetworkSpec(config={"hidden": [16]}), algorithm.networks, spaces)
    acting.load({**nets.export(networks, algorithm.networks), "epsilon": np.array(0.0)})
    rng = np.random.default_rng(0)
    observation = rng.standard_normal((count, 4), np.float32)
    mask = rng.random((count, ACTIONS)) < 0.5
    mask[:, 1] = True
    place = Place(count, rng, total=count, greedy=greedy)
    yes, reward = np.ones(count, bool), np.zeros(count, np.float32)
    acted = algorithm.actor(Policy(acting, count), place).act(
        Seen(observation, yes, yes, reward, mask)
    )
    with torch.no_grad():
        even = np.tile((np.arange(6) + 0.5) / 6, (count, 1))
        value = quantile(networks, observation, even).mean(1).numpy()
    assert (acted.action == np.where(mask, value, -np.inf).argmax(-1)).all()
    if greedy:
        assert acted.scores is not None
        shown = np.where(mask, value, np.nan)
        np.testing.assert_allclose(acted.scores.values, shown, rtol=1e-4, atol=1e-5)


def test_it_finds_the_quantiles_of_a_distribution() -> None:
    """Returns are uniform from 0 to 1: the quantile at a level is the level."""
    algorithm = make(cosines=7, features=32, quantiles=16, learningRate=3e-3, huberThreshold=0)
    learner, networks = make_learner(algorithm)
    batch = replay_batch(algorithm, 256)
    batch["observation"][:], batch["n_step_discount"][:], batch["action"][:] = 1, 0, 1
    rng = np.random.default_rng(0)
    for updates in range(400):
        batch["n_step_return"] = rng.random(256, np.float32)
        learner.update(batch, Progress(0, 0.0, updates))
    levels = np.array([[0.1, 0.3, 0.5, 0.7, 0.9]], np.float32)
    with torch.no_grad():
        found = quantile(networks, np.ones((1, 4), np.float32), levels)[0, :, 1]
    np.testing.assert_allclose(found, levels[0], atol=0.06)


def test_a_restored_learner_goes_on_bitwise_as_if_never_stopped() -> None:
    algorithm = make(targetUpdateInterval=3)
    batches = [replay_batch(algorithm, 16, seed) for seed in range(8)]
    whole, _ = make_learner(algorithm)
    for updates, batch in enumerate(batches[:4]):
        whole.update(batch, Progress(100, 0.1, updates))
    resumed, _ = make_learner(algorithm, seed=9)
    resumed.load_state(whole.state())
    for learner in (whole, resumed):
        for updates, batch in enumerate(batches[4:], start=4):
            learner.update(batch, Progress(200, 0.2, updates))
    assert same_arrays(whole, resumed)
    assert whole.state().values == resumed.state().values


def test_each_network_can_be_chosen_and_two_have_forms_of_their_own() -> None:
    algorithm = make()
    image = Spaces(BoxSpace((1, 36, 36), np.dtype(np.uint8), 0, 255), DiscreteSpace(ACTIONS))
    built = nets.build_networks(NetworkSpec(name="cnn"), algorithm.networks, image, 0)
    shapes = {
        name: [list(p.shape) for p in network.parameters() if p.ndim > 1]
        for name, network in built.items()
    }
    assert (shapes["level"], shapes["value"]) == ([[12, 7]], [[12, 12], [4, 12]])
    named = {"value": NamedNetworkSpec(name="mlp", config={"hidden": [9]})}
    built = nets.build_networks(NetworkSpec(name="cnn"), algorithm.networks, image, 0, named=named)
    value = [list(p.shape) for p in built["value"].parameters() if p.ndim > 1]
    assert value == [[9, 12], [4, 9]]


def test_replay_settings_reach_the_buffer() -> None:
    data = make(replay="rank", priorityExponent=0.7, batchSize=32).data
    assert isinstance(data, Replay)
    assert (data.priority_exponent, data.batch_size, data.weighting) == (0.7, 32, "rank")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quantiles": 0}, "quantiles: 0 is not allowed"),
        ({"features": 5000}, "features: 5000 is not allowed"),
        ({"huberThreshold": -1}, "huberThreshold: -1 is not allowed"),
        ({"nStep": 50}, r"nStep \(50\) must not be above rolloutLength"),
        ({"noisy": True}, "noisy"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        algorithms.load_config(AlgorithmSpec(name="IQN", config=config))
    assert str(caught.value.path).startswith("algorithm.config")


def test_actions_that_are_not_discrete_are_refused() -> None:
    with pytest.raises(InputError, match="IQN needs Discrete actions") as caught:
        make_algorithm("IQN", BoxSpace((2,)))
    assert caught.value.path == "environment"


def test_the_page_lists_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/algorithms/iqn.md").read_text()
    algorithm = make()
    learner, _ = make_learner(algorithm)
    for metric in learner.update(replay_batch(algorithm, 8), START).metrics:
        assert f"| `{metric}` |" in page, metric
