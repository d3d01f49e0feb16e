"""The numpy engine against torch, weights on the way between them, networks by import path."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rljob import nets
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, Spaces
from rljob.errors import InputError, RunError
from rljob.nets.head import Head, Net
from rljob.spec.sections import NetworkSpec
from tests.unit import networks

SEPARATE = {
    "logits": Head(3, gain=0.01, trunk="policy"),
    "log_std": Head(2, free=True),
    "value": Head(1, trunk="value"),
}
TOGETHER = {"advantage": Head(4, trunk="q"), "value": Head(1, trunk="q")}
OBSERVATIONS: dict[str, Space] = {
    "box": BoxSpace((4,)),
    "matrix": BoxSpace((3, 2)),
    "scalar": BoxSpace(()),
    "bytes": BoxSpace((5,), np.dtype(np.uint8), 0, 255),
    "image": BoxSpace((6, 5, 3), np.dtype(np.uint8), 0, 255),
    "integers": BoxSpace((2,), np.dtype(np.int32)),
    "discrete": DiscreteSpace(5, start=2),
    "multi": MultiDiscreteSpace((3, 2, 4)),
}
CONFIGS: list[dict[str, Any]] = [
    {},
    {"activation": "relu"},
    {"hidden": [32, 16, 8], "shared": True},
    {"hidden": []},
]


def draw(space: Space, rows: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if isinstance(space, DiscreteSpace):
        return rng.integers(space.n, size=rows)
    if isinstance(space, MultiDiscreteSpace):
        return np.stack([rng.integers(n, size=rows) for n in space.nvec], axis=-1)
    if space.dtype.kind in "iu":
        return rng.integers(0, 255, (rows, *space.shape)).astype(space.dtype)
    return rng.standard_normal((rows, *space.shape), dtype=np.float32)


def spaces_of(observation: Space) -> Spaces:
    return Spaces(observation, DiscreteSpace(3))


def randomise(module: nn.Module, seed: int = 1) -> None:
    """Weights, biases and normalisation that are all different from their initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    encoder: Any = module.encoder
    mean, std = (
        torch.randn(encoder.mean.shape, generator=generator),
        torch.rand(encoder.std.shape, generator=generator),
    )
    encoder.normalise(mean.numpy(), (std + 0.5).numpy(), 1.5)


def test_normalisation_without_a_limit_is_not_skipped() -> None:
    spec, spaces = NetworkSpec(name="mlp", config={}), spaces_of(OBSERVATIONS["box"])
    module = networks.build_module(spec, spaces, TOGETHER, seed=3)
    mean, std = np.full(4, 2.0, np.float32), np.full(4, 0.5, np.float32)
    module.encoder.normalise(mean, std, np.inf)
    np.testing.assert_allclose(module.encoder(torch.full((1, 4), 3.0)), np.full((1, 4), 2.0))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("kind", OBSERVATIONS)
@pytest.mark.parametrize("heads", [SEPARATE, TOGETHER], ids=["separate", "together"])
def test_numpy_agrees_with_torch(kind: str, config: dict[str, Any], heads: dict[str, Head]) -> None:
    spec = NetworkSpec(name="mlp", config=config)
    spaces = spaces_of(OBSERVATIONS[kind])
    module = networks.build_module(spec, spaces, heads, seed=3)
    engine = networks.build_engine(spec, spaces, heads, tuple(heads))
    for changed in (False, True):
        if changed:
            randomise(module)
        engine.load(networks.export(module, tuple(heads)))
        for rows in (1, 7, 64, 7):
            observation = draw(OBSERVATIONS[kind], rows, seed=rows)
            with torch.no_grad():
                expected = module(torch.from_numpy(observation))
            outputs = engine(observation)
            assert set(outputs) == set(heads)
            for name, output in outputs.items():
                assert output.dtype == np.float32
                assert output.shape == (rows, heads[name].size)
                np.testing.assert_allclose(
                    output, expected[name].detach().numpy(), rtol=1e-4, atol=1e-5
                )


@pytest.mark.parametrize("config", [{}, {"hidden": []}], ids=str)
@pytest.mark.parametrize("order", [list(OBSERVATIONS), list(reversed(OBSERVATIONS))], ids=["", "r"])
def test_numpy_agrees_with_torch_on_several_inputs(
    order: list[str], config: dict[str, Any]
) -> None:
    spec, spaces = NetworkSpec(name="mlp", config=config), spaces_of(OBSERVATIONS["box"])
    inputs = tuple(OBSERVATIONS[kind] for kind in order)
    net = {"q": Net(SEPARATE, acts=tuple(SEPARATE), inputs=inputs)}
    module: Any = nets.build_networks(spec, net, spaces, seed=3)["q"]
    acting = nets.build_acting(spec, net, spaces)
    for change in (lambda module: None, randomise):
        change(module)
        acting.load(nets.export({"q": module}, net))
        for rows in (1, 7):
            arrays = [draw(space, rows, seed) for seed, space in enumerate(inputs)]
            with torch.no_grad():
                expected = module(*map(torch.from_numpy, arrays))
            outputs = acting.engines["q"](*arrays)
            for name, output in outputs.items():
                assert output.shape == (rows, SEPARATE[name].size)
                np.testing.assert_allclose(
                    output, expected[name].detach().numpy(), rtol=1e-4, atol=1e-5
                )


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_each_of_several_inputs_counts(name: str) -> None:
    spec, spaces = NetworkSpec(), spaces_of(OBSERVATIONS["box"])
    inputs = (OBSERVATIONS["box"], OBSERVATIONS["multi"], OBSERVATIONS["matrix"])
    net = {"q": Net(TOGETHER, acts=tuple(TOGETHER), inputs=inputs)}
    modules: Any = nets.build_networks(spec, net, spaces, seed=3)
    acting = nets.build_acting(spec, net, spaces)
    acting.load(nets.export(modules, net))

    def answer(arrays: list[np.ndarray]) -> np.ndarray:
        if name == "numpy":
            return acting.engines["q"](*arrays)["advantage"].copy()
        found: np.ndarray = (
            modules["q"](*map(torch.from_numpy, arrays))["advantage"].detach().numpy()
        )
        return found

    arrays = [draw(space, 5, seed) for seed, space in enumerate(inputs)]
    before = answer(arrays)
    for index, space in enumerate(inputs):
        changed = [*arrays]
        changed[index] = draw(space, 5, seed=99)
        assert (answer(changed) != before).any()
    with pytest.raises(ValueError, match="zip"):
        answer(arrays[:2])


def test_copies_are_independent_and_called_as_one() -> None:
    spaces = spaces_of(OBSERVATIONS["box"])
    net = {"critics": Net(TOGETHER, inputs=(OBSERVATIONS["box"], OBSERVATIONS["multi"]), copies=3)}
    critics: Any = nets.build_networks(NetworkSpec(), net, spaces, seed=3)["critics"]
    inputs = [torch.from_numpy(draw(space, 5)) for space in net["critics"].inputs]
    outputs = critics(*inputs)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "advantage": (3, 5, 4),
        "value": (3, 5, 1),
    }
    for index, network in enumerate(critics.networks):
        for name, output in network(*inputs).items():
            torch.testing.assert_close(outputs[name][index], output)
    assert (outputs["value"][0] != outputs["value"][1]).all(), "weights of their own"
    outputs["value"][1].sum().backward()
    for index, network in enumerate(critics.networks):
        gradient = network.body.heads["value"].weight.grad
        assert (gradient is not None and bool(gradient.any())) == (index == 1)
    assert nets.export({"critics": critics}, net) == {}, "nothing of it acts"


def test_copies_cannot_act() -> None:
    with pytest.raises(ValueError, match="several copies cannot act"):
        Net(TOGETHER, acts=("advantage",), copies=2)
    assert Net(TOGETHER, acts=("advantage",), copies=1).copies == 1


def test_the_observation_is_the_input_unless_others_are_named() -> None:
    box, multi = OBSERVATIONS["box"], OBSERVATIONS["multi"]
    assert Net(TOGETHER).inputs_of(box) == (box,)
    assert Net(TOGETHER, inputs=(multi, box)).inputs_of(box) == (multi, box)


def test_networks_that_do_not_act_do_not_travel() -> None:
    spaces = spaces_of(OBSERVATIONS["box"])
    net = {
        "critic": Net(TOGETHER, inputs=(OBSERVATIONS["box"], DiscreteSpace(3))),
        "policy": Net(SEPARATE, acts=("logits",)),
        "second": Net(TOGETHER, acts=("advantage",)),
    }
    modules: Any = nets.build_networks(NetworkSpec(), net, spaces, seed=0)
    assert list(modules) == list(net)
    acting = nets.build_acting(NetworkSpec(), net, spaces)
    assert list(acting.engines) == ["policy", "second"]
    arrays = nets.export(modules, net)
    assert {name.partition("/")[0] for name in arrays} == {"policy", "second"}
    acting.load(arrays)
    observation = draw(OBSERVATIONS["box"], 2)
    with torch.no_grad():
        expected = modules["second"](torch.from_numpy(observation))["advantage"]
    found = acting.engines["second"](observation)["advantage"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_only_the_acting_heads_travel_and_are_computed() -> None:
    spaces = spaces_of(OBSERVATIONS["box"])
    module = networks.build_module(NetworkSpec(), spaces, SEPARATE, seed=0)
    tensors = networks.export(module, ("logits", "log_std"))
    assert not [name for name in tensors if "value" in name]
    engine = networks.build_engine(NetworkSpec(), spaces, SEPARATE, ("logits", "log_std"))
    engine.load(tensors)
    assert set(engine(draw(OBSERVATIONS["box"], 2))) == {"logits", "log_std"}


def test_export_copies() -> None:
    spaces = spaces_of(OBSERVATIONS["box"])
    module = networks.build_module(NetworkSpec(), spaces, SEPARATE, seed=0)
    tensors = networks.export(module, ("logits",))
    before = {name: tensor.copy() for name, tensor in tensors.items()}
    randomise(module)
    assert all((tensors[name] == before[name]).all() for name in tensors)


def test_the_seed_decides_the_weights_and_leaves_torch_alone() -> None:
    spaces = spaces_of(OBSERVATIONS["box"])
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, same, other = (
        networks.export(networks.build_module(NetworkSpec(), spaces, SEPARATE, seed), ("logits",))
        for seed in (1, 1, 2)
    )
    weight = "body.trunks.policy.0.weight"
    assert (first[weight] == same[weight]).all()
    assert (first[weight] != other[weight]).any()
    assert (torch.get_rng_state() == state).all()


def test_hidden_layers_are_orthogonal_with_gain_sqrt_2_and_heads_with_their_own() -> None:
    spaces = spaces_of(OBSERVATIONS["box"])
    module = networks.build_module(NetworkSpec(), spaces, SEPARATE, seed=0)
    tensors = networks.export(module, ("logits",))
    hidden = tensors["body.trunks.policy.1.weight"]
    np.testing.assert_allclose(hidden @ hidden.T, 2 * np.eye(64), atol=1e-4)
    head = tensors["body.heads.logits.weight"]
    np.testing.assert_allclose(head @ head.T, 1e-4 * np.eye(3), atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body.trunks.policy.1.bias": None}, "body.trunks.policy.1.bias is missing"),
        ({"body.heads.logits.bias": np.zeros(9, np.float32)}, r"has the shape \[9\]"),
    ],
)
def test_bad_weights_are_refused_and_the_old_ones_stay(
    change: dict[str, Any], message: str
) -> None:
    spaces = spaces_of(OBSERVATIONS["box"])
    module = networks.build_module(NetworkSpec(), spaces, SEPARATE, seed=0)
    engine = networks.build_engine(NetworkSpec(), spaces, SEPARATE, ("logits",))
    engine.load(networks.export(module, ("logits",)))
    observation = draw(OBSERVATIONS["box"], 3)
    before = engine(observation)["logits"].copy()
    randomise(module)
    tensors = {**networks.export(module, ("logits",)), **change}
    with pytest.raises(RunError, match=message):
        engine.load({name: tensor for name, tensor in tensors.items() if tensor is not None})
    np.testing.assert_array_equal(engine(observation)["logits"], before)


def test_an_engine_does_not_keep_the_memory_that_weights_came_in() -> None:
    spaces = spaces_of(OBSERVATIONS["box"])
    module = networks.build_module(NetworkSpec(), spaces, SEPARATE, seed=0)
    engine = networks.build_engine(NetworkSpec(), spaces, SEPARATE, ("logits", "log_std"))
    tensors = networks.export(module, ("logits", "log_std"))
    engine.load(tensors)
    observation = draw(OBSERVATIONS["box"], 3)
    before = {name: output.copy() for name, output in engine(observation).items()}
    for tensor in tensors.values():
        tensor.fill(7)
    for name, output in engine(observation).items():
        np.testing.assert_array_equal(output, before[name])


def test_gradients_of_the_fast_tanh_are_those_of_torch() -> None:
    from rljob.nets.torch_hidden import _tanh

    x = torch.linspace(-4, 4, 33)
    fast, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    _tanh(fast).square().sum().backward()  # type: ignore[no-untyped-call]
    torch.tanh(plain).square().sum().backward()  # type: ignore[no-untyped-call]
    assert fast.grad is not None
    assert plain.grad is not None
    torch.testing.assert_close(fast.grad, plain.grad, rtol=1e-5, atol=1e-6)


class Linear(nn.Module):
    """A user's network: one layer for each output."""

    def __init__(
        self, observation_shape: tuple[int, ...], heads: dict[str, int], bias: bool = True
    ) -> None:
        super().__init__()
        size = int(np.prod(observation_shape))
        self.layers = nn.ModuleDict({k: nn.Linear(size, n, bias=bias) for k, n in heads.items()})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: layer(x.flatten(1)) for name, layer in self.layers.items()}


class TwoInputs(nn.Module):
    """A user's network of an observation and an action."""

    def __init__(self, observation_shape: tuple[int, ...], heads: dict[str, int]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.LazyLinear(n) for name, n in heads.items()})

    def forward(self, x: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        both = torch.cat((x.flatten(1), action), dim=1)
        return {name: layer(both) for name, layer in self.layers.items()}


class Half(Linear):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.layers["logits"](x)}


def not_a_module(observation_shape: tuple[int, ...], heads: dict[str, int]) -> str:
    return "network"


def own(name: str, **config: Any) -> NetworkSpec:
    return NetworkSpec(entry_point=f"{__name__}:{name}", config=config)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())


def _this_module() -> Any:
    module = type(sys)(__name__)
    module.__dict__.update(globals())
    return module


def test_a_network_by_import_path_acts_through_torch() -> None:
    spaces = spaces_of(OBSERVATIONS["multi"])
    spec = own("Linear", bias=False)
    module = networks.build_module(spec, spaces, SEPARATE, seed=0)
    randomise(module)
    engine = networks.build_engine(spec, spaces, SEPARATE, ("logits", "log_std"))
    engine.load(networks.export(module, ("logits", "log_std")))
    observation = draw(OBSERVATIONS["multi"], 6)
    with torch.no_grad():
        expected = module(torch.from_numpy(observation))
    outputs = engine(observation)
    assert set(outputs) == {"logits", "log_std"}
    for name, output in outputs.items():
        np.testing.assert_allclose(output, expected[name].detach().numpy(), rtol=1e-6)
    with pytest.raises(RunError, match="do not fit"):
        engine.load({"encoder.mean": np.zeros(9, np.float32)})


def test_a_network_by_import_path_of_several_inputs_gets_them_encoded_and_flat() -> None:
    spaces, spec = spaces_of(OBSERVATIONS["matrix"]), own("TwoInputs")
    inputs = (OBSERVATIONS["matrix"], OBSERVATIONS["multi"])
    net = {"q": Net(TOGETHER, acts=("advantage",), inputs=inputs)}
    modules: Any = nets.build_networks(spec, net, spaces, seed=0)
    assert modules["q"].body.layers["value"].in_features == 6 + 9
    acting = nets.build_acting(spec, net, spaces)
    acting.load(nets.export(modules, net))
    arrays = [draw(space, 4) for space in inputs]
    with torch.no_grad():
        expected = modules["q"](*map(torch.from_numpy, arrays))["advantage"]
    np.testing.assert_allclose(acting.engines["q"](*arrays)["advantage"], expected, rtol=1e-5)


def test_a_network_by_import_path_with_too_few_inputs_is_refused() -> None:
    net = {"q": Net(TOGETHER, inputs=(OBSERVATIONS["box"], OBSERVATIONS["multi"]))}
    with pytest.raises(InputError, match="raised on a batch") as caught:
        nets.build_networks(own("Linear"), net, spaces_of(OBSERVATIONS["box"]), seed=0)
    assert caught.value.path == "network.entryPoint"


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        (NetworkSpec(name="mpl"), "network.name", "Did you mean mlp?"),
        (NetworkSpec(config={"hiden": [8]}), "network.config.hiden", "Did you mean hidden?"),
        (NetworkSpec(config={"hidden": [0]}), "network.config.hidden.0", "0 is not allowed"),
        (NetworkSpec(config={"shared": "yes"}), "network.config.shared", '"yes" is not allowed'),
        (NetworkSpec(entry_point="no_such_pkg:Net"), "network.entryPoint", "cannot import"),
        (own("Liner"), "network.entryPoint", "Did you mean Linear?"),
        (own("not_a_module"), "network.entryPoint", "returned str"),
        (own("Half"), "network.entryPoint", "'value' of shape [B, 1]"),
        (own("Linear", width=3), "network", "width"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_networks_are_refused_by_name(spec: NetworkSpec, path: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        networks.build_module(spec, spaces_of(OBSERVATIONS["box"]), SEPARATE, seed=0)
    assert caught.value.path == path
    assert message in str(caught.value)


def test_acting_with_a_built_in_network_never_imports_torch() -> None:
    program = """
import sys
import numpy as np
from rljob import algorithms, nets
from rljob.spec.sections import AlgorithmSpec, NetworkSpec
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
for name in ("PPO", "DQN", "C51", "QRDQN"):
    spec = AlgorithmSpec(name=name)
    spaces = Spaces(BoxSpace((4,)), DiscreteSpace(2))
    algorithm = algorithms.resolve_algorithm(spec)(algorithms.load_config(spec), spaces)
    nets.build_acting(NetworkSpec(), algorithm.networks, spaces)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
