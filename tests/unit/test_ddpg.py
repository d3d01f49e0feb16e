"""DDPG: its target and losses by hand, exploration, and that it goes on after a restart."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from rljob import nets
from rljob.algorithms.base import Arrays, Place, Policy, Progress, Schedule, Seen
from rljob.algorithms.built_in.ddpg import DDPG, DDPGConfig, DDPGLearner
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Space, Spaces
from rljob.errors import InputError
from rljob.spec.sections import NetworkSpec

ACTION = BoxSpace((2, 1), low=-1, high=1)
SPACES = Spaces(BoxSpace((3,)), ACTION)
SPEC = NetworkSpec(config={"hidden": [16]})
NOW = Progress(steps=0, share=0.0)
ENVS = 2000


def make(seed: int = 0, **config: Any) -> tuple[DDPG, DDPGLearner, dict[str, Any]]:
    algorithm = DDPG(DDPGConfig(**config), SPACES)
    networks: dict[str, Any] = dict(nets.build_networks(SPEC, algorithm.networks, SPACES, seed))
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


def part(networks: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of the networks, which then move away from them, and so from their targets."""
    copies = copy.deepcopy(dict(networks))
    with torch.no_grad():
        for module in networks.values():
            for p in module.parameters():
                p.add_(0.5)
    return copies


def weights(module: Any) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])


def explored(begins: list[bool], greedy: bool = False, **config: Any) -> np.ndarray:
    """What is added to the policy's actions, `[len(begins), ENVS, 2]`; each step begins an episode or not."""
    algorithm, learner, networks = make(**config)
    acting = nets.build_acting(SPEC, algorithm.networks, SPACES)
    arrays = {name: np.asarray(value) for name, value in learner.publish(NOW).items()}
    acting.load({**nets.export(networks, algorithm.networks), **arrays})
    actor = algorithm.actor(
        Policy(acting, ENVS), Place(ENVS, np.random.default_rng(0), greedy=greedy)
    )
    ones, none = np.ones((ENVS, 3), np.float32), np.zeros(ENVS, np.float32)
    with torch.no_grad():
        mean = networks["policy"](torch.ones(1, 3))["action"].tanh().numpy()
    found = []
    for begin in begins:
        acted = actor.act(Seen(ones, np.full(ENVS, begin), np.ones(ENVS, bool), none)).action
        assert acted.shape == (ENVS, 2, 1)
        assert acted.dtype == np.float32
        assert np.abs(acted).max() <= 1
        found.append(acted.reshape(ENVS, 2) - mean)
    return np.stack(found)


def test_the_losses_are_those_of_the_paper() -> None:
    _, learner, networks = make(gamma=0.9)
    rows = batch()
    data = {name: torch.from_numpy(array) for name, array in rows.items()}
    targets = part(networks)
    with torch.no_grad():
        following = data["next_observation"]
        action = targets["policy"](following)["action"].tanh().reshape(32, 2, 1)
        ahead = targets["critic"](following, action)["q"].numpy()[:, 0]
        q = networks["critic"](data["observation"], data["action"])["q"].numpy()[:, 0]
    target = rows["reward"] + np.where(rows["terminated"], 0, 0.9 * ahead)

    metrics = learner.update(rows, NOW).metrics

    assert metrics["critic_loss"] == pytest.approx(((q - target) ** 2).mean(), rel=1e-5)
    assert metrics["mean_q"] == pytest.approx(q.mean(), rel=1e-4, abs=1e-6)


def test_the_policy_ascends_the_critic() -> None:
    _, learner, networks = make(learning_rate=Schedule(1e-2))
    # The critic stays: only the policy learns.
    learner._rates["critic"] = Schedule(1e-12)
    observation = torch.from_numpy(batch()["observation"])

    def value() -> float:
        with torch.no_grad():
            action = networks["policy"](observation)["action"].tanh().reshape(32, 2, 1)
            return float(networks["critic"](observation, action)["q"].mean())

    before = value()
    loss = learner.update(batch(), NOW).metrics["policy_loss"]
    for _ in range(30):
        learner.update(batch(), NOW)

    assert loss == pytest.approx(-before, rel=1e-4, abs=1e-6)
    assert value() > before + 0.1


def test_the_targets_follow_with_every_update() -> None:
    _, learner, networks = make(tau=0.25)
    followed = {
        "policy": learner._target_policy.network,
        "critic": learner._target_critic.network,
    }
    for seed in range(2):
        targets = {name: weights(each) for name, each in followed.items()}
        learner.update(batch(seed), NOW)
        for name, each in followed.items():
            expected = targets[name] + 0.25 * (weights(networks[name]) - targets[name])
            np.testing.assert_allclose(weights(each), expected, rtol=1e-5, atol=1e-7)
            assert (weights(each) != targets[name]).any()


def test_the_policy_moves_to_what_is_rewarded() -> None:
    _, learner, networks = make(learning_rate=Schedule(1e-2), gamma=0.0)
    for seed in range(100):
        rows = batch(seed)
        # More of the first action and less of the second.
        rows["reward"] = rows["action"][:, 0, 0] - rows["action"][:, 1, 0]
        learner.update(rows, NOW)
    with torch.no_grad():
        action = networks["policy"](torch.zeros(1, 3))["action"].tanh()
    assert action[0, 0] > 0.5
    assert action[0, 1] < -0.5


def test_noise_is_of_the_scheduled_size_and_kind() -> None:
    gaussian = explored([True, *[False] * 9], noise="gaussian", noise_size=Schedule(0.1))
    correlated = explored([True, *[False] * 9], noise_size=Schedule(0.1), noise_reversion=0.1)

    for rows, kept in ((gaussian, 0.0), (correlated, 0.9)):
        assert rows[0].std() == pytest.approx(0.1, abs=0.01)
        expected = 0.1 * sum(kept ** (2 * step) for step in range(10)) ** 0.5
        assert rows[9].std() == pytest.approx(expected, abs=0.01)
        assert (rows[9] - kept * rows[8]).std() == pytest.approx(0.1, abs=0.01)


def test_noise_starts_anew_with_an_episode() -> None:
    rows = explored([True, *[False] * 9, True], noise_size=Schedule(0.1))
    assert rows[10].std() == pytest.approx(0.1, abs=0.01)
    assert np.corrcoef(rows[9].ravel(), rows[10].ravel())[0, 1] == pytest.approx(0, abs=0.05)


def test_evaluations_take_the_policys_action() -> None:
    np.testing.assert_allclose(explored([True, False], greedy=True), 0, atol=1e-5)


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
    "action", [DiscreteSpace(2), BoxSpace((2,)), BoxSpace((1,), low=0)], ids=str
)
def test_other_actions_are_refused(action: Space) -> None:
    with pytest.raises(
        InputError,
        match=r"DDPG needs Box actions with finite bounds .* environment\.convert\.action",
    ):
        DDPG(DDPGConfig(), Spaces(BoxSpace((3,)), action))
