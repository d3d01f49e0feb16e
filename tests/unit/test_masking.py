"""Algorithms choose, value and learn among the allowed actions alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rljob.algorithms.base import Place, Policy, Progress, Seen
from rljob.algorithms.built_in.q_learning import QLearning, QLearningConfig
from rljob.algorithms.distributions import distribution_for
from rljob.algorithms.masking import draw, forbid
from rljob.algorithms.schedule import Schedule
from rljob.envs.spaces import DiscreteSpace, MultiDiscreteSpace, Space, Spaces
from rljob.nets.acting import ActingNetworks
from tests.unit.segments import (
    allowed,
    make_algorithm,
    make_learner,
    random_masks,
    random_segment,
    replay_batch,
)

START = Progress(steps=0, share=0.0)
SPACES: dict[str, Space] = {
    "discrete": DiscreteSpace(6),
    "multi": MultiDiscreteSpace((2, 4, 3)),
}
ROWS = 400


def logits_and_mask(space: Space) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    size = distribution_for(space).heads["logits"].size
    # Large, so that what is forbidden is often what would be chosen.
    logits = 5 * rng.standard_normal((ROWS, size), dtype=np.float32)
    return {"logits": logits}, random_masks(space, (ROWS,), rng)


def as_tensors(outputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(output) for name, output in outputs.items()}


@pytest.mark.parametrize("kind", SPACES)
def test_distributions_sample_and_prefer_what_is_allowed(kind: str) -> None:
    space, (outputs, mask) = SPACES[kind], logits_and_mask(SPACES[kind])
    distribution = distribution_for(space)
    action, log_prob = distribution.sample(outputs, np.random.default_rng(1), mask)
    mode = distribution.mode(outputs, mask)
    assert allowed(space, mask, action).all()
    assert allowed(space, mask, mode).all()
    assert not allowed(space, mask, distribution.mode(outputs)).all(), "the masks are of no use"
    assert np.isfinite(log_prob).all()
    shown = distribution.shown(outputs, mask).values
    assert (shown[~mask] == 0).all()
    choices = len(space.nvec) if isinstance(space, MultiDiscreteSpace) else 1
    np.testing.assert_allclose(shown.sum(-1), choices, rtol=1e-5)
    learned, _ = distribution.evaluate(
        as_tensors(outputs), torch.from_numpy(action), torch.from_numpy(mask)
    )
    np.testing.assert_allclose(learned.numpy(), log_prob, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SPACES)
def test_a_masked_distribution_is_that_of_the_allowed_actions_alone(kind: str) -> None:
    """Log-probability and entropy equal those of logits from which the others were taken out."""
    space, (outputs, mask) = SPACES[kind], logits_and_mask(SPACES[kind])
    distribution = distribution_for(space)
    action = distribution.mode(outputs, mask)
    found = distribution.evaluate(
        as_tensors(outputs), torch.from_numpy(action), torch.from_numpy(mask)
    )
    nvec = space.nvec if isinstance(space, MultiDiscreteSpace) else (6,)
    starts = np.cumsum((0, *nvec[:-1]))
    for row in range(50):
        log_prob = entropy = 0.0
        for i, (start, n) in enumerate(zip(starts, nvec, strict=True)):
            kept = np.flatnonzero(mask[row, start : start + n])
            some = DiscreteSpace(len(kept))
            logits = outputs["logits"][row, start : start + n][kept]
            taken = int(np.flatnonzero(kept == action.reshape(ROWS, -1)[row, i])[0])
            alone = distribution_for(some).evaluate(
                {"logits": torch.from_numpy(logits[None])}, torch.tensor([taken])
            )
            log_prob, entropy = log_prob + float(alone[0]), entropy + float(alone[1])
        assert float(found[0][row]) == pytest.approx(log_prob, abs=1e-4)
        assert float(found[1][row]) == pytest.approx(entropy, abs=1e-4)


@pytest.mark.parametrize("kind", SPACES)
def test_what_is_forbidden_gets_no_gradient_and_nothing_is_nan(kind: str) -> None:
    space, (outputs, mask) = SPACES[kind], logits_and_mask(SPACES[kind])
    # Rows after which environments only reset may allow anything; whatever they hold has to stay finite.
    mask[0], mask[1] = False, True
    logits = torch.from_numpy(outputs["logits"]).requires_grad_()
    action = torch.zeros((ROWS, *space.shape), dtype=torch.int64)
    log_prob, entropy = distribution_for(space).evaluate(
        {"logits": logits}, action, torch.from_numpy(mask)
    )
    (gradient,) = torch.autograd.grad(log_prob.clamp(min=-50).sum() + entropy.sum(), logits)
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(entropy).all()
    assert (gradient[torch.from_numpy(~mask)] == 0).all()
    assert (gradient[1] != 0).any()
    sampled, likely = distribution_for(space).sample(outputs, np.random.default_rng(0), mask)
    assert np.isfinite(likely).all()
    assert (sampled >= 0).all()


def test_random_actions_are_drawn_evenly_from_the_allowed_ones() -> None:
    mask = np.tile(np.array([True, False, True, True, False]), (30_000, 1))
    drawn = draw(np.random.default_rng(0), mask.shape, mask)
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 30_000, mask[0] / 3, atol=0.01)
    anything = draw(np.random.default_rng(0), mask.shape, None)
    np.testing.assert_allclose(np.bincount(anything, minlength=5) / 30_000, 0.2, atol=0.01)


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("PPO", SPACES["discrete"]),
        ("PPO", SPACES["multi"]),
        ("IMPALA", SPACES["discrete"]),
        ("IMPALA", SPACES["multi"]),
        ("APPO", SPACES["discrete"]),
        ("APPO", SPACES["multi"]),
        ("DQN", SPACES["discrete"]),
        ("C51", SPACES["discrete"]),
        ("QRDQN", SPACES["discrete"]),
        ("IQN", SPACES["discrete"]),
        ("R2D2", SPACES["discrete"]),
    ],
    ids=str,
)
def test_actors_obey_and_learners_say_what_actors_said(name: str, action: Space) -> None:
    # One step on the whole batch, whose metrics are of the network before it.
    whole: dict[str, dict[str, Any]] = {
        "PPO": {"epochs": 1, "minibatches": 1},
        "APPO": {"epochs": 1},
    }
    config = whole.get(name, {})
    algorithm = make_algorithm(name, action, masked=True, **config)
    segment = random_segment(algorithm, 16, 64)
    for t in range(16):
        assert allowed(action, segment["mask"][t], segment["action"][t]).all()
    if name in ("DQN", "C51", "QRDQN", "IQN", "R2D2"):
        return
    learner, network = make_learner(algorithm)
    # The entropy of a fresh network is that of nearly equal logits: the mean of log(allowed actions).
    found = learner.update(segment, START).metrics["entropy"]
    parts = np.split(segment["mask"][:16], np.cumsum(getattr(action, "nvec", ()))[:-1], axis=-1)
    expected = sum(np.log(part.sum(-1)) for part in parts)[segment["valid"]].mean()
    assert found == pytest.approx(expected, abs=0.03)
    assert all(torch.isfinite(weights).all() for weights in network.parameters())


@pytest.mark.parametrize("double", [True, False])
def test_dqn_never_bootstraps_from_a_forbidden_action(double: bool) -> None:
    """The error tells the target: the value of the best action that the next mask allows."""
    algorithm = make_algorithm(
        "DQN", SPACES["discrete"], masked=True, double=double, dueling=False, replay="prioritised"
    )
    learner, network = make_learner(algorithm)
    batch = replay_batch(algorithm, 200, prioritised=True)
    with torch.no_grad():
        now, ahead = (
            network(torch.from_numpy(batch[name]))["advantage"].numpy().copy()
            for name in ("observation", "next_observation")
        )
    # Before the first update the target network equals the learning one.
    mask = batch["next_mask"]
    best = np.where(mask, ahead, -np.inf).max(axis=1)
    assert (best < ahead.max(axis=1)).mean() > 0.3, "the masks are of no use"
    target = batch["n_step_return"] + batch["n_step_discount"] * best
    error = now[np.arange(len(now)), batch["action"]] - target
    found = learner.update(batch, START).priorities
    assert found is not None
    np.testing.assert_allclose(found, np.abs(error), rtol=1e-3, atol=1e-4)


def test_q_learning_obeys_and_values_the_best_allowed_action() -> None:
    config = QLearningConfig(learning_rate=Schedule(0.5), gamma=0.5)
    algorithm = QLearning(config, Spaces(DiscreteSpace(2), DiscreteSpace(3), masked=True))
    learner = algorithm.learner({}, 0)
    q = learner.publish(START)["q"]
    q[1] = [8, 4, 2]
    batch: dict[str, np.ndarray] = {
        "observation": np.array([[0], [1]]),
        "action": np.array([[0]]),
        "reward": np.zeros((1, 1), np.float32),
        "valid": np.ones((1, 1), bool),
        "terminated": np.zeros((1, 1), bool),
        "mask": np.array([[[True, True, True]], [[False, False, True]]]),
    }
    learner.update(batch, START)
    assert q[0, 0] == 0.5 * 0.5 * 2

    for epsilon, greedy in ((0.0, False), (1.0, False), (1.0, True)):
        networks = ActingNetworks({})
        networks.load({"q": q, "epsilon": np.array(epsilon)})
        place = Place(ROWS, np.random.default_rng(0), total=ROWS, greedy=greedy)
        rng = np.random.default_rng(1)
        mask = random_masks(DiscreteSpace(3), (ROWS,), rng)
        yes = np.ones(ROWS, bool)
        seen = Seen(np.ones(ROWS, np.int64), ~yes, yes, np.zeros(ROWS, np.float32), mask)
        acted = algorithm.actor(Policy(networks, ROWS), place).act(seen)
        assert allowed(DiscreteSpace(3), mask, acted.action).all()
        if acted.scores is not None:
            np.testing.assert_array_equal(np.isnan(acted.scores.values), ~mask)
        if epsilon == 0 or greedy:
            np.testing.assert_array_equal(acted.action, forbid(q[1], mask).argmax(-1))
