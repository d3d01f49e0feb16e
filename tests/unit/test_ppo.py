"""PPO's loss by hand, what an update may and may not look at, and that it goes on after a restart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rljob import algorithms
from rljob.algorithms import advantages
from rljob.algorithms.base import Progress
from rljob.algorithms.built_in.ppo import PPOConfig
from rljob.algorithms.moments import MovingMoments, RunningMoments
from rljob.algorithms.ppo_loss import PPOLoss, adapted, ppo_loss
from rljob.algorithms.schedule import Schedule
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space
from rljob.errors import InputError
from rljob.spec.sections import AlgorithmSpec
from tests.unit.segments import make_algorithm, make_learner, random_segment, same_arrays

START = Progress(steps=0, share=0.0)


def loss(
    ratio: list[float],
    advantage: list[float],
    value: list[float],
    target: list[float],
    old_value: list[float] | None = None,
    progress: Progress = START,
    kl_weight: float = 0.0,
    **config: Any,
) -> PPOLoss:
    return ppo_loss(
        torch.tensor(ratio).log() - 1,
        torch.full((len(ratio),), 0.6),
        torch.tensor(value, dtype=torch.float32),
        old_log_prob=torch.full((len(ratio),), -1.0),
        old_value=torch.tensor(old_value or value, dtype=torch.float32),
        advantage=torch.tensor(advantage, dtype=torch.float32),
        target=torch.tensor(target, dtype=torch.float32),
        config=PPOConfig.model_validate(config, by_alias=True),
        progress=progress,
        kl_weight=kl_weight,
    )


def test_loss_by_hand() -> None:
    # Clipped at 0.8 and 1.2: min(1.5*1, 1.2*1) = 1.2; min(0.5*2, 0.8*2) = 1;
    #   min(1.5*-1, 1.2*-1) = -1.5; min(0.5*-2, 0.8*-2) = -1.6. Mean of the four -0.225.
    # Value: (1 + 4 + 0 + 9) / 4 = 3.5.  Total: 0.225 + 0.5 * 3.5 - 0.1 * 0.6 = 1.915.
    found = loss(
        [1.5, 0.5, 1.5, 0.5],
        [1, 2, -1, -2],
        value=[1, 2, 3, 4],
        target=[2, 4, 3, 1],
        entropyCoefficient=0.1,
    )
    assert found.policy.item() == pytest.approx(0.225)
    assert found.value.item() == pytest.approx(3.5)
    assert found.entropy.item() == pytest.approx(0.6)
    assert found.total.item() == pytest.approx(1.915)
    assert found.log_ratio.exp().tolist() == pytest.approx([1.5, 0.5, 1.5, 0.5])


def test_value_clipping_takes_the_worse_of_the_two() -> None:
    # Row 0: value 3, old 1, clipped to 1.5: max((3-3)^2, (1.5-3)^2) = 2.25.
    # Row 1: value 1.2 is within 0.5 of 1: (1.2-3)^2 = 3.24.
    found = loss([1, 1], [0, 0], [3, 1.2], [3, 3], old_value=[1, 1], valueClip=0.5)
    assert found.value.item() == pytest.approx((2.25 + 3.24) / 2)


def test_beyond_the_huber_threshold_errors_count_linearly() -> None:
    # Errors 0.5, -2 and 3 at threshold 1: 0.25, 2*2-1 = 3, 2*3-1 = 5.
    values, targets = [1.5, 1.0, 4.0], [1.0, 3.0, 1.0]
    found = loss([1, 1, 1], [0, 0, 0], values, targets, valueHuber=1.0)
    assert found.value.item() == pytest.approx((0.25 + 3 + 5) / 3)
    # At 10 all are squares.
    whole = loss([1, 1, 1], [0, 0, 0], values, targets, valueHuber=10.0)
    assert whole.value.item() == pytest.approx((0.25 + 4 + 9) / 3)


def test_the_penalty_is_the_divergence_times_its_weight() -> None:
    # Without clip: -(1.5*1 + 0.5*2) / 2 = -1.25. r - 1 - ln r: 0.094535 and 0.193147; mean 0.143841.
    found = loss([1.5, 0.5], [1, 2], [0, 0], [0, 0], clip=None, klPenalty=0.01, kl_weight=4.0)
    assert found.policy.item() == pytest.approx(-1.25)
    assert found.divergence is not None
    assert found.divergence.item() == pytest.approx(0.143841, abs=1e-6)
    assert found.total.item() == pytest.approx(-1.25 + 4 * 0.143841, abs=1e-5)
    # Beside clip: min(1.5, 1.2) and min(1, 1.6).
    both = loss([1.5, 0.5], [1, 2], [0, 0], [0, 0], klPenalty=0.01, kl_weight=4.0)
    assert both.total.item() == pytest.approx(-1.1 + 4 * 0.143841, abs=1e-5)


def test_the_penalty_pulls_towards_the_policy_that_acted() -> None:
    """The mean of the estimate's gradient, over actions of that policy, is that of the KL divergence."""
    old, new = torch.tensor([0.3, 1.0, -0.5]), torch.tensor([0.0, 0.4, 0.2], requires_grad=True)
    action = torch.arange(3)
    weight = old.softmax(-1)
    found = torch.zeros(3)
    for each in range(3):
        log_prob = new.log_softmax(-1)[action[each]][None]
        zero = torch.zeros(1)
        total = ppo_loss(
            log_prob,
            zero,
            zero,
            old_log_prob=old.log_softmax(-1)[action[each]][None],
            old_value=zero,
            advantage=zero,
            target=zero,
            config=PPOConfig(clip=None, kl_penalty=0.01),
            progress=START,
            kl_weight=1.0,
        ).total
        found += weight[each] * torch.autograd.grad(total, new)[0]
    exact = (weight * (old.log_softmax(-1) - new.log_softmax(-1))).sum()
    torch.testing.assert_close(found, torch.autograd.grad(exact, new)[0])


@pytest.mark.parametrize(
    ("divergence", "expected"), [(0.0151, 6.0), (0.0149, 3.0), (0.0067, 3.0), (0.0066, 1.5)]
)
def test_the_weight_of_the_penalty_follows_the_divergence(
    divergence: float, expected: float
) -> None:
    assert adapted(3.0, divergence, target=0.01) == expected


def test_the_weight_of_the_penalty_stays_where_it_can_adapt() -> None:
    weight = 1.0
    for _ in range(2000):
        weight = adapted(weight, 0.0, target=0.01)
    assert 0 < weight < 1e-5
    for _ in range(2000):
        weight = adapted(weight, 1.0, target=0.01)
    assert 1e5 < weight < math.inf


def test_the_penalty_adapts_from_update_to_update() -> None:
    batch = random_segment(make_algorithm("PPO"), 16, 4)
    weights = {}
    for target in (1e-5, 100.0):
        algorithm = make_algorithm("PPO", clip=None, klPenalty=target, learningRate=1e-2)
        learner, _ = make_learner(algorithm)
        metrics = [learner.update(batch, START).metrics for _ in range(3)]
        assert "clip_fraction" not in metrics[0]
        weights[target] = [each["kl_weight"] for each in metrics]
    assert weights == {1e-5: [1, 2, 4], 100.0: [1, 0.5, 0.25]}


def test_a_ratio_beyond_all_bounds_gives_finite_gradients() -> None:
    log_prob = torch.tensor([500.0, -500.0], requires_grad=True)
    zero = torch.zeros(2)
    total = ppo_loss(
        log_prob,
        zero,
        zero,
        old_log_prob=zero,
        old_value=zero,
        advantage=torch.tensor([-1.0, -1.0]),
        target=zero,
        config=PPOConfig(),
        progress=START,
    ).total
    total.backward()  # type: ignore[no-untyped-call]
    assert log_prob.grad is not None
    assert log_prob.grad.isfinite().all()


ACTIONS: dict[str, Space] = {
    "discrete": DiscreteSpace(3),
    "multi": MultiDiscreteSpace((2, 3)),
    "box": BoxSpace((2,), low=-1, high=1),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {
        "normaliseObservations": True,
        "normaliseRewards": True,
        "valueClip": 0.5,
        "entropyCoefficient": 0.01,
        "learningRate": {"from": 3e-4, "to": 0},
        "targetKl": 10.0,
    },
    {"clip": None, "klPenalty": 0.01, "valueHuber": 1.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "everything", "penalty"])
@pytest.mark.parametrize("kind", ACTIONS)
def test_a_restored_learner_goes_on_bitwise_as_if_never_stopped(
    kind: str, options: dict[str, Any]
) -> None:
    algorithm = make_algorithm("PPO", ACTIONS[kind], epochs=2, **options)
    batches = [random_segment(algorithm, 16, 4, seed) for seed in range(4)]
    whole, _ = make_learner(algorithm)
    for batch in batches[:2]:
        whole.update(batch, Progress(100, 0.1, 1))
    state = whole.state()
    state.values = json.loads(json.dumps(state.values))
    for batch in batches[2:]:
        metrics = whole.update(batch, Progress(200, 0.2, 2)).metrics
        assert all(math.isfinite(value) for value in metrics.values())
    resumed, network = make_learner(algorithm, seed=9)
    before = resumed.state()
    resumed.load_state(state)
    for batch in batches[2:]:
        resumed.update(batch, Progress(200, 0.2, 2))
    assert same_arrays(whole, resumed)
    assert whole.state().values == resumed.state().values
    # The module that was handed over is the one that learns.
    trained = network.state_dict()["body.heads.value.weight"].numpy()
    assert (trained != before.arrays["network.body.heads.value.weight"]).any()


def test_the_seed_decides() -> None:
    algorithm = make_algorithm("PPO")
    batch = random_segment(algorithm, 16, 4)
    learners = [make_learner(algorithm, seed)[0] for seed in (1, 1, 2)]
    for learner in learners:
        learner.update(batch, START)
    assert same_arrays(learners[0], learners[1])
    assert not same_arrays(learners[0], learners[2])


def test_rows_that_only_reset_are_not_trained_on() -> None:
    algorithm = make_algorithm("PPO", normaliseObservations=True, normaliseRewards=True)
    batch = random_segment(algorithm, 32, 4)
    batch["terminated"] |= batch["truncated"]
    batch["truncated"][:] = False
    reset = ~batch["valid"]
    assert reset.any()
    spoiled = {name: array.copy() for name, array in batch.items()}
    spoiled["reward"][reset] = 1e6
    spoiled["log_prob"][reset] = -50
    spoiled["action"][reset] = 0
    # After a termination no value is looked at, so what this row observed must not count either.
    spoiled["observation"][:-1][reset] = 1e3
    learners = [make_learner(algorithm)[0] for _ in range(2)]
    learners[0].update(batch, START)
    learners[1].update(spoiled, START)
    assert same_arrays(*learners)


def test_observations_are_valued_in_parts_as_if_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = make_algorithm("PPO")
    segment = random_segment(algorithm, 16, 3)
    learned = []
    for most in (advantages.VALUED_BYTES, 100):
        monkeypatch.setattr(advantages, "VALUED_BYTES", most)
        learner, network = make_learner(algorithm)
        learner.update(segment, START)
        learned.append(torch.cat([p.detach().reshape(-1) for p in network.parameters()]))
    torch.testing.assert_close(*learned)


def test_a_batch_without_a_valid_row_changes_nothing() -> None:
    algorithm = make_algorithm("PPO")
    batch = random_segment(algorithm, 4, 2)
    batch["valid"][:] = False
    learner, untouched = make_learner(algorithm)[0], make_learner(algorithm)[0]
    assert learner.update(batch, START).metrics == {}
    assert same_arrays(learner, untouched)


def test_learning_raises_the_probability_of_what_was_rewarded() -> None:
    algorithm = make_algorithm("PPO", learningRate=1e-2)
    learner, network = make_learner(algorithm)
    for seed in range(10):
        batch = random_segment(algorithm, 16, 8, seed)
        batch["log_prob"][:] = math.log(0.5)
        batch["reward"][:] = batch["action"]
        learner.update(batch, START)
    with torch.no_grad():
        logits = network(torch.zeros(1, 4))["logits"]
    # The data stay those of an even policy, so the clipped ratio ends the gain at 0.5 * 1.2.
    assert 0.57 < logits.softmax(-1)[0, 1] < 0.63


def test_target_kl_ends_the_epochs_early() -> None:
    batch = random_segment(make_algorithm("PPO"), 16, 4)
    for target, epochs in ((1e-9, 1), (None, 5)):
        algorithm = make_algorithm("PPO", epochs=5, targetKl=target, learningRate=1e-2)
        assert make_learner(algorithm)[0].update(batch, START).metrics["epochs"] == epochs


def test_the_learning_rate_follows_progress() -> None:
    algorithm = make_algorithm("PPO", learningRate={"from": 0.1, "to": 0})
    learner, _ = make_learner(algorithm)
    batch = random_segment(algorithm, 8, 2)
    for share, rate in ((0.0, 0.1), (0.75, 0.025), (1.0, 0.0)):
        update = learner.update(batch, Progress(1000, share))
        assert update.metrics["learning_rate"] == pytest.approx(rate)


def test_observation_normalisation_reaches_the_network() -> None:
    algorithm = make_algorithm("PPO", normaliseObservations=True)
    learner, network = make_learner(algorithm)
    batches = [random_segment(algorithm, 8, 3, seed) for seed in range(2)]
    for batch in batches:
        batch["observation"] += 5
        learner.update(batch, START)
    seen = np.concatenate([batch["observation"][:-1][batch["valid"]] for batch in batches])
    np.testing.assert_allclose(network.encoder.mean, seen.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(network.encoder.std, seen.std(axis=0), rtol=1e-5)
    assert network.encoder.limit == 10


def test_reward_normalisation_makes_the_scale_of_rewards_irrelevant() -> None:
    """The targets are in standard deviations: the value's loss stays of the order of 1."""
    algorithm = make_algorithm("PPO", normaliseRewards=True)
    losses = []
    for scale in (1.0, 1000.0):
        learner, _ = make_learner(algorithm)
        batch = random_segment(algorithm, 16, 8)
        batch["reward"] *= scale
        losses.append([learner.update(batch, START).metrics["value_loss"] for _ in range(3)][-1])
    assert losses[0] < 5
    assert losses[1] < 5


def test_running_moments_are_those_of_all_rows() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 3)) * 7 + 100
    moments = RunningMoments((3,))
    for part in (rows[:1], rows[1:20], rows[20:20], rows[20:]):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0))
    np.testing.assert_allclose(moments.variance, rows.var(axis=0))


def test_moving_moments_have_no_bias_at_the_start_and_forget() -> None:
    moments = MovingMoments(decay=0.5)
    moments.update(np.array([2.0, 4.0]))
    assert (moments.mean, moments.std) == pytest.approx((3, 1))
    for _ in range(60):
        moments.update(np.array([100.0, 120.0]))
    assert (moments.mean, moments.std) == pytest.approx((110, 10))


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ({"learning_rate": 1e-3}, "learning_rate", "Did you mean learningRate?"),
        ({"clip": -0.2}, "clip", "-0.2 is not allowed"),
        ({"gamma": 1.5}, "gamma", "from 0 to 1"),
        ({"clip": None}, "clip", "null needs klPenalty"),
        ({"klPenalty": 0}, "klPenalty", "above 0"),
        ({"valueHuber": -1}, "valueHuber", "above 0"),
        ({"epochs": 2.5}, "epochs", "an integer"),
        ({"learningRate": float("nan")}, "learningRate", "is not allowed"),
        (
            {"learningRateSchedule": "linear"},
            "learningRateSchedule",
            "write learningRate: {from: 0.0003, to: 0}",
        ),
        ({"clip": {"from": -0.2, "to": 0.1}}, "clip.from", "a number from 0 to 1000"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(config: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        algorithms.load_config(AlgorithmSpec(name="PPO", config=config))
    assert caught.value.path == f"algorithm.config.{field}"
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        (AlgorithmSpec(name="ppo"), "algorithm.name", "Did you mean PPO?"),
        (AlgorithmSpec(entry_point="no_such:A"), "algorithm.entryPoint", "cannot import"),
        (AlgorithmSpec(entry_point="json:dumps"), "algorithm.entryPoint", "is not a class"),
        (AlgorithmSpec(entry_point="json:JSONDecoder"), "algorithm.entryPoint", "lacks Config"),
        (AlgorithmSpec(entry_point="json:JSONDecodr"), "algorithm.entryPoint", "JSONDecoder?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_algorithms_are_refused_by_name(spec: AlgorithmSpec, path: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        algorithms.resolve_algorithm(spec)
    assert caught.value.path == path
    assert message in str(caught.value)


def test_an_algorithm_by_import_path() -> None:
    spec = AlgorithmSpec(entry_point="rljob.algorithms.built_in.ppo:PPO", config={"clip": 0.3})
    assert algorithms.resolve_algorithm(spec) is algorithms.BUILT_IN["PPO"]
    assert algorithms.load_config(spec) == PPOConfig(clip=Schedule(0.3))


def test_the_page_lists_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/algorithms/ppo.md").read_text()
    algorithm = make_algorithm("PPO", klPenalty=0.01)
    learner, _ = make_learner(algorithm)
    batch = random_segment(algorithm, 8, 2)
    for name in learner.update(batch, START).metrics:
        assert f"| `{name}` |" in page, name
