"""Minibatches of a network with memory: whole columns, followed from the memory that was stored with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rljob.algorithms.base import Algorithm, Arrays, Progress
from rljob.algorithms.minibatches import read_by
from rljob.algorithms.whole_returns import whole_returns
from tests.unit.segments import make_algorithm, make_learner, random_segment

START = Progress(steps=0, share=0.0)
LENGTH, COLUMNS = 9, 6
each_network = pytest.mark.parametrize("name", ["gru", "lstm"])


def made(name: str, algorithm: Algorithm) -> tuple[Any, Any, Arrays]:
    """A learner, its network, and a segment with a memory before it."""
    learner, network = make_learner(algorithm, network=name)
    batch = random_segment(algorithm, LENGTH, COLUMNS)
    rng = np.random.default_rng(1)
    batch["core"] = rng.normal(size=(1, COLUMNS, network.core_size)).astype(np.float32)
    return learner, network, batch


def step_by_step(network: Any, batch: Arrays) -> dict[str, np.ndarray]:
    """Outputs `[T + 1, N, size]`, one row after the other."""
    core, found = torch.from_numpy(batch["core"]), []
    for t in range(LENGTH + 1):
        begins = torch.zeros(1, COLUMNS, dtype=torch.bool)
        if t:
            begins = ~torch.from_numpy(batch["valid"][t - 1 : t])
        with torch.no_grad():
            outputs, core = network.unroll(
                torch.from_numpy(batch["observation"][t : t + 1]), begins, core
            )
        found.append(outputs)
    return {head: torch.cat([each[head] for each in found]).numpy() for head in found[0]}


@each_network
def test_a_pass_has_every_valid_row_once_with_its_own_outputs(name: str) -> None:
    algorithm = make_algorithm("PPO")
    _, network, batch = made(name, algorithm)
    expected = step_by_step(network, batch)
    minibatches = read_by(network, algorithm.spaces.observation)(batch)  # type: ignore[attr-defined]
    np.testing.assert_allclose(minibatches.values(), expected["value"].reshape(-1), atol=1e-5)

    # `mask` is longer than the rows that are trained on.
    data = {"row": np.arange(LENGTH * COLUMNS), "mask": np.arange((LENGTH + 1) * COLUMNS)}
    rows, parts = [], 0
    for forward, part in minibatches.shuffled(data, np.random.default_rng(0), 4):
        outputs, _ = forward()
        for head, output in outputs.items():
            of_rows = expected[head].reshape(-1, output.shape[-1])[part["row"]]
            np.testing.assert_allclose(output, of_rows, atol=1e-5)
        assert (part["row"] == part["mask"]).all()
        assert len(np.unique(part["row"] % COLUMNS)) <= 2
        rows += part["row"].tolist()
        parts += 1
    assert parts == 4
    assert sorted(rows) == np.flatnonzero(batch["valid"]).tolist()


def test_there_are_no_more_minibatches_than_columns() -> None:
    algorithm = make_algorithm("PPO")
    _, network, batch = made("lstm", algorithm)
    minibatches = read_by(network, algorithm.spaces.observation)(batch)  # type: ignore[attr-defined]
    data = {"row": np.arange(LENGTH * COLUMNS)}
    parts = list(minibatches.shuffled(data, np.random.default_rng(0), 100))
    assert [len(np.unique(part["row"] % COLUMNS)) for _, part in parts] == [1] * COLUMNS


@each_network
def test_the_gradient_goes_back_along_time(name: str) -> None:
    algorithm = make_algorithm("PPO")
    _, network, batch = made(name, algorithm)
    minibatches = read_by(network, algorithm.spaces.observation)(batch)  # type: ignore[attr-defined]
    data = {"row": np.arange(LENGTH * COLUMNS)}
    ((forward, part),) = minibatches.shuffled(data, np.random.default_rng(0), 1)
    outputs, backward = forward()
    factors = np.random.default_rng(2).normal(size=(LENGTH * COLUMNS, 1)).astype(np.float32)
    zero = np.zeros_like(outputs["logits"])
    backward({"value": factors[part["row"]], "logits": zero})
    found = [parameter.grad.clone() for parameter in network.parameters()]

    starts = torch.cat(
        [torch.zeros(1, COLUMNS, dtype=torch.bool), ~torch.from_numpy(batch["valid"])]
    )
    whole, _ = network.unroll(
        torch.from_numpy(batch["observation"]), starts, torch.from_numpy(batch["core"])
    )
    weight = torch.from_numpy(factors.reshape(LENGTH, COLUMNS) * batch["valid"])
    loss = (whole["value"][:-1, :, 0] * weight).sum() + 0 * whole["logits"].sum()
    for mine, theirs in zip(
        found, torch.autograd.grad(loss, list(network.parameters())), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@each_network
@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "IMPALA", "APPO", "REINFORCE"])
def test_what_was_remembered_before_a_segment_counts(name: str, algorithm: str) -> None:
    made_algorithm = make_algorithm(algorithm)
    metrics = []
    for factor in (0, 1):
        learner, _, batch = made(name, made_algorithm)
        batch["core"] = batch["core"] * np.float32(factor)
        metrics.append(learner.update(batch, START).metrics)
    assert metrics[0]["policy_loss"] != metrics[1]["policy_loss"]


@each_network
def test_reinforce_follows_the_memory(name: str) -> None:
    algorithm = make_algorithm("REINFORCE", normaliseReturns=False, entropyCoefficient=0)
    learner, network, batch = made(name, algorithm)
    ret, known = whole_returns(batch, gamma=0.99)
    logits = torch.from_numpy(step_by_step(network, batch)["logits"][:-1])
    log_p = logits.log_softmax(-1).numpy()
    taken = np.take_along_axis(log_p, batch["action"][..., None], -1)[..., 0]

    metrics = learner.update(batch, START).metrics

    assert metrics["policy_loss"] == pytest.approx(-(taken * ret)[known].mean(), rel=1e-3)
