"""`spec.networks`: single networks of an algorithm that differ from `spec.network`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from rljob import algorithms, nets, spec
from rljob.algorithms.base import Algorithm, Arrays, Progress, Replay, Schedule
from rljob.algorithms.learned_networks import learned_networks
from rljob.algorithms.settings import check_settings
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.nets.choice import choose
from rljob.nets.head import Head, Net
from rljob.nets.torch_nets import RatedModule
from rljob.spec import RLJob
from tests.unit import segments
from tests.unit.specs import job

SPACES = Spaces(BoxSpace((3,)), BoxSpace((2,), low=-1, high=1))
DISCRETE = Spaces(BoxSpace((3,)), DiscreteSpace(2))
NOW = Progress(steps=0, share=0.0)


def made(algorithm: str, spaces: Spaces = SPACES, **fields: Any) -> tuple[RLJob, Algorithm]:
    parsed = spec.parse(job(algorithm={"name": algorithm}, **fields))
    config = algorithms.load_config(parsed.spec.algorithm)
    return parsed, algorithms.resolve_algorithm(parsed.spec.algorithm)(config, spaces)


def learned(algorithm: str, **fields: Any) -> Mapping[str, Any]:
    parsed, found = made(algorithm, **fields)
    check_settings(parsed)
    return learned_networks(parsed.spec, found, SPACES, seed=0)


def widths(module: Any) -> list[int]:
    """Of the hidden layers of each trunk and copy."""
    return [
        p.shape[0] for name, p in module.named_parameters() if "trunks" in name and p.dim() == 2
    ]


def test_one_network_differs_and_the_others_do_not() -> None:
    networks = learned(
        "SAC", network={"config": {"hidden": [8]}}, networks={"critic": {"config": {"hidden": [9]}}}
    )
    assert widths(networks["policy"]) == [8]
    assert widths(networks["critic"]) == [9, 9]


def test_settings_of_the_same_network_are_merged_and_of_another_are_not() -> None:
    common = {"hidden": [8], "activation": "relu"}
    for name in (None, "mlp"):
        own = {"critic": {"name": name, "config": {"hidden": [9]}}}
        whole = spec.parse(job(network={"config": common}, networks=own)).spec
        assert whole.networks is not None
        assert whole.networks["critic"].of(whole.network).config == {**common, "hidden": [9]}
    other = spec.parse(job(network={"config": common}, networks={"critic": {"name": "gru"}})).spec
    assert other.networks is not None
    found = other.networks["critic"].of(other.network)
    assert (found.name, found.config) == ("gru", {})


def test_acting_and_learning_build_the_same() -> None:
    parsed, algorithm = made("SAC", networks={"policy": {"config": {"hidden": [7]}}})
    built: Any = learned_networks(parsed.spec, algorithm, SPACES, seed=0)
    acting = nets.build_acting(
        parsed.spec.network, algorithm.networks, SPACES, named=parsed.spec.networks
    )
    acting.load(nets.export(built, algorithm.networks))
    observation = np.ones((2, 3), np.float32)
    with torch.no_grad():
        expected = built["policy"](torch.from_numpy(observation))["mean"]
    found = acting.engines["policy"](observation)["mean"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_network_with_memory_beside_one_without() -> None:
    parsed = spec.parse(job(network={"name": "gru"}, networks={"critic": {"name": "mlp"}})).spec
    both = {
        "policy": Net({"logits": Head(2)}, acts=("logits",), memory=True),
        "critic": Net({"value": Head(1)}),
    }
    chosen = choose(parsed.network, both, parsed.networks)
    assert [each.label for each in chosen.values()] == ["gru", "mlp"]
    with pytest.raises(InputError, match="gru has a memory") as caught:
        choose(parsed.network, both, None)
    assert caught.value.path == "network.name"


@pytest.mark.parametrize("name", ["policy", "critic"])
def test_one_network_may_be_the_users(name: str) -> None:
    networks = {name: {"entryPoint": "tests.unit.networks:AnyInputs"}}
    built = learned("SAC", networks=networks)
    assert bool(widths(built["critic"])) == (name == "policy")
    assert bool(widths(built["policy"])) == (name == "critic")
    parsed, algorithm = made("SAC", networks=networks)
    acting = nets.build_acting(
        parsed.spec.network, algorithm.networks, SPACES, named=parsed.spec.networks
    )
    acting.load(nets.export(dict(built), algorithm.networks))
    assert acting.engines["policy"](np.ones((2, 3), np.float32))["mean"].shape == (2, 2)


# What is refused, before anything starts


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"networks": {"polcy": {}}}, "networks.polcy", "Did you mean policy? It has the networks policy"),
        ({"networks": {"policy": {"name": "mpl"}}}, "networks.policy.name", "Did you mean mlp?"),
        ({"networks": {"policy": {"config": {"hiden": [8]}}}}, "networks.policy.config.hiden", "Did you mean hidden?"),
        ({"networks": {"policy": {"name": "cnn", "config": {"strides": [1]}}}}, "networks.policy.config", "the same length"),
        ({"network": {"config": {"hiden": [8]}}, "networks": {"policy": {}}}, "network.config.hiden", "Did you mean"),
        ({"networks": {"policy": {"learningRate": 7}}}, "networks.policy.learningRate", "7 is not allowed; a number above 0 and at most 1, or a schedule"),
        ({"networks": {"policy": {"learningRate": "x"}}}, "networks.policy.learningRate", "is not allowed"),
        ({"networks": {"policy": {"learningRate": {"from": 1e-3, "to": 1e-3}}}}, "networks.policy.learningRate", "never changes"),
        (
            {"networks": {"policy": {"learningRate": {"from": 1e-3, "to": 0}}}, "stop": {"meanReturn": 5}},
            "networks.policy.learningRate",
            "stop gives no share of the job",
        ),
        ({"algorithm": {"name": "QLearning"}, "networks": {"q": {}}}, "networks.q", "It has no networks"),
        (
            {"algorithm": {"name": "DQN"}, "network": {"name": "lstm"}},
            "network.name",
            "lstm has a memory, which DQN does not learn with; allowed are mlp, cnn, candidates; PPO, A2C",
        ),
        (
            {"algorithm": {"name": "SAC"}, "networks": {"critic": {"name": "gru"}}},
            "networks.critic.name",
            "gru has a memory, which SAC does not learn with",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_bad_networks_are_refused_before_anything_starts(
    fields: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_settings(spec.parse(job(**fields)))
    assert caught.value.path == path
    assert message in str(caught.value)


class Plain:
    """An algorithm that gives no network a rate of its own."""

    networks: Mapping[str, Net] = {"policy": Net({"logits": Head(2)})}


def test_a_rate_that_an_algorithm_would_ignore_is_refused() -> None:
    parsed = spec.parse(job(networks={"policy": {"learningRate": 1e-3}})).spec
    with pytest.raises(InputError, match="no learning rate of its own") as caught:
        learned_networks(parsed, Plain(), SPACES, seed=0)  # type: ignore[arg-type]
    assert caught.value.path == "networks.policy.learningRate"


def test_names_of_ones_own_algorithm_are_checked_where_it_is_made() -> None:
    parsed = spec.parse(job(networks={"critic": {}})).spec
    with pytest.raises(InputError, match="It has the networks policy"):
        nets.build_acting(parsed.network, Plain.networks, SPACES, named=parsed.networks)
    with pytest.raises(InputError, match="It has the networks policy"):
        learned_networks(parsed, Plain(), SPACES, seed=0)  # type: ignore[arg-type]


# Learning rates


def test_the_first_rate_of_a_network_is_the_algorithms() -> None:
    module = RatedModule()
    assert module.rate(Schedule(0.5)) == Schedule(0.5)
    module.learning_rate = Schedule(0.25)
    assert module.rate(Schedule(0.5)) == Schedule(0.25)


def moved(networks: Mapping[str, Any], before: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Largest change of a parameter of each network."""
    return {
        name: max(
            float((p.detach() - before[f"{name}.{key}"]).abs().max())
            for key, p in module.named_parameters()
        )
        for name, module in networks.items()
    }


def parameters(networks: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": p.detach().clone()
        for name, module in networks.items()
        for key, p in module.named_parameters()
    }


def replay_batch(spaces: Spaces, size: int = 16) -> Arrays:
    rng = np.random.default_rng(0)
    discrete = isinstance(spaces.action, DiscreteSpace)
    batch: Arrays = {
        "observation": rng.normal(size=(size, 3)).astype(np.float32),
        "next_observation": rng.normal(size=(size, 3)).astype(np.float32),
        "action": rng.integers(2, size=size)
        if discrete
        else rng.uniform(-1, 1, (size, 2)).astype(np.float32),
        "reward": rng.normal(size=size).astype(np.float32),
        "terminated": np.zeros(size, bool),
        "n_step_return": rng.normal(size=size).astype(np.float32),
        "n_step_discount": np.full(size, 0.9, np.float32),
    }
    return batch


ONE_STEP: dict[str, dict[str, Any]] = {
    "PPO": {"epochs": 1, "minibatches": 1},
    "TD3": {"policyDelay": 1},
}
RATES = [
    ("SAC", SPACES, {"critic": 1e-5}, {"policy": 1e-3, "critic": 1e-5}),
    ("SAC", SPACES, {"policy": 1e-5}, {"policy": 1e-5, "critic": 1e-3}),
    ("TD3", SPACES, {"critic": 1e-5}, {"policy": 1e-3, "critic": 1e-5}),
    ("DDPG", SPACES, {"policy": 1e-5}, {"policy": 1e-5, "critic": 1e-3}),
    ("DQN", DISCRETE, {"q": 1e-5}, {"q": 1e-5}),
    ("C51", DISCRETE, {"q": 1e-5}, {"q": 1e-5}),
    ("QRDQN", DISCRETE, {"q": 1e-5}, {"q": 1e-5}),
    ("PPO", DISCRETE, {"policy": 1e-5}, {"policy": 1e-5}),
    ("IMPALA", DISCRETE, {"policy": 1e-5}, {"policy": 1e-5}),
]


@pytest.mark.parametrize(("name", "spaces", "rates", "expected"), RATES)
def test_every_algorithm_steps_each_network_by_its_own_rate(
    name: str, spaces: Spaces, rates: dict[str, float], expected: dict[str, float]
) -> None:
    one_step = ONE_STEP.get(name, {})
    found = spec.parse(
        job(
            algorithm={"name": name, "config": one_step},
            networks={key: {"learningRate": rate} for key, rate in rates.items()},
        )
    )
    check_settings(found)
    algorithm = segments.make_algorithm(name, spaces.action, spaces.observation, **one_step)
    networks = learned_networks(found.spec, algorithm, spaces, seed=0)
    learner = algorithm.learner(networks, 0)
    before = parameters(networks)
    if isinstance(algorithm.data, Replay):
        batch = replay_batch(spaces)
    else:
        batch = segments.random_segment(algorithm, 8, 4)
    metrics = learner.update(batch, NOW).metrics
    # The first step of Adam is as long as its rate.
    for network, change in moved(networks, before).items():
        assert change == pytest.approx(expected[network], rel=0.05)
        reported = metrics.get(f"{network}_learning_rate", metrics["learning_rate"])
        assert reported == expected[network]
