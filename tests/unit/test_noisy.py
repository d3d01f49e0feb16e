"""Noisy networks: what acts is what is learned, gradients, and the settings of algorithms that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rljob
from rljob import algorithms, nets
from rljob.algorithms.base import Place, Policy, Progress, Seen
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.errors import InputError, RunError
from rljob.nets.acting import ActingNetworks
from rljob.nets.head import Head, Net
from rljob.nets.noisy import NoisyEngine, draw_factors
from rljob.nets.torch_gradients import differentiable
from rljob.nets.torch_noisy import NoisyCopy
from rljob.nets.torch_optimizer import FlatAdam
from rljob.spec.sections import AlgorithmSpec, NetworkSpec
from tests.unit.saved_policies import save_run
from tests.unit.segments import make_algorithm, make_learner, replay_batch, same_arrays

VECTOR, IMAGE = BoxSpace((4,)), BoxSpace((1, 36, 36), np.dtype(np.uint8), 0, 255)
NETWORKS: dict[str, tuple[NetworkSpec, BoxSpace]] = {
    "plain": (NetworkSpec(config={"hidden": [8, 8]}), VECTOR),
    "mlp": (NetworkSpec(config={"hidden": [8, 8], "layerNorm": True}), VECTOR),
    "cnn": (NetworkSpec(name="cnn", config={"hidden": [16]}), IMAGE),
    "imported": (NetworkSpec(entry_point="tests.unit.networks:AnyInputs"), VECTOR),
}
HEADS = {"a": Head(3, trunk="q"), "b": Head(2, trunk="q")}
NOISY = {"q": Net(HEADS, acts=("a", "b"), noise=0.5)}
NAMES = pytest.mark.parametrize("name", ["DQN", "C51", "QRDQN"])


def observations(space: BoxSpace, rows: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    if space.dtype == np.uint8:
        return rng.integers(0, 256, (rows, *space.shape), np.uint8)
    return rng.standard_normal((rows, *space.shape), np.float32)


def build(kind: str) -> tuple[Any, NoisyEngine, np.ndarray]:
    """A network, its engine with these weights, and observations."""
    spec, space = NETWORKS[kind]
    spaces = Spaces(space, DiscreteSpace(3))
    networks = nets.build_networks(spec, NOISY, spaces, seed=1)
    acting = nets.build_acting(spec, NOISY, spaces)
    acting.load(nets.export(networks, NOISY))
    engine = acting.engines["q"]
    assert isinstance(engine, NoisyEngine)
    return networks["q"], engine, observations(space)


def values(outputs: Any) -> np.ndarray:
    return np.concatenate([np.asarray(outputs[name]).copy() for name in HEADS], axis=-1)


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_acts_is_what_is_learned(kind: str) -> None:
    network, engine, observation = build(kind)
    with torch.no_grad():
        mean = values(network(torch.from_numpy(observation)))
    np.testing.assert_allclose(values(engine(observation)), mean, atol=1e-5)
    noisy = NoisyCopy(network)
    theirs, mine = np.random.default_rng(5), np.random.default_rng(5)
    seen = []
    for _ in range(2):
        noisy.draw(theirs)
        engine.draw(mine)
        with torch.no_grad():
            drawn = values(noisy.network(torch.from_numpy(observation)))
        np.testing.assert_allclose(values(engine(observation)), drawn, atol=1e-4)
        seen.append(drawn)
    assert {b.data_ptr() for b in noisy.network.buffers()} == {
        b.data_ptr() for b in network.buffers()
    }
    assert np.abs(seen[0] - mean).max() > 0.01
    assert np.abs(seen[0] - seen[1]).max() > 0.01
    with torch.no_grad():
        np.testing.assert_array_equal(values(network(torch.from_numpy(observation))), mean)


def test_the_noise_is_factorised_and_scaled_as_in_the_paper() -> None:
    network, *_ = build("plain")
    layer = network.body.heads["a"]
    np.testing.assert_allclose(layer.weight_scale.detach(), 0.5 / np.sqrt(8))
    np.testing.assert_allclose(layer.bias_scale.detach(), 0.5 / np.sqrt(8))
    noisy, rng = NoisyCopy(network), np.random.default_rng(3)
    mine = noisy.network.body.heads["a"]
    found = []
    for _ in range(4000):
        noisy.draw(rng)
        noise = (mine.weight - layer.weight).detach().numpy() / layer.weight_scale.detach().numpy()
        found.append(noise)
        assert np.linalg.matrix_rank(noise) == 1
    # Of the product of two signed roots: mean 0, and as variance the mean of |x| squared.
    np.testing.assert_allclose(np.mean(found, axis=0), 0, atol=0.06)
    np.testing.assert_allclose(np.var(found, axis=0), 2 / np.pi, atol=0.08)
    by_input, by_output = draw_factors(np.random.default_rng(0), 3, 2)
    drawn = np.random.default_rng(0).standard_normal(5, np.float32)
    np.testing.assert_allclose(by_input * np.abs(by_input), drawn[:3], rtol=1e-5)
    np.testing.assert_allclose(by_output * np.abs(by_output), drawn[3:], rtol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_of_means_and_scales_are_those_of_the_drawn_weights(kind: str) -> None:
    network, _, observation = build(kind)
    optimizer = FlatAdam(network, learning_rate=0.1)
    noisy = NoisyCopy(network)
    for seed in (1, 2):
        noisy.draw(np.random.default_rng(seed))
        outputs, backward = differentiable(noisy.network).with_backward(observation)
        wanted = {name: np.cos(output) for name, output in outputs.items()}
        backward(wanted)
        noisy.write_gradient()
        # Independently: the weights as a function of means and scales, by autograd.
        leaves = {
            name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()
        }
        rng, weights = np.random.default_rng(seed), dict(leaves)
        for name in [each for each in leaves if each.endswith(".weight_scale")]:
            layer = name.removesuffix(".weight_scale")
            out, fan_in = leaves[name].shape
            by_input, by_output = map(torch.from_numpy, draw_factors(rng, fan_in, out))
            noises = {"weight": by_output[:, None] * by_input, "bias": by_output}
            for part, noise in noises.items():
                whole = f"{layer}.{part}"
                weights[whole] = leaves[whole] + leaves[f"{whole}_scale"] * noise
        data = torch.from_numpy(observation)
        outputs = torch.func.functional_call(network, weights, (data,))
        torch.autograd.backward(
            [outputs[name] for name in HEADS], [torch.from_numpy(wanted[name]) for name in HEADS]
        )
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            grad = leaves[name].grad
            np.testing.assert_allclose(parameter.grad, grad, rtol=1e-3, atol=1e-5)
        optimizer.descend()


def test_weights_without_scales_are_refused() -> None:
    network, engine, _ = build("plain")
    plain = {name: array.numpy() for name, array in network.state_dict().items()}
    with pytest.raises(RunError, match="scales of its noise are missing"):
        engine.load({name: each for name, each in plain.items() if not name.endswith("_scale")})
    with pytest.raises(ValueError, match="several copies cannot be noisy"):
        Net({"q": Head(1)}, copies=2, noise=0.5)


def test_a_network_without_dense_layers_is_refused() -> None:
    spec = NetworkSpec(entry_point="tests.unit.test_noisy:Constant")
    with pytest.raises(InputError, match=r"no torch\.nn\.Linear") as caught:
        nets.build_networks(spec, NOISY, Spaces(VECTOR, DiscreteSpace(3)), seed=0)
    assert caught.value.path == "network.entryPoint"


class Constant(torch.nn.Module):
    """Has no dense layer."""

    def __init__(self, observation_shape: Any, heads: dict[str, int]) -> None:
        super().__init__()
        self.values = torch.nn.ParameterDict({k: torch.zeros(n) for k, n in heads.items()})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: each.expand(len(x), -1) for name, each in self.values.items()}


@NAMES
def test_rollouts_draw_and_evaluations_act_by_the_means(name: str) -> None:
    algorithm = make_algorithm(name, noisy=True, epsilon=0)
    spec, spaces = NetworkSpec(config={"hidden": [16]}), Spaces(VECTOR, DiscreteSpace(2))
    networks = nets.build_networks(spec, algorithm.networks, spaces, seed=0)
    acting = nets.build_acting(spec, algorithm.networks, spaces)
    acting.load({**nets.export(networks, algorithm.networks), "epsilon": np.array(0.0)})
    yes, count = np.ones(200, bool), 200
    seen = Seen(observations(VECTOR, count), yes, yes, np.zeros(count, np.float32))

    def actions(networks: ActingNetworks, greedy: bool) -> list[list[int]]:
        place = Place(count, np.random.default_rng(0), total=count, greedy=greedy)
        actor = algorithm.actor(Policy(networks, count), place)
        return [actor.act(seen).action.tolist() for _ in range(6)]

    once, *others = actions(acting, greedy=True)
    assert all(other == once for other in others)
    drawn = actions(acting, greedy=False)
    assert len({tuple(each) for each in drawn}) > 3


@NAMES
def test_a_loaded_policy_draws_noise_for_the_call_that_asks_for_it_alone(
    name: str, tmp_path: Path
) -> None:
    spaces = Spaces(VECTOR, DiscreteSpace(2))
    save_run(tmp_path, spaces, {"name": name, "config": {"noisy": True, "epsilon": 0}})
    policy, seen = rljob.load_policy(tmp_path, seed=0), observations(VECTOR, 500)
    mean = policy.act(seen).tolist()
    episode = policy.episode()
    for _ in range(3):
        assert policy.act(seen, deterministic=False).tolist() != mean
        assert episode.act(seen).tolist() == mean
        assert policy.act(seen, deterministic=False).tolist() != mean
        assert policy.act(seen).tolist() == mean


@NAMES
def test_a_restored_learner_draws_the_same_noise(name: str) -> None:
    algorithm = make_algorithm(name, noisy=True, epsilon=0, targetUpdateInterval=3)
    batches = [replay_batch(algorithm, 16, seed) for seed in range(8)]
    whole, network = make_learner(algorithm)
    first = [p.detach().clone() for p in network.parameters()]
    for updates, batch in enumerate(batches[:4]):
        whole.update(batch, Progress(100, 0.1, updates))
    assert not any(bool((a == b).all()) for a, b in zip(first, network.parameters(), strict=True))
    resumed, _ = make_learner(algorithm, seed=9)
    resumed.load_state(whole.state())
    for learner in (whole, resumed):
        for updates, batch in enumerate(batches[4:], start=4):
            learner.update(batch, Progress(200, 0.2, updates))
    assert same_arrays(whole, resumed)


@NAMES
def test_noise_that_explores_nothing_is_refused(name: str) -> None:
    for config, message in (
        ({"noisy": True}, "noisy explores by itself: set epsilon: 0"),
        ({"noisy": True, "epsilon": 0, "noisyScale": 0}, "needs a noisyScale above 0"),
        ({"noisyScale": -1}, "noisyScale: -1 is not allowed"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            algorithms.load_config(AlgorithmSpec(name=name, config=config))
        assert str(caught.value.path).startswith("algorithm.config")
