"""A2C's update by hand, what it may not look at, and that it goes on after a restart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rljob.algorithms.base import Progress
from rljob.algorithms.gae import gae
from tests.unit.segments import make_algorithm, make_learner, random_segment, same_arrays

START = Progress(steps=0, share=0.0)


def test_the_losses_are_those_of_the_paper() -> None:
    algorithm = make_algorithm("A2C", gamma=0.9, entropyCoefficient=0.1, maxGradientNorm=None)
    learner, network = make_learner(algorithm)
    batch = random_segment(algorithm, 6, 3)
    with torch.no_grad():
        outputs = network(torch.from_numpy(batch["observation"].reshape(21, 4)))
    logits = outputs["logits"].view(7, 3, 2)[:-1].log_softmax(-1)
    value = outputs["value"].view(7, 3).numpy()

    metrics = learner.update(batch, START).metrics

    valid, reward = batch["valid"], batch["reward"]
    target = np.zeros((6, 3))
    for env in range(3):
        ahead = value[6, env]
        for t in reversed(range(6)):
            if not valid[t, env]:
                continue
            if batch["terminated"][t, env]:
                ahead = 0.0
            elif batch["truncated"][t, env] or t == 5:
                ahead = value[t + 1, env]
            target[t, env] = ahead = reward[t, env] + 0.9 * ahead
    advantage = (target - value[:-1])[valid]
    taken = np.take_along_axis(logits.numpy(), batch["action"][..., None], -1)[..., 0][valid]
    assert metrics["policy_loss"] == pytest.approx(-(taken * advantage).mean(), rel=1e-4)
    assert metrics["value_loss"] == pytest.approx(np.square(advantage).mean(), rel=1e-4)
    entropy = -(logits.exp() * logits).sum(-1).numpy()[valid].mean()
    assert metrics["entropy"] == pytest.approx(entropy, rel=1e-4)


def test_advantages_can_be_generalised_and_normalised() -> None:
    made = make_algorithm("A2C", gaeLambda=0.5, normaliseAdvantages=True, maxGradientNorm=None)
    learner, network = make_learner(made)
    batch = random_segment(made, 6, 3)
    with torch.no_grad():
        outputs = network(torch.from_numpy(batch["observation"].reshape(21, 4)))
    value = outputs["value"].view(7, 3).numpy()
    ends = (batch[name] for name in ("terminated", "truncated", "valid"))
    advantage = gae(batch["reward"], value, *ends, gamma=0.99, gae_lambda=0.5)[batch["valid"]]
    weight = (advantage - advantage.mean()) / advantage.std()
    logits = outputs["logits"].view(7, 3, 2)[:-1].log_softmax(-1).numpy()
    taken = np.take_along_axis(logits, batch["action"][..., None], -1)[..., 0][batch["valid"]]

    metrics = learner.update(batch, START).metrics

    assert metrics["policy_loss"] == pytest.approx(-(taken * weight).mean(), rel=1e-3, abs=1e-5)


def test_rows_that_only_reset_are_not_trained_on() -> None:
    algorithm = make_algorithm("A2C")
    batch = random_segment(algorithm, 8, 4)
    other = {name: array.copy() for name, array in batch.items()}
    resets = ~batch["valid"]
    assert resets.any()
    other["reward"][resets] = 1e6
    other["action"][resets] = 1 - other["action"][resets]
    learners = [make_learner(algorithm)[0] for _ in range(2)]

    for learner, each in zip(learners, (batch, other), strict=True):
        learner.update(each, START)

    assert same_arrays(*learners)


def test_a_restored_learner_goes_on_bitwise() -> None:
    algorithm = make_algorithm("A2C")
    batches = [random_segment(algorithm, 8, 4, seed) for seed in range(4)]
    whole, _ = make_learner(algorithm)
    for batch in batches[:2]:
        whole.update(batch, START)
    saved = whole.state()
    resumed, _ = make_learner(algorithm, seed=9)
    resumed.load_state(saved)
    for batch in batches[2:]:
        whole.update(batch, START)
        resumed.update(batch, START)
    assert same_arrays(whole, resumed)
