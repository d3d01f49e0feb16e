"""SAC with choices: its losses by explicit sums, masks, and that it goes on after a restart."""

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
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.spec.sections import NetworkSpec

NOW = Progress(steps=0, share=0.0)
SPACES = Spaces(BoxSpace((3,)), DiscreteSpace(4), masked=True)
NETWORK = NetworkSpec(config={"hidden": [16]})


def make(seed: int = 0, **config: Any) -> tuple[SAC, SACLearner, dict[str, Any]]:
    algorithm = SAC(SACConfig(**config), SPACES)
    networks: dict[str, Any] = dict(nets.build_networks(NETWORK, algorithm.networks, SPACES, seed))
    with torch.no_grad():
        # A fresh policy is nearly even: its logits would hide errors.
        for each in networks["policy"].parameters():
            each.add_(torch.linspace(-0.5, 0.5, each.numel()).view_as(each))
    return algorithm, algorithm.learner(networks, seed), networks


def batch(seed: int = 0, size: int = 32, masked: bool = True) -> Arrays:
    rng = np.random.default_rng(seed)
    action = rng.integers(4, size=size)
    found: Arrays = {
        "observation": rng.normal(size=(size, 3)).astype(np.float32),
        "next_observation": rng.normal(size=(size, 3)).astype(np.float32),
        "action": action,
        "reward": rng.normal(size=size).astype(np.float32),
        "terminated": rng.random(size) < 0.2,
    }
    if masked:
        for name in ("mask", "next_mask"):
            found[name] = (rng.random((size, 4)) < 0.6) | (action[:, None] == np.arange(4))
    return found


def policy_of(networks: dict[str, Any], observation: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Probabilities `[B, 4]`, of what is allowed alone."""
    with torch.no_grad():
        logits = networks["policy"](torch.from_numpy(observation))["logits"].double().numpy()
    weights = np.exp(logits) * mask
    found: np.ndarray = weights / weights.sum(-1, keepdims=True)
    return found


def critics_of(networks: dict[str, Any], observation: np.ndarray) -> np.ndarray:
    """`[2, B, 4]`."""
    with torch.no_grad():
        found: np.ndarray = networks["critic"](torch.from_numpy(observation))["q"].double().numpy()
    return found


def entropy_of(p: np.ndarray) -> np.ndarray:
    found: np.ndarray = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1)
    return found


@pytest.mark.parametrize("masked", [False, True], ids=["all-allowed", "masked"])
def test_the_losses_are_sums_over_what_is_allowed(masked: bool) -> None:
    _, learner, networks = make(gamma=0.9, initial_temperature=0.7, learning_rate=Schedule(1e-9))
    rows = batch(masked=masked)
    every = np.ones((32, 4), bool)
    mask, next_mask = rows.get("mask", every), rows.get("next_mask", every)
    ahead = policy_of(networks, rows["next_observation"], next_mask)
    # The targets are copies of the critics before the first update.
    soft = critics_of(networks, rows["next_observation"]).min(0) * ahead
    goes_on = 0.9 * ~rows["terminated"]
    target = rows["reward"] + goes_on * (soft.sum(-1) + 0.7 * entropy_of(ahead))
    q = critics_of(networks, rows["observation"])
    errors = [q[i][np.arange(32), rows["action"]] - target for i in range(2)]
    now = policy_of(networks, rows["observation"], mask)
    value = (now * q.min(0)).sum(-1)

    metrics = learner.update(rows, NOW).metrics

    assert metrics["critic_loss"] == pytest.approx(
        sum(np.square(e).mean() for e in errors), rel=1e-4
    )
    assert metrics["entropy"] == pytest.approx(entropy_of(now).mean(), rel=1e-4)
    expected = -(value + 0.7 * entropy_of(now)).mean()
    assert metrics["policy_loss"] == pytest.approx(expected, rel=1e-4)
    assert metrics["temperature"] == pytest.approx(0.7)


def test_acting_obeys_the_mask_and_evaluations_take_the_likeliest() -> None:
    algorithm, _, networks = make()
    acting = nets.build_acting(NETWORK, algorithm.networks, SPACES)
    acting.load(nets.export(networks, algorithm.networks))
    rows = batch(size=4000)
    rows["observation"][:] = rows["observation"][0]
    mask = np.tile(rows["mask"][0], (4000, 1))
    p = policy_of(networks, rows["observation"][:1], mask[:1])[0]
    seen = Seen(rows["observation"], np.ones(4000, bool), np.ones(4000, bool), rows["reward"], mask)
    for greedy in (False, True):
        place = Place(4000, np.random.default_rng(0), greedy=greedy)
        action = algorithm.actor(Policy(acting, 4000), place).act(seen).action
        shares = np.bincount(action, minlength=4) / 4000
        wanted = np.eye(4)[p.argmax()] if greedy else p
        np.testing.assert_allclose(shares, wanted, atol=0.04)
        assert not shares[~mask[0]].any()


@pytest.mark.parametrize(
    ("share", "rises"), [(0.99, True), (0.01, False)], ids=["too-certain", "too-even"]
)
def test_the_temperature_aims_at_the_target_entropy(share: float, rises: bool) -> None:
    _, learner, _ = make(target_entropy=share * math.log(4))
    found = [
        learner.update(batch(seed, masked=False), NOW).metrics["temperature"] for seed in range(20)
    ]
    assert (found[-1] > found[0]) is rises


def test_the_default_target_counts_what_is_allowed() -> None:
    algorithm, _, _ = make()
    mask = torch.tensor(
        [[True, True, True, True], [True, False, True, False], [True] + 3 * [False]]
    )
    goal = algorithm.actions.target_entropy(mask)
    assert isinstance(goal, torch.Tensor)
    whole = algorithm.actions.target_entropy(None)
    assert goal.tolist() == pytest.approx([whole, whole / 2, 0.0])
    assert 0 < whole < math.log(4)


def test_the_policy_moves_to_what_is_rewarded() -> None:
    _, learner, networks = make(learning_rate=Schedule(1e-2), gamma=0.0, initial_temperature=0.01)
    for seed in range(150):
        rows = batch(seed, masked=False)
        rows["reward"] = (rows["action"] == 2).astype(np.float32)
        metrics = learner.update(rows, NOW).metrics
    assert all(math.isfinite(value) for value in metrics.values())
    p = policy_of(networks, np.zeros((1, 3), np.float32), np.ones((1, 4), bool))[0]
    assert p.argmax() == 2


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
