"""The network that scores candidates: numpy against torch, the order of candidates, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rljob import nets
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, Spaces
from rljob.errors import InputError
from rljob.nets.head import Head, Net
from rljob.spec.sections import NetworkSpec
from tests.unit import segments

COUNT, FEATURES = 5, 3
SPACES = Spaces(BoxSpace((COUNT, FEATURES)), DiscreteSpace(COUNT))
HEADS = {
    "logits": Head(COUNT, gain=0.01, trunk="policy", per_action=True),
    "value": Head(1, trunk="value"),
    "log_std": Head(2, free=True),
}
NET = {"policy": Net(HEADS, acts=tuple(HEADS))}
CONFIGS: list[dict[str, Any]] = [
    {},
    {"hidden": [], "headHidden": []},
    {"hidden": [8, 8], "headHidden": [6, 6], "activation": "gelu", "layerNorm": True, "residual": True},
]  # fmt: skip


def seen(rows: int, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(rows).normal(size=(rows, count, FEATURES)).astype(np.float32)


def build(net: dict[str, Net] = NET, spaces: Spaces = SPACES, **config: Any) -> tuple[Any, Any]:
    spec = NetworkSpec(name="candidates", config=config)
    return nets.build_networks(spec, net, spaces, seed=0), nets.build_acting(spec, net, spaces)


def randomise(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("others", [(), (BoxSpace((2,)), DiscreteSpace(4))], ids=["", "others"])
@pytest.mark.parametrize("acts", [tuple(HEADS), ("logits",)], ids=str)
def test_numpy_agrees_with_torch(
    config: dict[str, Any], others: tuple[Space, ...], acts: tuple[str, ...]
) -> None:
    net = {"policy": Net(HEADS, acts=acts, inputs=(SPACES.observation, *others))}
    modules, acting = build(net, **config)
    module = modules["policy"]
    rng = np.random.default_rng(0)
    for change in (None, randomise):
        if change is not None:
            change(module)
            mean, std = np.full((2, COUNT, FEATURES), 0.5, np.float32)
            module.encoder.normalise(mean, std, 1.5)
        acting.load(nets.export(modules, net))
        for rows in (1, 7, 3):
            arrays = [seen(rows)]
            if others:
                arrays += [
                    rng.normal(size=(rows, 2)).astype(np.float32),
                    rng.integers(4, size=rows),
                ]
            with torch.no_grad():
                expected = module(*map(torch.from_numpy, arrays))
            found = acting.engines["policy"](*arrays)
            assert set(found) == set(acts)
            for name, output in found.items():
                assert output.shape == (rows, HEADS[name].size)
                np.testing.assert_allclose(output, expected[name].detach(), rtol=1e-4, atol=2e-5)


def test_scores_follow_their_candidates_and_values_do_not_care() -> None:
    modules, _ = build()
    randomise(modules["policy"])
    order = np.array([3, 0, 4, 1, 2])
    with torch.no_grad():
        found = modules["policy"](torch.from_numpy(seen(4)))
        other = modules["policy"](torch.from_numpy(seen(4)[:, order]))
    torch.testing.assert_close(other["logits"], found["logits"][:, order])
    torch.testing.assert_close(other["value"], found["value"])
    assert found["logits"].std(dim=1).min() > 0


def test_a_score_depends_on_the_other_candidates() -> None:
    modules, _ = build()
    randomise(modules["policy"])
    changed = seen(1)
    changed[0, 0] += 1
    with torch.no_grad():
        before = modules["policy"](torch.from_numpy(seen(1)))["logits"]
        after = modules["policy"](torch.from_numpy(changed))["logits"]
    differences = (after - before)[0]
    # Not by the same amount, which would not change what is chosen.
    assert float((differences[1:] - differences[1]).abs().max()) > 1e-3


def test_there_are_as_many_weights_for_many_candidates_as_for_few() -> None:
    def weights(count: int) -> int:
        spaces = Spaces(BoxSpace((count, FEATURES)), DiscreteSpace(count))
        net = {"policy": Net({"logits": Head(count, per_action=True)}, acts=("logits",))}
        modules, _ = build(net, spaces)
        return sum(p.numel() for p in modules["policy"].parameters())

    assert weights(2) == weights(100)


def test_acting_in_bfloat16_is_near() -> None:
    net = {"policy": Net(HEADS, acts=("logits", "log_std"))}
    modules, _ = build(net)
    acting = nets.build_acting(NetworkSpec(name="candidates"), net, SPACES, "bfloat16")
    acting.load(nets.export(modules, net))
    with torch.no_grad():
        expected = modules["policy"](torch.from_numpy(seen(4)))["logits"]
    found = acting.engines["policy"](seen(4))
    assert set(found) == {"logits", "log_std"}
    np.testing.assert_allclose(found["logits"], expected, atol=0.01)


def test_only_what_acts_travels() -> None:
    net = {"policy": Net(HEADS, acts=("logits",))}
    modules, _ = build(net)
    names = nets.export(modules, net)
    assert "policy/body.scores.0.weight" in names
    assert not [name for name in names if "pooled" in name or "heads.value" in name]


@pytest.mark.parametrize("name", ["PPO", "IMPALA", "DQN"])
def test_algorithms_with_discrete_actions_have_scores(name: str) -> None:
    algorithm = segments.make_algorithm(name, SPACES.action, SPACES.observation)
    modules, acting = build(dict(algorithm.networks))
    acting.load(nets.export(modules, algorithm.networks))
    (engine,) = acting.engines.values()
    (scores,) = engine(seen(2)).values()
    assert scores.shape == (2, COUNT)


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (BoxSpace((4, 3)), DiscreteSpace(5), "scores 4 candidates, the rows of Box"),
        (BoxSpace((4, 3)), DiscreteSpace(5), "and there are 5 actions"),
        (BoxSpace((4,)), DiscreteSpace(4), "a Box of two dimensions; the observations are Box"),
        (DiscreteSpace(4), DiscreteSpace(4), "the observations are Discrete(4)"),
        (BoxSpace((4, 3)), MultiDiscreteSpace((2, 2)), "needs Discrete actions"),
        (BoxSpace((4, 3)), BoxSpace((4,), low=-1, high=1), "needs Discrete actions"),
    ],
    ids=str,
)
def test_what_it_cannot_use_is_refused(observation: Space, action: Space, message: str) -> None:
    algorithm = segments.make_algorithm("PPO", action, observation)
    spec, spaces = NetworkSpec(name="candidates"), Spaces(observation, action)
    with pytest.raises(InputError) as acting:
        nets.build_acting(spec, algorithm.networks, spaces)
    with pytest.raises(InputError) as learning:
        nets.build_networks(spec, algorithm.networks, spaces, seed=0)
    for caught in (acting, learning):
        assert caught.value.path == "network.name"
        assert message in str(caught.value)


def test_a_network_that_does_not_act_may_have_pooled_outputs_alone() -> None:
    net = {"critic": Net({"value": Head(1)})}
    modules, _ = build(net)
    assert modules["critic"](torch.from_numpy(seen(2)))["value"].shape == (2, 1)
    assert not [name for name in modules["critic"].state_dict() if "scores" in name]
