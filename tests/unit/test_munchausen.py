"""Munchausen DQN: its bonus and soft values by hand, its target with masks, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rljob import algorithms
from rljob.algorithms.base import Progress
from rljob.algorithms.munchausen import munchausen_bonus, soft_value
from rljob.envs.spaces import DiscreteSpace
from rljob.errors import InputError
from rljob.spec.sections import AlgorithmSpec
from tests.unit.segments import make_algorithm, make_learner, replay_batch


def test_by_hand() -> None:
    # exp(value / 0.5) is 1 and 3: the policy is 1/4 and 3/4.
    values = np.array([[0, 0.5 * np.log(3)]] * 2, np.float32)
    assert soft_value(values, 0.5) == pytest.approx(0.5 * np.log(4))
    found = munchausen_bonus(values, np.array([0, 1]), 0.5, -1000)
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx([-0.5 * np.log(4), 0.5 * np.log(0.75)])
    assert munchausen_bonus(values, np.array([0, 1]), 0.5, -0.2).tolist() == pytest.approx(
        [-0.2, 0.5 * np.log(0.75)]
    )


def test_large_values_neither_overflow_nor_leave_the_maximum() -> None:
    values = np.array([[3e4, -3e4, 3e4 - 1]], np.float32)
    assert soft_value(values, 0.03) == pytest.approx(3e4)
    assert munchausen_bonus(values, np.array([1]), 0.03, -1.0).tolist() == [-1]


def test_the_target_is_the_papers_and_obeys_masks() -> None:
    """Reward + 0.9 [0.3 log π(a|s)] + γ Σ π(b|s') (q(s', b) - 0.3 log π(b|s')), over allowed actions."""
    algorithm = make_algorithm(
        "DQN",
        DiscreteSpace(5),
        masked=True,
        nStep=1,
        double=False,
        munchausen=True,
        munchausenTemperature=0.3,
        dueling=False,
        replay="prioritised",
    )
    learner, network = make_learner(algorithm)
    batch = replay_batch(algorithm, 64, prioritised=True)
    # Before the first update the target network equals the learning one.
    with torch.no_grad():
        here, ahead = (
            network(torch.from_numpy(batch[name]))["advantage"].double()
            for name in ("observation", "next_observation")
        )
    rows = torch.arange(64)
    masks = (torch.from_numpy(batch[name]) for name in ("mask", "next_mask"))
    now, then = (
        (values.masked_fill(~mask, -torch.inf) / 0.3).log_softmax(-1)
        for values, mask in zip((here, ahead), masks, strict=True)
    )
    expected = torch.where(then > -torch.inf, then.exp() * (ahead - 0.3 * then), 0).sum(-1)
    bonus = (0.3 * now[rows, batch["action"]]).clamp(-1, 0)
    assert (bonus < -0.1).float().mean() > 0.3
    target = batch["n_step_return"] + 0.9 * bonus.numpy()
    target = target + batch["n_step_discount"] * expected.numpy()
    error = here[rows, batch["action"]].numpy() - target
    found = learner.update(batch, Progress(0, 0.0)).priorities
    assert found is not None
    np.testing.assert_allclose(found, np.abs(error), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"double": False},
            "munchausen needs nStep: 1 and double: false, and they are 3 and false",
        ),
        ({"nStep": 1}, "munchausen needs nStep: 1 and double: false, and they are 1 and true"),
        ({"nStep": 1, "double": False, "munchausenClip": 1}, "munchausenClip: 1 is not allowed"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        algorithms.load_config(
            AlgorithmSpec(
                name="DQN", config={"munchausen": True, "targetUpdateInterval": 1} | config
            )
        )
