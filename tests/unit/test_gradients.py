"""Gradients written down by hand against torch's autograd, and Adam against torch's own class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, Spaces
from rljob.nets import torch_gradients
from rljob.nets.head import Head
from rljob.nets.torch_gradients import differentiable
from rljob.nets.torch_nets import Network
from rljob.nets.torch_optimizer import FlatAdam
from rljob.spec.sections import NetworkSpec
from tests.unit import networks

HEADS = {
    "advantage": Head(3, trunk="q"),
    "value": Head(1, trunk="q"),
    "other": Head(2),
    "free": Head(2, free=True),
}
ROWS = 7


def make_network(config: dict[str, Any], observation: Space, precision: str = "float32") -> Network:
    spaces = Spaces(observation, DiscreteSpace(3))
    return networks.build_module(NetworkSpec(config=config), spaces, HEADS, 1, precision)


def observations(space: Space, rng: np.random.Generator) -> np.ndarray:
    match space:
        case BoxSpace():
            return rng.normal(size=(ROWS, *space.shape)).astype(np.float32)
        case DiscreteSpace():
            return rng.integers(space.n, size=ROWS)
        case MultiDiscreteSpace():
            return rng.integers(space.nvec, size=(ROWS, len(space.nvec)))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [[16, 8], [5], []])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("normalised", [True, False])
def test_an_mlp_has_the_gradient_that_autograd_finds(
    activation: str, hidden: list[int], shared: bool, normalised: bool
) -> None:
    config = {"activation": activation, "hidden": hidden, "shared": shared}
    network = make_network(config, BoxSpace((4,)))
    if normalised:
        network.encoder.normalise(np.full(4, 0.5, np.float32), np.full(4, 2, np.float32), 0.6)
    _same_as_autograd(network, observations(BoxSpace((4,)), np.random.default_rng(0)))


@pytest.mark.parametrize("space", [BoxSpace((2, 3)), DiscreteSpace(5), MultiDiscreteSpace((2, 4))])
def test_so_it_has_for_every_space(space: Space) -> None:
    _same_as_autograd(make_network({}, space), observations(space, np.random.default_rng(0)))


def _same_as_autograd(network: Network, observation: np.ndarray) -> None:
    optimizer = FlatAdam(network, learning_rate=0.1)
    outputs, backward = differentiable(network).with_backward(observation)
    rng = np.random.default_rng(1)
    gradients = {
        name: rng.normal(size=output.shape).astype(np.float32) for name, output in outputs.items()
    }
    backward(gradients)
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    expected = network(torch.from_numpy(observation))
    total = sum((expected[name] * torch.from_numpy(g)).sum() for name, g in gradients.items())
    assert isinstance(total, torch.Tensor)
    optimizer.step(total, 0.0)

    assert outputs.keys() == expected.keys() == HEADS.keys()
    for name, output in outputs.items():
        np.testing.assert_allclose(output, expected[name].detach().numpy(), rtol=1e-5, atol=1e-5)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_with_several_threads_torch_does_what_is_much_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = make_network({}, BoxSpace((4,)))
    FlatAdam(network, learning_rate=0.1)
    rows = torch_gradients.WORK // sum(p.numel() for p in network.parameters()) + 1
    large, small = np.ones((rows, 4), np.float32), np.ones((2, 4), np.float32)
    asked: list[int] = []
    network.register_forward_hook(lambda _, inputs, __: asked.append(len(inputs[0])))
    values = differentiable(network)
    for threads, expected in ((1, []), (2, [rows, rows])):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        for observation in (large, small):
            values(observation)
            values.with_backward(observation)
        assert asked == expected
    np.testing.assert_allclose(values(large)["value"][:2], values(small)["value"], rtol=1e-5)


def test_only_some_heads_can_be_asked_for() -> None:
    network = make_network({"shared": False}, BoxSpace((4,)))
    values = differentiable(network)
    observation = observations(BoxSpace((4,)), np.random.default_rng(0))
    everything, some = values(observation), values(observation, ("other",))
    assert everything.keys() == HEADS.keys()
    np.testing.assert_array_equal(some["other"], everything["other"])


def test_it_reads_the_weights_that_the_network_has_at_the_time() -> None:
    network = make_network({}, BoxSpace((4,)))
    FlatAdam(network, learning_rate=0.1)
    values = differentiable(network)
    other = {name: torch.randn_like(tensor) for name, tensor in network.state_dict().items()}
    other["encoder.std"].abs_()
    other["encoder.limit"].fill_(1.0)
    network.load_state_dict(other)
    observation = observations(BoxSpace((4,)), np.random.default_rng(0))
    expected = network(torch.from_numpy(observation))
    for name, output in values(observation).items():
        np.testing.assert_allclose(output, expected[name].detach().numpy(), rtol=1e-4, atol=1e-5)


def test_in_half_precision_autograd_does_it() -> None:
    network = make_network({}, BoxSpace((4,)), "bfloat16")
    FlatAdam(network, learning_rate=0.1)
    observation = observations(BoxSpace((4,)), np.random.default_rng(0))
    expected = network(torch.from_numpy(observation))
    for _ in range(2):  # The second replaces the first and is not added to it.
        outputs, backward = differentiable(network).with_backward(observation)
        backward({name: np.ones_like(output) for name, output in outputs.items()})
    grads = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=False)
    sum(output.sum() for output in expected.values()).backward()  # type: ignore[union-attr]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(grads[name], parameter.grad)


@pytest.mark.parametrize("clip", [None, 0.5, 1e9])
def test_adam_steps_like_torchs(clip: float | None) -> None:
    network, reference = (make_network({}, BoxSpace((4,))) for _ in range(2))
    optimizer = FlatAdam(network, learning_rate=0.01, max_gradient_norm=clip)
    theirs = torch.optim.Adam(reference.parameters(), lr=0.01, eps=1e-5)
    rng = np.random.default_rng(0)
    for _ in range(5):
        observation = torch.from_numpy(observations(BoxSpace((4,)), rng))
        norm = optimizer.step(network(observation)["advantage"].square().sum())
        theirs.zero_grad()
        reference(observation)["advantage"].square().sum().backward()
        limit = float("inf") if clip is None else clip
        expected = torch.nn.utils.clip_grad_norm_(reference.parameters(), limit)
        assert norm == pytest.approx(float(expected), rel=1e-4)
        theirs.step()
    touched = {name for name, p in reference.named_parameters() if p.grad is not None}
    for (name, mine), other in zip(network.named_parameters(), reference.parameters(), strict=True):
        if name in touched:
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
