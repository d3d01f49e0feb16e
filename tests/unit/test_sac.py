"""SAC: its policy's density, the direction of its updates, and that it goes on after a restart."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from rljob import nets
from rljob.algorithms.base import Arrays, Place, Policy, Progress, Schedule, Seen
from rljob.algorithms.built_in.sac import SAC, SACConfig, SACLearner
from rljob.algorithms.soft_actions import SquashedGaussian
from rljob.envs.spaces import BoxSpace, MultiDiscreteSpace, Space, Spaces
from rljob.errors import InputError
from rljob.spec.sections import NetworkSpec

NOW = Progress(steps=0, share=0.0)
ACTION = BoxSpace((2, 1), low=-1, high=1)


def make(seed: int = 0, **config: Any) -> tuple[SAC, SACLearner, dict[str, Any]]:
    spaces = Spaces(BoxSpace((3,)), ACTION)
    algorithm = SAC(SACConfig(**config), spaces)
    spec = NetworkSpec(config={"hidden": [16]})
    networks: dict[str, Any] = dict(nets.build_networks(spec, algorithm.networks, spaces, seed))
    return algorithm, algorithm.learner(networks, seed), networks


def batch(seed: int = 0, size: int = 32) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "observation": rng.normal(size=(size, 3)).astype(np.float32),
        "next_observation": rng.normal(size=(size, 3)).astype(np.float32),
        "action": rng.uniform(-1, 1, (size, 2, 1)).astype(np.float32),
        "reward": rng.normal(size=size).astype(np.float32),
        "terminated": rng.random(size) < 0.2,
    }


def test_the_log_probability_is_that_of_the_squashed_gaussian() -> None:
    algorithm, _, networks = make()
    assert isinstance(algorithm.actions, SquashedGaussian)
    with torch.no_grad():
        outputs = networks["policy"](torch.randn(200, 3))
        action, log_prob = algorithm.actions.sample(outputs, torch.Generator().manual_seed(0))
    flat = action.reshape(200, 2).double()
    normal = torch.distributions.Normal(outputs["mean"].double(), outputs["log_std"].exp().double())
    squashed = torch.distributions.TransformedDistribution(
        normal,
        torch.distributions.TanhTransform(),  # type: ignore[no-untyped-call]
    )
    inside = (flat.abs() < 0.999).all(-1)
    expected = squashed.log_prob(flat).sum(-1)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(log_prob[inside].double(), expected[inside], rtol=1e-3, atol=1e-3)


def test_acting_samples_within_the_bounds_and_evaluations_take_the_mean() -> None:
    algorithm, _, networks = make()
    acting = nets.build_acting(
        NetworkSpec(config={"hidden": [16]}), algorithm.networks, Spaces(BoxSpace((3,)), ACTION)
    )
    acting.load(nets.export(networks, algorithm.networks))
    seen = Seen(
        np.ones((50, 3), np.float32), np.ones(50, bool), np.ones(50, bool), np.zeros(50, np.float32)
    )
    found = {}
    for greedy in (False, True):
        place = Place(50, np.random.default_rng(0), greedy=greedy)
        found[greedy] = algorithm.actor(Policy(acting, 50), place).act(seen).action
    assert found[False].shape == found[True].shape == (50, 2, 1)
    assert np.abs(found[False]).max() <= 1
    assert found[False].std(axis=0).min() > 0.3
    assert (found[True] == found[True][0]).all()


def test_the_policy_moves_to_what_is_rewarded() -> None:
    _, learner, networks = make(learning_rate=Schedule(1e-2), gamma=0.0, initial_temperature=0.01)
    for seed in range(100):
        rows = batch(seed)
        # More of the first action and less of the second.
        rows["reward"] = rows["action"][:, 0, 0] - rows["action"][:, 1, 0]
        metrics = learner.update(rows, NOW).metrics
    with torch.no_grad():
        mean = networks["policy"](torch.zeros(1, 3))["mean"].tanh()
    assert all(math.isfinite(value) for value in metrics.values())
    assert mean[0, 0] > 0.5
    assert mean[0, 1] < -0.5


def test_a_terminated_episode_has_no_value_afterwards() -> None:
    """Critics learn the reward alone, however large the values that would follow."""
    _, learner, networks = make(learning_rate=Schedule(1e-2), gamma=1.0, tau=1.0)
    rows = batch()
    rows["terminated"][:] = True
    rows["reward"][:] = 1.0
    for _ in range(200):
        learner.update(rows, NOW)
    with torch.no_grad():
        data = [torch.from_numpy(rows[name]) for name in ("observation", "action")]
        q = networks["critic"](*data)["q"]
    assert q.shape == (2, 32, 1)
    assert float((q - 1).abs().mean()) < 0.1


def test_the_temperature_follows_the_target_entropy() -> None:
    for target, rises in ((50.0, True), (-50.0, False)):
        _, learner, _ = make(target_entropy=target)
        found = [learner.update(batch(seed), NOW).metrics["temperature"] for seed in range(20)]
        assert (found[-1] > found[0]) is rises


def test_a_restored_learner_goes_on_bitwise_as_if_never_stopped() -> None:
    _, whole, _ = make()
    for seed in range(2):
        whole.update(batch(seed), NOW)
    state = whole.state()
    state.values = json.loads(json.dumps(state.values))
    _, resumed, _ = make(seed=9)
    resumed.load_state(state)
    for learner in (whole, resumed):
        for seed in range(2, 4):
            learner.update(batch(seed), NOW)
    first, second = whole.state(), resumed.state()
    assert first.values == second.values
    assert all((first.arrays[name] == second.arrays[name]).all() for name in first.arrays)


def test_only_the_policy_travels() -> None:
    algorithm, _, networks = make()
    assert {name.split("/")[0] for name in nets.export(networks, algorithm.networks)} == {"policy"}


@pytest.mark.parametrize(
    "action", [MultiDiscreteSpace((2, 2)), BoxSpace((2,)), BoxSpace((1,), low=0)], ids=str
)
def test_other_actions_are_refused(action: Space) -> None:
    with pytest.raises(InputError, match="Discrete actions, or Box actions with finite bounds"):
        SAC(SACConfig(), Spaces(BoxSpace((3,)), action))
