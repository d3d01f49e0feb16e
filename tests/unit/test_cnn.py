"""The convolutional network: its numpy engine against torch, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from rljob import nets
from rljob.algorithms.base import Head, Net
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, Spaces
from rljob.errors import InputError, RunError
from rljob.nets import building
from rljob.nets.cnn import BLOCK
from rljob.nets.cnn_trunks import max_pool
from rljob.spec.sections import NetworkSpec
from tests.unit import networks

HEADS = {
    "logits": Head(3, gain=0.01, trunk="policy"),
    "log_std": Head(2, free=True),
    "value": Head(1, trunk="value"),
}
UINT8, BOOL = np.dtype(np.uint8), np.dtype(np.bool_)
IMPALA = {"variant": "impala", "channels": [5, 7], "hidden": [11]}
SMALL = {"channels": [5, 7], "kernels": [3, 2], "strides": [2, 1], "hidden": [11]}
CASES: dict[str, tuple[Space, dict[str, Any]]] = {
    "atari": (BoxSpace((4, 84, 84), UINT8, 0, 255), {}),
    "colours": (BoxSpace((40, 44, 3), UINT8, 0, 255), {}),
    "gap": (BoxSpace((4, 86, 87), UINT8, 0, 255), {}),
    "first": (BoxSpace((2, 8, 9), UINT8, 0, 255), SMALL),
    "last": (BoxSpace((9, 8, 2), UINT8, 0, 255), SMALL),
    "equal": (BoxSpace((6, 7, 6), UINT8, 0, 255), SMALL),
    "numbers": (BoxSpace((2, 8, 9)), SMALL),
    "bits": (BoxSpace((10, 10, 4), BOOL, 0, 1), SMALL),
    "impala": (BoxSpace((4, 84, 84), UINT8, 0, 255), {"variant": "impala"}),
    "impala-last": (BoxSpace((9, 8, 2), UINT8, 0, 255), IMPALA),
    "impala-first": (BoxSpace((2, 11, 14)), {**IMPALA, "hidden": []}),
    "impala-pixel": (BoxSpace((1, 1, 1), UINT8, 0, 255), IMPALA),
    "flat": (BoxSpace((9, 8, 2), UINT8, 0, 255), {**SMALL, "hidden": []}),
}


def draw(space: Space, rows: int) -> np.ndarray:
    rng = np.random.default_rng(rows)
    if space.dtype.kind == "f":
        return rng.standard_normal((rows, *space.shape), dtype=np.float32)
    return rng.integers(0, 2 if space.dtype == BOOL else 256, (rows, *space.shape), space.dtype)


def make(space: Space, config: dict[str, Any], acting: tuple[str, ...] = tuple(HEADS)) -> Any:
    spec, spaces = NetworkSpec(name="cnn", config=config), Spaces(space, DiscreteSpace(3))
    module = networks.build_module(spec, spaces, HEADS, seed=3)
    return module, networks.build_engine(spec, spaces, HEADS, acting)


def randomise(module: Any) -> None:
    """Every weight and bias, at a scale at which outputs stay near 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            scale = 1 / max(1, p[0].numel()) ** 0.5
            p.copy_(torch.randn(p.shape, generator=generator) * scale)


def normalise(module: Any) -> None:
    generator = torch.Generator().manual_seed(2)
    shape = module.encoder.mean.shape
    mean = torch.randn(shape, generator=generator).numpy()
    module.encoder.normalise(mean, torch.rand(shape, generator=generator).numpy() + 0.5, 1.5)


@pytest.mark.parametrize("case", CASES)
def test_numpy_agrees_with_torch(case: str) -> None:
    space, config = CASES[case]
    module, engine = make(space, config)
    for change in (None, randomise, normalise):
        if change is not None:
            change(module)
        engine.load(networks.export(module, tuple(HEADS)))
        for rows in (1, BLOCK + 1, 2 * BLOCK, BLOCK - 1):
            observation = draw(space, rows)
            with torch.no_grad():
                expected = module(torch.from_numpy(observation))
            outputs = engine(observation)
            assert set(outputs) == set(HEADS)
            for name, output in outputs.items():
                assert output.dtype == np.float32
                assert output.shape == (rows, HEADS[name].size)
                np.testing.assert_allclose(
                    output, expected[name].detach().numpy(), rtol=1e-4, atol=1e-5
                )


@pytest.mark.parametrize("hidden", [[11], []])
@pytest.mark.parametrize("case", ["first", "last", "impala-last"])
def test_numpy_agrees_with_torch_on_inputs_beside_the_image(case: str, hidden: list[int]) -> None:
    space, config = CASES[case]
    spec = NetworkSpec(name="cnn", config={**config, "hidden": hidden})
    inputs = (space, BoxSpace((2, 3)), DiscreteSpace(4), MultiDiscreteSpace((3, 2)))
    net = {"q": Net(HEADS, acts=tuple(HEADS), inputs=inputs)}
    spaces = Spaces(space, DiscreteSpace(3))
    module: Any = nets.build_networks(spec, net, spaces, seed=3)["q"]
    acting = nets.build_acting(spec, net, spaces)
    rng = np.random.default_rng(0)
    for change in (None, randomise, normalise):
        if change is not None:
            change(module)
        acting.load(nets.export({"q": module}, net))
        for rows in (1, BLOCK + 1):
            arrays = [
                draw(space, rows),
                rng.standard_normal((rows, 2, 3), dtype=np.float32),
                rng.integers(4, size=rows),
                rng.integers([3, 2], size=(rows, 2)),
            ]
            with torch.no_grad():
                expected = module(*map(torch.from_numpy, arrays))
            outputs = acting.engines["q"](*arrays)
            for name, output in outputs.items():
                assert output.shape == (rows, HEADS[name].size)
                np.testing.assert_allclose(
                    output, expected[name].detach().numpy(), rtol=1e-4, atol=1e-5
                )


@pytest.mark.parametrize("case", ["first", "last"])
def test_channels_are_found(case: str) -> None:
    space, config = CASES[case]
    module, _ = make(space, config)
    assert module.body.convolutions[0].weight.shape == (5, 2, 3, 3)


def test_the_published_network_is_the_default() -> None:
    module, _ = make(*CASES["atari"])
    shapes = [tuple(p.shape) for p in module.body.parameters() if p.ndim > 1]
    hidden = (512, 3136)
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), hidden, (3, 512), (1, 512)]
    kernel = module.body.convolutions[0].weight.detach().reshape(32, -1).numpy()
    np.testing.assert_allclose(kernel @ kernel.T, 2 * np.eye(32), atol=1e-4)


def test_the_published_residual_network_is_that_of_impala() -> None:
    module, _ = make(*CASES["impala"])
    shapes = [tuple(p.shape) for p in module.body.parameters() if p.ndim > 1]
    expected: list[tuple[int, ...]] = []
    for fan_in, out in ((4, 16), (16, 32), (32, 32)):
        expected += [(out, fan_in, 3, 3), *[(out, out, 3, 3)] * 4]
    # The image is halved three times: 42, 21, 11.
    assert shapes == [*expected, (256, 11 * 11 * 32), (3, 256), (1, 256)]
    first, second = module.body.stages[1].blocks[0]
    assert float(second.weight.detach().norm() / first.weight.detach().norm()) == pytest.approx(
        6**-0.5, rel=1e-3
    )


@pytest.mark.parametrize("height", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("width", [1, 2, 5, 6])
def test_max_pooling_is_that_of_torch(height: int, width: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    planes = torch.from_numpy(x).permute(0, 3, 1, 2)
    expected = torch.nn.functional.max_pool2d(planes, 3, 2, 1).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(max_pool(x), expected)


def test_residual_blocks_learn() -> None:
    module, _ = make(*CASES["impala-last"])
    module(torch.from_numpy(draw(CASES["impala-last"][0], 3)))["value"].sum().backward()
    for name, parameter in module.body.named_parameters():
        if "stages" in name or "hidden" in name:
            assert parameter.grad is not None and parameter.grad.any(), name  # noqa: PT018


def test_only_the_acting_heads_travel_and_are_computed() -> None:
    space, config = CASES["last"]
    module, engine = make(space, config, ("logits",))
    tensors = networks.export(module, ("logits",))
    assert not [name for name in tensors if "value" in name]
    engine.load(tensors)
    assert set(engine(draw(space, 2))) == {"logits"}


def test_bad_weights_are_refused_and_the_old_ones_stay() -> None:
    space, config = CASES["last"]
    module, engine = make(space, config)
    engine.load(networks.export(module, tuple(HEADS)))
    before = engine(draw(space, 3))["logits"].copy()
    randomise(module)
    tensors = networks.export(module, tuple(HEADS))
    tensors["body.convolutions.1.weight"] = np.zeros((7, 5, 3, 3), np.float32)
    with pytest.raises(RunError, match=r"body.convolutions.1.weight has the shape \[7, 5, 3, 3\]"):
        engine.load(tensors)
    np.testing.assert_array_equal(engine(draw(space, 3))["logits"], before)


def test_half_precision_is_near_and_its_gradients_are_float32() -> None:
    space, config = CASES["first"]
    spec, spaces = NetworkSpec(name="cnn", config=config), Spaces(space, DiscreteSpace(3))
    half = networks.build_module(spec, spaces, HEADS, 3, "bfloat16")
    full = networks.build_module(spec, spaces, HEADS, 3)
    observation = torch.from_numpy(draw(space, 5))
    exact, outputs = full(observation), half(observation)
    for name, output in outputs.items():
        assert output.dtype == torch.float32
        torch.testing.assert_close(output, exact[name], rtol=0.05, atol=0.01)
    assert (outputs["value"] != exact["value"]).any()
    outputs["value"].sum().backward()
    kernel = half.body.convolutions[0].weight  # type: ignore[union-attr, index]
    assert kernel.grad.dtype == torch.float32  # type: ignore[union-attr]


@pytest.mark.parametrize("case", ["first", "last"])
def test_acting_in_half_precision_is_near(case: str) -> None:
    space, config = CASES[case]
    spec, spaces = NetworkSpec(name="cnn", config=config), Spaces(space, DiscreteSpace(3))
    module, exact = make(space, config, ("logits", "log_std"))
    engine = networks.build_engine(spec, spaces, HEADS, ("logits", "log_std"), "bfloat16")
    randomise(module)
    tensors = networks.export(module, ("logits", "log_std"))
    observation = draw(space, 5)
    for each in (engine, exact):
        each.load(tensors)
    outputs, expected = engine(observation), exact(observation)
    assert set(outputs) == {"logits", "log_std"}
    for name, output in outputs.items():
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, expected[name], rtol=0.1, atol=0.05)
    assert (outputs["logits"] != expected["logits"]).any()


def test_acting_in_half_precision_without_torch_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    space, config = CASES["first"]
    spec, spaces = NetworkSpec(name="cnn", config=config), Spaces(space, DiscreteSpace(3))
    with pytest.raises(InputError, match=r"acts with torch.*rljob\[learner\]") as caught:
        networks.build_engine(spec, spaces, HEADS, ("logits",), "bfloat16")
    assert caught.value.path == "rollout.precision"


def test_a_module_that_was_loaded_normalises_as_the_one_that_was_saved() -> None:
    space, config = CASES["first"]
    saved, _ = make(space, config)
    normalise(saved)
    loaded, _ = make(space, config)
    loaded.load_state_dict(saved.state_dict())
    observation = torch.from_numpy(draw(space, 3))
    torch.testing.assert_close(loaded(observation), saved(observation))


@pytest.mark.parametrize(
    ("space", "config", "path", "message"),
    [
        (BoxSpace((4,)), {}, "network.name", "three dimensions; the observations are Box"),
        (DiscreteSpace(5), {}, "network.name", "the observations are Discrete(5)"),
        (BoxSpace((4, 84, 84, 3), UINT8, 0, 255), {}, "network.name", "three dimensions"),
        (
            BoxSpace((35, 80, 3), UINT8, 0, 255),
            {},
            "network.config",
            "[35, 80, 3] are too small: the input of convolution 2 is 2 x 8, its kernel is 3",
        ),
        (BoxSpace((4, 84, 84)), {"kernels": [3]}, "network.config", "the same length"),
        (BoxSpace((4,)), {"variant": "impala"}, "network.name", "three dimensions"),
        (
            BoxSpace((4, 84, 84)),
            {"variant": "impala", "strides": [1]},
            "network.config",
            "strides is a setting of the variant nature",
        ),
        (BoxSpace((4, 84, 84)), {"variant": "resnet"}, "network.config.variant", "nature"),
        (BoxSpace((4, 84, 84)), {"chanels": [3]}, "network.config.chanels", "mean channels?"),
        (BoxSpace((4, 84, 84)), {"strides": [0, 1, 1]}, "network.config.strides.0", "0 is not"),
        (BoxSpace((4, 84, 84)), {"channels": []}, "network.config.channels", "[] is not allowed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_cannot_use_is_refused(
    space: Space, config: dict[str, Any], path: str, message: str
) -> None:
    spec, spaces = NetworkSpec(name="cnn", config=config), Spaces(space, DiscreteSpace(3))
    for build in (networks.build_engine, networks.build_module):
        with pytest.raises(InputError) as caught:
            build(spec, spaces, HEADS, ("logits",) if build is networks.build_engine else 0)  # type: ignore[operator]
        assert caught.value.path == path
        assert message in str(caught.value)


def test_acting_never_imports_torch() -> None:
    program = """
import sys
import numpy as np
from rljob import nets
from rljob.algorithms.base import Head, Net
from rljob.spec.sections import NetworkSpec
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
spaces = Spaces(BoxSpace((4, 84, 84), np.dtype(np.uint8), 0, 255), DiscreteSpace(2))
nets.build_acting(NetworkSpec(name="cnn"), {"q": Net({"logits": Head(2)}, acts=("logits",))}, spaces)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
