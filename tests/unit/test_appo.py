"""APPO's losses by explicit sums, the target that it is clipped to, and that it goes on after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rljob import algorithms
from rljob.algorithms.base import Arrays, Progress
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space
from rljob.errors import InputError
from rljob.spec.sections import AlgorithmSpec
from tests.unit.segments import make_algorithm, make_learner, random_segment, same_arrays

START = Progress(steps=0, share=0.0)
ACTIONS: dict[str, Space] = {
    "discrete": DiscreteSpace(3),
    "multi": MultiDiscreteSpace((2, 3)),
    "box": BoxSpace((2,), low=-1, high=1),
}
GAMMA, CLIP = 0.9, 0.1


def outputs(network: Any, batch: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities `[T, N]` of what was done, and values `[T + 1, N]`, of two choices."""
    length, count = batch["reward"].shape
    with torch.no_grad():
        found = network(torch.from_numpy(batch["observation"].reshape(-1, 4)))
    logits = found["logits"].double().numpy().reshape(length + 1, count, 2)[:-1]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    taken: np.ndarray = np.take_along_axis(log_p, batch["action"][..., None], -1)[..., 0]
    return taken, found["value"].double().numpy().reshape(length + 1, count)


def v_trace_by_definition(
    batch: Arrays, log_prob: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Equation 1 of IMPALA's paper, term by term, and the weighted advantages."""
    ratio = np.minimum(1, np.exp(log_prob - batch["log_prob"]))
    length = len(ratio)

    def target(start: int, env: int) -> float:
        found, weight = float(value[start, env]), 1.0
        for t in range(start, length):
            ahead = 0.0 if batch["terminated"][t, env] else value[t + 1, env]
            delta = batch["reward"][t, env] + GAMMA * ahead - value[t, env]
            found += weight * ratio[t, env] * delta
            if batch["terminated"][t, env] or batch["truncated"][t, env]:
                break
            weight *= GAMMA * ratio[t, env]
        return found

    targets, advantages = np.zeros_like(ratio), np.zeros_like(ratio)
    for t, env in np.argwhere(batch["valid"]):
        targets[t, env] = target(t, env)
        ends = batch["truncated"][t, env] or t + 1 == length
        ahead = value[t + 1, env] if ends else target(t + 1, env)
        ahead = 0.0 if batch["terminated"][t, env] else ahead
        better = batch["reward"][t, env] + GAMMA * ahead - value[t, env]
        advantages[t, env] = ratio[t, env] * better
    return targets, advantages


def test_the_losses_are_clipped_around_the_target() -> None:
    """With a target that stays behind, the second batch has ratios on both sides of the clip."""
    algorithm = make_algorithm(
        "APPO", gamma=GAMMA, clip=CLIP, epochs=1, targetUpdateInterval=2, learningRate=0.05
    )
    learner, network = make_learner(algorithm)
    first, second = (random_segment(algorithm, 8, 4, seed) for seed in (1, 2))
    second["log_prob"] += np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32) / 2
    log_prob, value = outputs(network, second)
    target, advantage = v_trace_by_definition(second, log_prob, value)
    learner.update(first, Progress(0, 0.0, 0))
    now, now_value = outputs(network, second)

    metrics = learner.update(second, Progress(0, 0.0, 1)).metrics

    valid, ratio = second["valid"], np.exp(now - log_prob)
    gain = np.minimum(ratio * advantage, np.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
    outside = (np.abs(ratio - 1) > CLIP)[valid]
    assert 0 < outside.mean() < 1
    assert metrics["clip_fraction"] == pytest.approx(outside.mean())
    assert metrics["policy_loss"] == pytest.approx(-gain[valid].mean(), rel=1e-3, abs=1e-5)
    error = np.square(now_value[:-1] - target)[valid]
    assert metrics["value_loss"] == pytest.approx(error.mean(), rel=1e-3)
    behind = (log_prob - second["log_prob"])[valid].mean()
    assert metrics["mean_log_ratio"] == pytest.approx(behind, rel=1e-3, abs=1e-5)


def test_one_pass_with_a_fresh_target_is_impala() -> None:
    """The ratio is 1 then, and its gradient that of the log-probability."""
    moved = []
    for algorithm in (make_algorithm("APPO", epochs=1), make_algorithm("IMPALA")):
        learner, network = make_learner(algorithm)
        for seed in range(3):
            learner.update(random_segment(algorithm, 8, 4, seed), Progress(0, 0.0, seed))
        moved.append(torch.cat([each.detach().reshape(-1) for each in network.parameters()]))
    torch.testing.assert_close(*moved, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("clip", "least", "most"), [(0.2, 0.57, 0.7), (1000.0, 0.9, 1.0)])
def test_the_clip_ends_what_a_batch_changes(clip: float, least: float, most: float) -> None:
    """The target's probability is 0.5: many passes go on to 0.6, and with momentum a little further."""
    algorithm = make_algorithm(
        "APPO", clip=clip, epochs=300, learningRate=1e-3, entropyCoefficient=0, gamma=0.0
    )
    learner, network = make_learner(algorithm)
    batch = random_segment(algorithm, 8, 8)
    batch["observation"][:] = 0
    batch["log_prob"][:] = np.log(0.5)
    batch["reward"][:] = batch["action"]
    learner.update(batch, START)
    with torch.no_grad():
        chance = network(torch.zeros(1, 4))["logits"].softmax(-1)[0, 1]
    assert least < chance < most


@pytest.mark.parametrize("memory", [False, True], ids=["", "gru"])
@pytest.mark.parametrize("kind", ACTIONS)
def test_a_restored_learner_goes_on_bitwise(kind: str, memory: bool) -> None:
    algorithm = make_algorithm("APPO", ACTIONS[kind], targetUpdateInterval=3)
    network = "gru" if memory else "mlp"
    batches = [random_segment(algorithm, 8, 4, seed) for seed in range(5)]
    whole, built = make_learner(algorithm, network=network)
    if memory:
        for batch in batches:
            batch["core"] = np.ones((1, 4, built.core_size), np.float32)
    for update, batch in enumerate(batches[:2]):
        whole.update(batch, Progress(100, 0.1, update))
    state = whole.state()
    state.values = json.loads(json.dumps(state.values))
    resumed, _ = make_learner(algorithm, seed=9, network=network)
    resumed.load_state(state)
    for update, batch in enumerate(batches[2:], 2):
        whole.update(batch, Progress(200, 0.2, update))
        resumed.update(batch, Progress(200, 0.2, update))
    assert same_arrays(whole, resumed)


def test_rows_that_only_reset_are_not_trained_on() -> None:
    algorithm = make_algorithm("APPO")
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
    batch["valid"][:] = False
    assert learners[0].update(batch, START).metrics == {}
    assert same_arrays(*learners)


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ({"clip": 0}, "clip", "above 0"),
        ({"targetUpdateInterval": 0}, "targetUpdateInterval", "from 1"),
        ({"epoch": 2}, "epoch", "Did you mean epochs?"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(config: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        algorithms.load_config(AlgorithmSpec(name="APPO", config=config))
    assert caught.value.path == f"algorithm.config.{field}"
    assert message in str(caught.value)


def test_the_page_lists_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/algorithms/appo.md").read_text()
    algorithm = make_algorithm("APPO")
    learner, _ = make_learner(algorithm)
    for name in learner.update(random_segment(algorithm, 8, 2), START).metrics:
        assert f"| `{name}` |" in page, name
