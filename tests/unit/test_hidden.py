"""Options of hidden layers: numpy acts as torch does, gradients are those of autograd, weights start as published."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch

from rljob import nets
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.nets.activations import ACTIVATIONS, SLOPES, Activation
from rljob.nets.configs import Initialisation
from rljob.nets.head import Head, Net
from rljob.nets.torch_gradients import _ByEither, differentiable
from rljob.nets.torch_hidden import ACTIVATIONS as TORCH
from rljob.nets.torch_nets import Network
from rljob.nets.torch_optimizer import FlatAdam
from rljob.spec.sections import NetworkSpec
from tests.unit import networks

SPACES = Spaces(BoxSpace((4,)), DiscreteSpace(3))
HEADS = {"logits": Head(3, trunk="policy"), "value": Head(1, trunk="value")}
OPTIONS: list[dict[str, Any]] = [
    *({"activation": name} for name in get_args(Activation)),
    {"layerNorm": True},
    {"layerNorm": True, "hidden": []},
    {"residual": True, "hidden": [8, 8, 5, 5]},
    {"residual": True, "layerNorm": True, "activation": "silu", "hidden": [4, 4, 4]},
    {"init": "kaiming", "activation": "relu", "shared": True, "layerNorm": True},
]
X = np.linspace(-6, 6, 97, dtype=np.float32)


def randomise(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.5)


def seen(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)


@pytest.mark.parametrize("name", get_args(Activation))
def test_activations_are_those_of_torch(name: Activation) -> None:
    x = torch.from_numpy(X).requires_grad_()
    expected = TORCH[name](x)
    apart = np.empty_like(X)
    assert ACTIVATIONS[name](X, out=apart) is apart
    np.testing.assert_allclose(apart, expected.detach(), rtol=1e-5, atol=1e-6)
    in_place = X.copy()
    ACTIVATIONS[name](in_place, out=in_place)
    np.testing.assert_allclose(in_place, expected.detach(), rtol=1e-5, atol=1e-6)
    if name in SLOPES:
        expected.sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        np.testing.assert_allclose(SLOPES[name](in_place), x.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "gru", "lstm"])
@pytest.mark.parametrize("config", OPTIONS, ids=str)
def test_numpy_agrees_with_torch(network: str, config: dict[str, Any]) -> None:
    if network != "mlp" and "shared" in config:
        config = {name: value for name, value in config.items() if name != "shared"}
    spec = NetworkSpec(name=network, config=config)
    net = {"policy": Net(HEADS, acts=tuple(HEADS), memory=True)}
    module: Any = nets.build_networks(spec, net, SPACES, seed=0)
    acting = nets.build_acting(spec, net, SPACES)
    for change in (lambda _: None, randomise):
        change(module["policy"])
        acting.load(nets.export(module, net))
        for rows in (1, 7, 3):
            with torch.no_grad():
                expected = module["policy"](torch.from_numpy(seen(rows)))
            for name, output in acting.engines["policy"](seen(rows)).items():
                np.testing.assert_allclose(output, expected[name], rtol=1e-4, atol=2e-5)


def test_layers_of_the_value_do_not_travel_to_the_policy() -> None:
    spec = NetworkSpec(config={"layerNorm": True})
    module = networks.build_module(spec, SPACES, HEADS, seed=0)
    names = networks.export(module, ("logits",))
    assert "body.trunks.policy.norms.1.weight" in names
    assert not [name for name in names if "value" in name]


@pytest.mark.parametrize("config", OPTIONS, ids=str)
def test_gradients_are_those_of_autograd_and_by_numpy_only_where_it_can(
    config: dict[str, Any],
) -> None:
    network: Network = networks.build_module(NetworkSpec(config=config), SPACES, HEADS, seed=0)
    randomise(network)
    optimizer = FlatAdam(network, learning_rate=0.1, max_gradient_norm=None)
    learning = differentiable(network)
    plain = not config.get("layerNorm") and not config.get("residual")
    by_numpy = plain and config.get("activation", "tanh") not in ("gelu", "silu")
    assert isinstance(learning, _ByEither) == by_numpy

    outputs, backward = learning.with_backward(seen(7))
    rng = np.random.default_rng(1)
    gradients = {
        name: rng.normal(size=output.shape).astype(np.float32) for name, output in outputs.items()
    }
    backward(gradients)
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    expected = network(torch.from_numpy(seen(7)))
    total = torch.stack(
        [(expected[name] * torch.from_numpy(each)).sum() for name, each in gradients.items()]
    ).sum()
    optimizer.step(total, 0.0)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_a_residual_layer_adds_its_input_where_the_widths_are_equal() -> None:
    config = {"hidden": [4, 4, 6], "residual": True, "activation": "relu"}
    module = networks.build_module(
        NetworkSpec(config=config), SPACES, {"value": Head(1, trunk="v")}, seed=0
    )
    first, second, third = module.body.layers["v"].linears
    x = torch.from_numpy(seen(5))
    h = torch.relu(first(x))
    h = h + torch.relu(second(h))
    expected = module.body.heads["value"](torch.relu(third(h)))
    torch.testing.assert_close(module(x)["value"], expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_options_compute_in_either_precision(precision: str) -> None:
    config = {"layerNorm": True, "residual": True, "activation": "gelu"}
    spec = NetworkSpec(config=config)
    module = networks.build_module(spec, SPACES, HEADS, 0, precision)
    engine = networks.build_engine(spec, SPACES, HEADS, ("logits",), precision)
    engine.load(networks.export(module, ("logits",)))
    with torch.no_grad():
        expected = module(torch.from_numpy(seen(5)))["logits"]
    np.testing.assert_allclose(engine(seen(5))["logits"], expected, atol=0.05)


STARTS = {
    "orthogonal": (2 / 256) ** 0.5,
    "xavier": (2 / 512) ** 0.5,
    "kaiming": (2 / 256) ** 0.5,
    "lecun": (1 / 256) ** 0.5,
}
"""Standard deviation of the weights between two layers of 256 units."""


@pytest.mark.parametrize("init", get_args(Initialisation))
def test_weights_start_with_the_spread_of_their_distribution(init: str) -> None:
    spec = NetworkSpec(config={"hidden": [256, 256], "init": init})
    heads = {"policy": Head(256, gain=0.01), "value": Head(256)}
    body = networks.build_module(spec, SPACES, heads, seed=0).body
    hidden = body.layers["policy"].linears[1].weight
    assert float(hidden.detach().std()) == pytest.approx(STARTS[init], rel=0.02)
    small, large = (body.heads[name].weight.detach().std() for name in heads)
    assert float(small / large) == pytest.approx(0.01, rel=0.05)
    assert not any(p.any() for name, p in body.named_parameters() if name.endswith("bias"))
    if init == "orthogonal":
        np.testing.assert_allclose(hidden.detach() @ hidden.detach().T, 2 * np.eye(256), atol=1e-4)


@pytest.mark.parametrize("init", get_args(Initialisation))
def test_convolutions_start_with_the_same_spread(init: str) -> None:
    config = {"channels": [64], "kernels": [4], "strides": [4], "hidden": [], "init": init}
    spaces = Spaces(BoxSpace((20, 20, 16), np.dtype(np.uint8), 0, 255), DiscreteSpace(3))
    spec = NetworkSpec(name="cnn", config=config)
    body = networks.build_module(spec, spaces, HEADS, seed=0).body
    # A filter sees 4 x 4 x 16 numbers; xavier counts 4 x 4 x 64 that it is part of, too.
    expected = {**STARTS, "xavier": (2 / (256 + 1024)) ** 0.5}
    spread = float(body.convolutions[0].weight.detach().std())
    assert spread == pytest.approx(expected[init], rel=0.03)
