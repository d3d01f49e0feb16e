"""Sampling in numpy, log-probabilities and entropies in torch, and that the two agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rljob.algorithms.distributions import distribution_for
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space

SPACES: dict[str, Space] = {
    "discrete": DiscreteSpace(4),
    "multi": MultiDiscreteSpace((2, 3)),
    "box": BoxSpace((2, 2)),
}


def outputs_for(space: Space, rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    heads = distribution_for(space).heads
    return {
        name: rng.standard_normal((rows, head.size), dtype=np.float32)
        for name, head in heads.items()
    }


@pytest.mark.parametrize("kind", SPACES)
def test_acting_and_learning_agree_on_the_log_probability(kind: str) -> None:
    space = SPACES[kind]
    outputs = outputs_for(space, 50)
    distribution = distribution_for(space)
    action, log_prob = distribution.sample(outputs, np.random.default_rng(1))
    assert action.shape == (50, *space.shape)
    assert action.dtype == space.dtype
    assert log_prob.shape == (50,)
    assert log_prob.dtype == np.float32
    learned, entropy = distribution.evaluate(
        {name: torch.from_numpy(output) for name, output in outputs.items()},
        torch.from_numpy(action),
    )
    np.testing.assert_allclose(learned.numpy(), log_prob, rtol=1e-5, atol=1e-5)
    assert entropy.shape == (50,)


def test_categorical_by_hand() -> None:
    """Probabilities 1/8, 2/8, 5/8: entropy -sum(p ln p) = 0.900256."""
    logits = torch.log(torch.tensor([[1.0, 2.0, 5.0]] * 3)) + 7
    log_prob, entropy = distribution_for(DiscreteSpace(3)).evaluate(
        {"logits": logits}, torch.tensor([0, 1, 2])
    )
    assert log_prob.tolist() == pytest.approx([math.log(p) for p in (0.125, 0.25, 0.625)])
    assert entropy.tolist() == pytest.approx([0.900256] * 3, abs=1e-6)


def test_multi_categorical_is_the_sum_of_its_parts() -> None:
    """First choice 1/4, 3/4; second 1/8, 2/8, 5/8. Entropies 0.562335 + 0.900256."""
    logits = torch.log(torch.tensor([[1.0, 3.0, 1.0, 2.0, 5.0]]))
    log_prob, entropy = distribution_for(MultiDiscreteSpace((2, 3))).evaluate(
        {"logits": logits}, torch.tensor([[1, 2]])
    )
    assert log_prob.item() == pytest.approx(math.log(0.75 * 0.625))
    assert entropy.item() == pytest.approx(0.562335 + 0.900256, abs=1e-6)


def test_gaussian_by_hand() -> None:
    """At (mean + std, mean) with std (1, 2): -0.5 - ln 1 - ln 2 - ln(2 pi) = -3.031024."""
    outputs = {
        "mean": torch.tensor([[3.0, -1.0]]),
        "log_std": torch.tensor([[0.0, math.log(2)]]),
    }
    log_prob, entropy = distribution_for(BoxSpace((2,))).evaluate(
        outputs, torch.tensor([[4.0, -1.0]])
    )
    assert log_prob.item() == pytest.approx(-3.031024, abs=1e-6)
    assert entropy.item() == pytest.approx(math.log(2) + 1 + math.log(2 * math.pi), abs=1e-6)


def test_categorical_samples_follow_the_probabilities() -> None:
    probability = np.array([0.1, 0.6, 0.3], np.float32)
    logits = np.tile(np.log(probability), (40_000, 1))
    action, _ = distribution_for(DiscreteSpace(3)).sample(
        {"logits": logits}, np.random.default_rng(0)
    )
    # Four standard errors of the mean at this sample size.
    np.testing.assert_allclose(np.bincount(action) / len(action), probability, atol=0.01)


def test_an_impossible_choice_is_never_taken() -> None:
    logits = np.tile(np.array([-200, 0, -200, 0, -200], np.float32), (5000, 1))
    action, log_prob = distribution_for(DiscreteSpace(5)).sample(
        {"logits": logits}, np.random.default_rng(0)
    )
    assert set(action) == {1, 3}
    np.testing.assert_allclose(log_prob, math.log(0.5), rtol=1e-6)


def test_gaussian_samples_have_the_mean_and_standard_deviation() -> None:
    rows = 40_000
    outputs = {
        "mean": np.full((rows, 1), 2, np.float32),
        "log_std": np.full((rows, 1), math.log(0.5), np.float32),
    }
    action, _ = distribution_for(BoxSpace((1,))).sample(outputs, np.random.default_rng(0))
    assert action.mean() == pytest.approx(2, abs=0.01)
    assert action.std() == pytest.approx(0.5, abs=0.01)


def test_the_mode_is_the_likeliest_action() -> None:
    logits = np.array([[0, 2, 1, 5, 1]], np.float32)
    assert distribution_for(DiscreteSpace(5)).mode({"logits": logits}).tolist() == [3]
    assert distribution_for(MultiDiscreteSpace((2, 3))).mode({"logits": logits}).tolist() == [
        [1, 1]
    ]
    mean = np.array([[1.5, -2]], np.float32)
    mode = distribution_for(BoxSpace((2,))).mode({"mean": mean})
    assert mode.tolist() == [[1.5, -2]]


@pytest.mark.parametrize("kind", SPACES)
def test_what_is_shown_is_what_is_chosen_by(kind: str) -> None:
    space = SPACES[kind]
    outputs = outputs_for(space, 20)
    distribution = distribution_for(space)
    shown, action = distribution.shown(outputs), distribution.mode(outputs)
    assert shown.values.shape[0] == 20
    if isinstance(space, BoxSpace):
        np.testing.assert_array_equal(shown.values, action.reshape(20, -1))
        return
    nvec = [space.n] if isinstance(space, DiscreteSpace) else list(space.nvec)
    for index, part in enumerate(np.split(shown.values, np.cumsum(nvec)[:-1], axis=1)):
        np.testing.assert_allclose(part.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(part.argmax(axis=1), action.reshape(20, -1)[:, index])


@pytest.mark.parametrize("kind", SPACES)
def test_the_divergence_is_that_of_torchs_own_distributions(kind: str) -> None:
    before, after = (
        {name: torch.from_numpy(each[rows]) for name, each in outputs_for(SPACES[kind], 20).items()}
        for rows in (slice(10), slice(10, 20))
    )

    def parts(outputs: dict[str, torch.Tensor]) -> list[torch.distributions.Distribution]:
        if kind == "box":
            normal = torch.distributions.Normal(outputs["mean"], outputs["log_std"].exp())
            return [torch.distributions.Independent(normal, 1)]
        sizes = {"discrete": [4], "multi": [2, 3]}[kind]
        logits = outputs["logits"].split(sizes, dim=-1)  # type: ignore[no-untyped-call]
        return [torch.distributions.Categorical(logits=each) for each in logits]

    pairs = zip(parts(before), parts(after), strict=True)
    expected = sum(torch.distributions.kl_divergence(*pair) for pair in pairs)
    found = distribution_for(SPACES[kind]).divergence(before, after)
    torch.testing.assert_close(found, expected)
    zero = distribution_for(SPACES[kind]).divergence(before, before)
    torch.testing.assert_close(zero, torch.zeros(10), rtol=0, atol=1e-6)
