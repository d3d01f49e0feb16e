"""TD3: its target and losses by hand, delayed updates, exploration, and that it goes on after a restart."""

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
from rljob.algorithms.built_in.td3 import TD3, TD3Config, TD3Learner
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Space, Spaces
from rljob.errors import InputError
from rljob.spec.sections import NetworkSpec

ACTION = BoxSpace((2, 1), low=-1, high=1)
SPACES = Spaces(BoxSpace((3,)), ACTION)
SPEC = NetworkSpec(config={"hidden": [16]})


def make(seed: int = 0, **config: Any) -> tuple[TD3, TD3Learner, dict[str, Any]]:
    algorithm = TD3(TD3Config(**config), SPACES)
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


def tensors(rows: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in rows.items()}


def after(updates: int) -> Progress:
    return Progress(steps=0, share=0.0, updates=updates)


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


def act(algorithm: TD3, networks: Any, published: dict[str, Any], greedy: bool = False) -> Arrays:
    """Actions of 2000 environments that see the same, `[2000, 2]`, and those without noise."""
    acting = nets.build_acting(SPEC, algorithm.networks, SPACES)
    arrays = {name: np.asarray(value) for name, value in published.items()}
    acting.load({**nets.export(networks, algorithm.networks), **arrays})
    ones = np.ones(2000, bool)
    seen = Seen(np.ones((2000, 3), np.float32), ones, ones, np.zeros(2000, np.float32))
    place = Place(2000, np.random.default_rng(0), greedy=greedy)
    action = algorithm.actor(Policy(acting, 2000), place).act(seen).action
    assert action.shape == (2000, 2, 1)
    assert action.dtype == np.float32
    with torch.no_grad():
        mean = networks["policy"](torch.ones(1, 3))["action"].tanh().numpy()
    return {"action": action.reshape(2000, 2), "mean": mean}


@pytest.mark.parametrize(("noise", "clip"), [(0.0, 0.5), (0.2, 0.5), (2.0, 0.05)])
def test_the_target_is_the_smaller_value_of_a_smoothed_action(noise: float, clip: float) -> None:
    _, learner, networks = make(seed=3, gamma=0.9, target_noise=noise, target_noise_clip=clip)
    data = tensors(batch())
    drawn = torch.randn((32, 2, 1), generator=torch.Generator().manual_seed(3)).numpy()
    targets = part(networks)
    with torch.no_grad():
        plain = targets["policy"](data["next_observation"])["action"].tanh().numpy()
        smoothed = plain.reshape(32, 2, 1) + np.clip(noise * drawn, -clip, clip)
        action = torch.from_numpy(np.clip(smoothed, -1, 1))
        first, second = targets["critic"](data["next_observation"], action)["q"].numpy()[..., 0]
    expected = data["reward"].numpy() + np.where(
        data["terminated"].numpy(), 0, 0.9 * np.minimum(first, second)
    )

    found = learner._target(data)

    assert not found.requires_grad
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
    # Else the smaller of the two, or what clips, would prove nothing.
    assert 0 < (first < second).mean() < 1
    assert (np.abs(noise * drawn) > clip).any() == (noise == 2.0)


def test_target_actions_stay_within_the_bounds() -> None:
    _, learner, _ = make(gamma=1.0, target_noise=2.0, target_noise_clip=2.0)
    seen = []
    learner._target_critic.network.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[1])
    )
    learner._target(tensors(batch()))
    (action,) = seen
    assert float(action.abs().max()) == 1.0


def test_the_losses_are_those_of_the_paper() -> None:
    _, learner, networks = make(policy_delay=1)
    rows = batch()
    rows["terminated"][:] = True
    data = tensors(rows)
    with torch.no_grad():
        q = networks["critic"](data["observation"], data["action"])["q"].numpy()[..., 0]

    metrics = learner.update(rows, after(0)).metrics

    errors = ((q - rows["reward"]) ** 2).mean(-1)
    assert metrics["critic_loss"] == pytest.approx(errors.sum(), rel=1e-5)
    assert metrics["mean_q"] == pytest.approx(q.mean(), rel=1e-4, abs=1e-6)


def test_the_policy_ascends_the_first_critic() -> None:
    _, learner, networks = make(policy_delay=1, learning_rate=Schedule(1e-2))
    # The critics stay: only the policy learns, from what the first one values.
    learner._rates["critic"] = Schedule(1e-12)
    rows = batch()
    data = tensors(rows)

    def value() -> np.ndarray:
        with torch.no_grad():
            action = networks["policy"](data["observation"])["action"].tanh().reshape(32, 2, 1)
            q = networks["critic"](data["observation"], action)["q"].numpy()
        mean: np.ndarray = q[..., 0].mean(-1)
        return mean

    before = value()
    loss = learner.update(rows, after(0)).metrics["policy_loss"]
    for _ in range(30):
        learner.update(rows, after(0))

    assert loss == pytest.approx(-before[0], rel=1e-4, abs=1e-6)
    assert value()[0] > before[0] + 0.1


def test_policy_and_targets_are_updated_with_every_third_update_of_the_critics() -> None:
    _, learner, networks = make(policy_delay=3, tau=0.25)
    followed = {
        "policy": learner._target_policy.network,
        "critic": learner._target_critic.network,
    }
    for updates in range(6):
        before = {name: weights(each) for name, each in networks.items()}
        targets = {name: weights(each) for name, each in followed.items()}

        metrics = learner.update(batch(updates), after(updates)).metrics

        moves = updates in (2, 5)
        assert ("policy_loss" in metrics) is (updates >= 2)
        assert (weights(networks["critic"]) != before["critic"]).any()
        assert (weights(networks["policy"]) != before["policy"]).any() == moves
        for name, each in followed.items():
            share = 0.25 if moves else 0.0
            expected = targets[name] + share * (weights(networks[name]) - targets[name])
            np.testing.assert_allclose(weights(each), expected, rtol=1e-5, atol=1e-7)


def test_a_terminated_episode_has_no_value_afterwards() -> None:
    _, learner, networks = make(learning_rate=Schedule(1e-2), gamma=1.0, tau=1.0)
    rows = batch()
    rows["terminated"][:], rows["reward"][:] = True, 1.0
    for updates in range(200):
        learner.update(rows, after(updates))
    data = tensors(rows)
    with torch.no_grad():
        q = networks["critic"](data["observation"], data["action"])["q"]
    assert q.shape == (2, 32, 1)
    assert float((q - 1).abs().mean()) < 0.1


def test_the_policy_moves_to_what_is_rewarded() -> None:
    _, learner, networks = make(learning_rate=Schedule(1e-2), gamma=0.0)
    for updates in range(150):
        rows = batch(updates)
        # More of the first action and less of the second.
        rows["reward"] = rows["action"][:, 0, 0] - rows["action"][:, 1, 0]
        learner.update(rows, after(updates))
    with torch.no_grad():
        action = networks["policy"](torch.zeros(1, 3))["action"].tanh()
    assert action[0, 0] > 0.5
    assert action[0, 1] < -0.5


def test_acting_is_uniformly_random_until_the_first_update() -> None:
    algorithm, learner, networks = make()
    found = act(algorithm, networks, learner.publish(after(0)))["action"]
    assert np.abs(found).max() <= 1
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(found.std(axis=0), 3**-0.5, atol=0.03)


def test_afterwards_noise_of_the_scheduled_size_is_added() -> None:
    algorithm, learner, networks = make(noise_size=Schedule(0.3))
    found = act(algorithm, networks, learner.publish(after(1)))
    np.testing.assert_allclose(found["action"].mean(axis=0), found["mean"][0], atol=0.03)
    np.testing.assert_allclose(found["action"].std(axis=0), 0.3, atol=0.02)
    assert np.abs(found["action"]).max() <= 1


@pytest.mark.parametrize(("noise", "kept"), [("gaussian", 0.0), ("ornsteinUhlenbeck", 0.8)])
def test_noise_of_steps_that_follow_is_alike_as_its_kind_says(noise: Any, kept: float) -> None:
    algorithm, learner, networks = make(
        noise=noise, noise_size=Schedule(0.1), noise_reversion=1 - kept
    )
    acting = nets.build_acting(SPEC, algorithm.networks, SPACES)
    arrays = {name: np.asarray(value) for name, value in learner.publish(after(1)).items()}
    acting.load({**nets.export(networks, algorithm.networks), **arrays})
    place = Place(2000, np.random.default_rng(0))
    actor = algorithm.actor(Policy(acting, 2000), place)
    observation, reward = np.ones((2000, 3), np.float32), np.zeros(2000, np.float32)
    rows = []
    for begins in (True, False):
        seen = Seen(observation, np.full(2000, begins), np.ones(2000, bool), reward)
        action = actor.act(seen).action.reshape(2000, 2)
        rows.append(action - action.mean(axis=0))
    assert (rows[1] * rows[0]).mean() / (rows[0] ** 2).mean() == pytest.approx(kept, abs=0.07)
    assert (rows[1] - kept * rows[0]).std() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("updates", [0, 1])
def test_evaluations_take_the_policys_action(updates: int) -> None:
    algorithm, learner, networks = make()
    found = act(algorithm, networks, learner.publish(after(updates)), greedy=True)
    np.testing.assert_allclose(found["action"], np.tile(found["mean"], (2000, 1)), atol=1e-5)


def test_a_restored_learner_goes_on_bitwise_as_if_never_stopped() -> None:
    _, whole, _ = make()
    for updates in range(3):
        whole.update(batch(updates), after(updates))
    state = whole.state()
    state.values = json.loads(json.dumps(state.values))
    _, resumed, _ = make(seed=9)
    resumed.load_state(state)
    for learner in (whole, resumed):
        for updates in range(3, 6):
            learner.update(batch(updates), after(updates))
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
        match=r"TD3 needs Box actions with finite bounds .* environment\.convert\.action",
    ):
        TD3(TD3Config(), Spaces(BoxSpace((3,)), action))
