"""R2D2: rescaled values, priorities of sequences, Retrace and the update, each against sums that are written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rljob.algorithms.base import Algorithm, Arrays, Progress
from rljob.algorithms.epsilon_greedy import chances
from rljob.algorithms.retrace import retrace
from rljob.algorithms.sequence_priorities import mixed, starting_priorities
from rljob.algorithms.value_rescaling import compressed, expanded
from rljob.errors import InputError
from tests.unit.segments import make_algorithm, make_learner, random_segment, same_arrays

START = Progress(steps=0, share=0.0)
GAMMA, BURN_IN, LENGTH, COLUMNS = 0.9, 3, 6, 5


def sequences(algorithm: Algorithm, network: Any, seed: int = 0) -> Arrays:
    """A batch of whole sequences as the buffer hands it over."""
    batch = random_segment(algorithm, BURN_IN + LENGTH, COLUMNS, seed)
    batch.pop("priority", None)
    rng = np.random.default_rng(seed + 1)
    if network.core_size:
        batch["core"] = rng.normal(size=(1, COLUMNS, network.core_size)).astype(np.float32)
    batch["probability"] = rng.uniform(0.01, 0.1, COLUMNS)
    batch["stored"] = np.array(1000)
    return batch


def r2d2(**config: Any) -> Algorithm:
    lengths = {"burnIn": BURN_IN, "length": LENGTH, "period": 3, "rolloutLength": 9}
    return make_algorithm("R2D2", **{**lengths, "gamma": GAMMA, "nStep": 2, **config})


def unrolled(network: Any, batch: Arrays) -> np.ndarray:
    """Values `[L + 1, B, K]` behind the burn-in, dueling heads put together by hand."""
    core = torch.from_numpy(batch["core"]) if "core" in batch else None
    valid = torch.from_numpy(batch["valid"])
    starts = torch.cat([torch.zeros_like(valid[:1]), ~valid])
    with torch.no_grad():
        outputs, _ = network.unroll(torch.from_numpy(batch["observation"]), starts, core)
    advantage = outputs["advantage"].numpy()
    value: np.ndarray = advantage - advantage.mean(-1, keepdims=True) + outputs["value"].numpy()
    return value[BURN_IN:]


@pytest.mark.parametrize("value", [0.0, 1e-3, 0.5, 1.0, -1.0, 30.0, -500.0, 1e5])
def test_a_rescaled_value_comes_back(value: float) -> None:
    x = np.array([value], np.float32)
    expected = np.sign(value) * (np.sqrt(abs(value) + 1) - 1) + 1e-3 * value
    assert compressed(x)[0] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert expanded(compressed(x))[0] == pytest.approx(value, rel=1e-3, abs=1e-5)


def test_a_priority_is_a_mixture_of_the_largest_and_the_mean_error() -> None:
    # Columns: 3 and 1 count; of the second, 2 alone; nothing counts of the third.
    error = np.array([[3, 2, 5], [1, 7, 5]], np.float32)
    used = np.array([[True, True, False], [True, False, False]])
    assert mixed(error, used, 0.75).tolist() == pytest.approx([2.75, 2.0, 0.0], abs=1e-5)


def test_sequences_are_first_judged_by_what_the_segment_has_of_them() -> None:
    error = np.arange(12, dtype=np.float32).reshape(6, 2)
    known = np.ones((6, 2), bool)
    known[3:, 1] = False
    found = starting_priorities(error, known, burn_in=2, length=2, period=2, eta=0.5)
    # The first trains on rows 2 and 3; the second on 4 and 5, of which the other column knows nothing.
    assert found[0].tolist() == pytest.approx([5.5, 5.0], abs=1e-5)
    assert found[2, 0] == pytest.approx(9.5, abs=1e-5)
    assert np.isnan(found[2, 1])
    # The third trains on rows behind the segment; none begins at the other rows.
    assert np.isnan(found[[1, 3, 4, 5]]).all()


def test_chances_are_those_with_which_actions_are_drawn() -> None:
    values = np.array([[1.0, 3.0, 2.0], [5.0, 0.0, 1.0]], np.float32)
    mask = np.array([[True, True, True], [False, True, True]])
    found = chances(values, np.array([0.3, 0.5]), mask)
    np.testing.assert_allclose(found, [[0.1, 0.8, 0.1], [0, 0.25, 0.75]], atol=1e-6)
    np.testing.assert_allclose(chances(values, 0.0), [[0, 1, 0], [1, 0, 0]])


def test_retrace_is_the_sum_of_the_paper() -> None:
    """Equation 4: the differences, each weighted by the traces of the actions before it, term by term."""
    segment = random_segment(r2d2(), 9, COLUMNS, seed=2)
    ends = [segment[name] for name in ("terminated", "truncated", "valid")]
    rng = np.random.default_rng(3)
    taken, following = rng.normal(size=(2, 9, COLUMNS)).astype(np.float32)
    trace = rng.random((9, COLUMNS)).astype(np.float32)

    found = retrace(trace, segment["reward"], taken, following, *ends, gamma=GAMMA)

    assert ends[0].any()
    assert ends[1].any()
    for t, env in np.argwhere(ends[2]):
        expected, weight = float(taken[t, env]), 1.0
        for s in range(t, 9):
            weight *= trace[s, env] if s > t else 1
            ahead = 0 if ends[0][s, env] else following[s, env]
            expected += weight * (segment["reward"][s, env] + GAMMA * ahead - taken[s, env])
            if ends[0][s, env] or ends[1][s, env]:
                break
            weight *= GAMMA
        assert found[t, env] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("network", ["lstm", "gru", "mlp"])
def test_the_loss_is_that_of_the_paper(network: str) -> None:
    algorithm = r2d2(importanceExponent=0.5, priorityEta=0.9, tau=1.0)
    learner, module = make_learner(algorithm, network=network)
    # The target network is another one by now.
    learner.update(sequences(algorithm, module, seed=7), START)
    learner._target.network.body.load_state_dict(  # type: ignore[attr-defined]
        make_learner(algorithm, seed=9, network=network)[1].body.state_dict()
    )
    batch = sequences(algorithm, module)
    value, ahead = unrolled(module, batch), unrolled(learner._target.network, batch)  # type: ignore[attr-defined]
    rows = {name: batch[name][BURN_IN:] for name in ("reward", "terminated", "truncated", "valid")}
    errors = np.zeros((LENGTH, COLUMNS))
    for t, env in np.argwhere(rows["valid"]):
        ret, factor = 0.0, 1.0
        for s in range(t, min(t + 2, LENGTH)):
            ret += factor * rows["reward"][s, env]
            factor *= 0 if rows["terminated"][s, env] else GAMMA
            if rows["terminated"][s, env] or rows["truncated"][s, env]:
                break
        best = value[s + 1, env].argmax()
        target = compressed(ret + factor * expanded(ahead[s + 1, env, best]))
        errors[t, env] = target - value[t, env, batch["action"][BURN_IN + t, env]]
    weight = (batch["probability"] * 1000) ** -0.5
    expected = (weight / weight.max() * errors**2).sum() / rows["valid"].sum()

    update = learner.update(batch, START)

    assert update.metrics["loss"] == pytest.approx(expected, rel=1e-3)
    assert update.priorities is not None
    size = np.abs(errors)
    mean = size.sum(0) / np.maximum(rows["valid"].sum(0), 1)
    np.testing.assert_allclose(
        update.priorities, 0.9 * size.max(0) + 0.1 * mean, rtol=1e-3, atol=1e-5
    )


def test_retrace_corrects_by_the_probability_of_what_was_done() -> None:
    """Of actions that were likelier when they were taken, later rewards count less."""
    algorithm = r2d2(retraceLambda=1.0, retraceEpsilon=0.5)
    batches = []
    losses = []
    for factor in (1.0, 0.5):
        learner, module = make_learner(algorithm, network="lstm")
        batch = sequences(algorithm, module)
        batch["log_prob"] = np.full_like(batch["log_prob"], np.log(factor))
        batches.append(batch)
        losses.append(learner.update(batch, START).metrics["loss"])
    assert losses[0] != losses[1]


def test_retrace_with_lambda_0_is_the_expected_value_one_step_ahead() -> None:
    same = {"retraceEpsilon": 0.0, "nStep": 1}
    losses = []
    for config in ({"retraceLambda": 0.0}, {}):
        algorithm = r2d2(**same, **config)
        learner, module = make_learner(algorithm, network="lstm")
        losses.append(learner.update(sequences(algorithm, module), START).metrics["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_a_burn_in_all_rows_are_trained_on() -> None:
    algorithm = r2d2(burnIn=0)
    learner, module = make_learner(algorithm, network="lstm")
    batch = sequences(algorithm, module)
    losses = [learner.update(batch, START).metrics["loss"]]
    batch["reward"][0] += 10
    losses.append(learner.update(batch, START).metrics["loss"])
    assert losses[1] > 2 * losses[0]


def test_rows_that_only_warm_up_are_not_trained_on() -> None:
    algorithm = r2d2(replay="uniform")
    first, second = (make_learner(algorithm, network="gru") for _ in range(2))
    batch = sequences(algorithm, first[1])
    other = {name: array.copy() for name, array in batch.items()}
    other["reward"][:BURN_IN] = 1e6
    other["action"][:BURN_IN] = 1 - other["action"][:BURN_IN]
    assert first[0].update(batch, START).priorities is None
    second[0].update(other, START)
    assert same_arrays(first[0], second[0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"nStep": 7}, r"nStep \(7\) must not be above length \(6\)"),
        ({"rolloutLength": 10}, r"period \(3\) must divide rolloutLength \(10\)"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        r2d2(**config)
