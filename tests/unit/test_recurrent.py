"""Networks with memory: numpy and torch agree along time, and nothing is remembered over an episode's end."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from rljob import nets
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Space, Spaces
from rljob.errors import InputError
from rljob.nets.head import Head, Net
from rljob.nets.torch_batch import begins
from rljob.spec.sections import NetworkSpec

HEADS = {"logits": Head(3), "value": Head(1), "log_std": Head(2, free=True)}
NET = {"policy": Net(HEADS, acts=tuple(HEADS), memory=True)}
LENGTH, COUNT = 7, 4
each_network = pytest.mark.parametrize("name", ["gru", "lstm"])


def build(name: str, observation: Space, **config: Any) -> tuple[Any, Any]:
    """The torch network, and acting with its weights."""
    spec, spaces = NetworkSpec(name=name, config=config), Spaces(observation, DiscreteSpace(3))
    network = nets.build_networks(spec, NET, spaces, seed=3)["policy"]
    acting = nets.build_acting(spec, NET, spaces)
    acting.load(nets.export({"policy": network}, NET))
    return network, acting.engines["policy"]


@pytest.mark.parametrize(
    "config", [{}, {"hidden": []}, {"hidden": [16, 8], "activation": "relu", "size": 5}], ids=str
)
@pytest.mark.parametrize("observation", [BoxSpace((2, 3)), DiscreteSpace(5)], ids=str)
@each_network
def test_acting_step_by_step_is_the_network_along_time(
    name: str, observation: Space, config: dict[str, Any]
) -> None:
    network, engine = build(name, observation, **config)
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 5, (LENGTH + 1, COUNT, *observation.shape)).astype(observation.dtype)
    valid = rng.random((LENGTH, COUNT)) > 0.3
    core = rng.normal(size=(1, COUNT, engine.core_size)).astype(np.float32)
    memory, acted = core[0].copy(), []
    for t in range(LENGTH + 1):
        if t:
            memory[~valid[t - 1]] = 0
        acted.append({head: each.copy() for head, each in engine(seen[t], core=memory).items()})
    outputs, after = network.unroll(
        torch.from_numpy(seen), begins(torch.from_numpy(valid)), torch.from_numpy(core)
    )
    for head, output in outputs.items():
        found = np.stack([each[head] for each in acted])
        np.testing.assert_allclose(found, output.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(memory, after[0].detach(), rtol=1e-4, atol=1e-5)


@each_network
def test_a_sequence_in_two_parts_is_the_whole(name: str) -> None:
    network, _ = build(name, BoxSpace((2,)))
    seen = torch.randn(LENGTH + 1, COUNT, 2)
    starts = begins(torch.rand(LENGTH, COUNT) > 0.3)
    whole, _ = network.unroll(seen, starts)
    first, core = network.unroll(seen[:3], starts[:3])
    second, _ = network.unroll(seen[3:], starts[3:], core)
    torch.testing.assert_close(torch.cat([first["logits"], second["logits"]]), whole["logits"])


@each_network
def test_one_step_starts_from_an_empty_memory(name: str) -> None:
    network, engine = build(name, BoxSpace((2,)))
    seen = np.ones((COUNT, 2), np.float32)
    empty = np.zeros((COUNT, engine.core_size), np.float32)
    np.testing.assert_allclose(
        network(torch.from_numpy(seen))["logits"].detach(),
        engine(seen, core=empty)["logits"],
        atol=1e-6,
    )


@pytest.mark.parametrize(("name", "states"), [("gru", 1), ("lstm", 2)])
def test_a_step_is_that_of_torchs_own_cell(name: str, states: int) -> None:
    network, _ = build(name, BoxSpace((3,)), hidden=[], size=5)
    body = network.body
    cell: Any = {"gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}[name](3, 5)
    cell.load_state_dict(
        {
            "weight_ih": body.input.weight,
            "bias_ih": body.input.bias,
            "weight_hh": body.memory.weight,
            "bias_hh": body.memory.bias,
        }
    )
    x, before = torch.randn(COUNT, 3), torch.randn(COUNT, states * 5)
    state = before.chunk(states, dim=-1)
    after = cell(x, state if states > 1 else state[0])
    begins = torch.zeros(1, COUNT, dtype=torch.bool)
    _, found = body.unroll(x[None], before[None], begins)
    torch.testing.assert_close(found[0], torch.cat(after, -1) if states > 1 else after)


@each_network
def test_the_gradient_by_numpy_is_that_of_autograd(name: str) -> None:
    network, _ = build(name, BoxSpace((3,)), size=5)
    seen, starts = torch.randn(LENGTH, COUNT, 3), torch.rand(LENGTH, COUNT) > 0.7
    core = torch.randn(1, COUNT, network.core_size, requires_grad=True)
    wanted = [core, *network.body.parameters()]
    found = []
    # Other dtypes than float32 are followed by torch.
    for dtype in (torch.float32, torch.float64):
        network.body.to(dtype)
        outputs, last = network.body.unroll(seen.to(dtype), core.to(dtype), starts)
        assert last.dtype == dtype
        loss = outputs["value"].sin().sum() + outputs["logits"].cos().sum() + last.exp().sum()
        found.append(torch.autograd.grad(loss, wanted))
        wanted = [core, *network.body.parameters()]
    for by_numpy, by_torch in zip(*found, strict=True):
        torch.testing.assert_close(by_numpy.double(), by_torch.double(), rtol=1e-4, atol=1e-5)


def test_an_lstm_forgets_little_at_first() -> None:
    network, _ = build("lstm", BoxSpace((3,)), size=2)
    assert network.body.memory.bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def test_a_network_without_memory_is_unrolled_row_by_row() -> None:
    spaces = Spaces(BoxSpace((2,)), DiscreteSpace(3))
    network = nets.build_networks(NetworkSpec(), NET, spaces, seed=0)["policy"]
    seen = torch.randn(LENGTH + 1, COUNT, 2)
    starts = torch.zeros(LENGTH + 1, COUNT, dtype=torch.bool)
    outputs, core = network.unroll(seen, starts)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(outputs["value"][2], network(seen[2])["value"])
    assert core is None


@each_network
@pytest.mark.parametrize("build", [nets.build_acting, nets.build_networks])
def test_an_algorithm_that_follows_no_memory_is_refused(name: str, build: Any) -> None:
    spaces = Spaces(BoxSpace((2,)), DiscreteSpace(3))
    net = {"policy": Net(HEADS, acts=("logits",))}
    more = (0,) if build is nets.build_networks else ()
    with pytest.raises(InputError, match="allowed are mlp, cnn") as caught:
        build(NetworkSpec(name=name), net, spaces, *more)
    assert caught.value.path == "network.name"


def test_bfloat16_is_refused() -> None:
    spaces = Spaces(BoxSpace((2,)), DiscreteSpace(3))
    with pytest.raises(InputError, match="allowed is float32") as caught:
        nets.build_networks(NetworkSpec(name="lstm"), NET, spaces, 0, "bfloat16")
    assert caught.value.path == "learner.precision"
    with pytest.raises(InputError, match="allowed is float32") as caught:
        nets.build_acting(NetworkSpec(name="gru"), NET, spaces, "bfloat16")
    assert caught.value.path == "rollout.precision"


@each_network
def test_acting_never_imports_torch(name: str) -> None:
    program = """
import sys
import numpy as np
from rljob import nets
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.nets.head import Head, Net
from rljob.spec.sections import NetworkSpec
net = {"policy": Net({"logits": Head(2)}, acts=("logits",), memory=True)}
nets.build_acting(NetworkSpec(name=sys.argv[1]), net, Spaces(BoxSpace((2,)), DiscreteSpace(2)))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, name], check=True, timeout=120)
