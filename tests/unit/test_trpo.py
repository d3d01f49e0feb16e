"""TRPO's step by dense linear algebra, what an update may and may not look at, and that it goes on after a restart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rljob import algorithms, nets
from rljob.algorithms.base import Algorithm, Learner, Progress
from rljob.algorithms.trust_region import Objective, ascend, conjugate_gradients
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Space, Spaces
from rljob.errors import InputError
from rljob.spec.sections import AlgorithmSpec, NetworkSpec
from tests.unit.segments import make_algorithm, random_segment, same_arrays

START = Progress(steps=0, share=0.0)
ACTIONS: dict[str, Space] = {
    "discrete": DiscreteSpace(3),
    "multi": MultiDiscreteSpace((2, 3)),
    "box": BoxSpace((2,), low=-1, high=1),
}


def make_learner(algorithm: Algorithm, seed: int = 0) -> tuple[Learner, dict[str, Any]]:
    spec = NetworkSpec(config={"hidden": [8]})
    spaces: Spaces = algorithm.spaces  # type: ignore[attr-defined]
    networks: dict[str, Any] = dict(nets.build_networks(spec, algorithm.networks, spaces, seed))
    return algorithm.learner(networks, seed), networks


def vector(network: torch.nn.Module) -> Tensor:
    return torch.cat([each.detach().reshape(-1) for each in network.parameters()])


def test_conjugate_gradients_solve_a_linear_system() -> None:
    rng = np.random.default_rng(0)
    root = torch.from_numpy(rng.standard_normal((12, 12)))
    matrix = root @ root.T + torch.eye(12)
    goal = torch.from_numpy(rng.standard_normal(12))
    found = conjugate_gradients(lambda v: matrix @ v, goal, 40)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, goal), rtol=1e-4, atol=1e-5)


def test_the_step_is_the_natural_gradient_up_to_the_limit() -> None:
    """Of normals with the mean `p` and fixed deviations, the Fisher matrix is diagonal: 1 / variance."""
    variance = torch.tensor([4.0, 1.0])
    slope = torch.tensor([1.0, 2.0])
    p = torch.tensor([3.0, -1.0], requires_grad=True)
    start = p.detach().clone()

    def objective() -> Objective:
        return Objective(slope @ p, 0.5 * ((p - start).square() / variance).sum())

    step = ascend(objective, [p], limit=0.02, iterations=5, damping=0.0, tries=3, shrink=0.5)

    natural = variance * slope
    size = math.sqrt(2 * 0.02 / (natural @ slope).item())
    moved = p.detach() - start
    # The whole step lies on the limit: up to rounding it is made, or else half of it.
    torch.testing.assert_close(moved, step.scale * size * natural)
    assert step.scale in (1.0, 0.5)
    assert step.divergence == pytest.approx(0.02 * step.scale**2, rel=1e-4)
    assert step.after - step.before == pytest.approx((slope @ moved).item(), rel=1e-5)
    assert step.gradient_norm == pytest.approx(math.sqrt(5))


def test_a_step_is_shortened_until_it_is_good_or_not_made() -> None:
    """The gain falls beyond 0.3, so that of the steps 1, 0.5, 0.25 the last is the first that is good."""
    for tries, expected in ((3, 0.25), (2, 0.0)):
        p = torch.zeros(1, requires_grad=True)

        def objective(p: Tensor = p) -> Objective:
            gain = torch.where(p < 0.3, p, -p).sum()
            return Objective(gain, 0.5 * p.square().sum())

        step = ascend(objective, [p], limit=0.5, iterations=5, damping=0.0, tries=tries, shrink=0.5)

        assert step.scale == expected
        assert p.item() == pytest.approx(expected)


def test_without_a_gradient_nothing_moves() -> None:
    p = torch.ones(2, requires_grad=True)

    def objective() -> Objective:
        return Objective((0 * p).sum(), (p - 1).square().sum())

    still = ascend(objective, [p], limit=1, iterations=5, damping=0.1, tries=3, shrink=0.5)

    assert (still.scale, p.tolist()) == (0.0, [1.0, 1.0])


@pytest.mark.parametrize(
    ("kind", "masked"),
    [("discrete", False), ("discrete", True), ("multi", False), ("multi", True), ("box", False)],
)
def test_the_policy_moves_by_the_dense_fisher_matrix(kind: str, masked: bool) -> None:
    """`F` is made in full from the scores of all actions, or for a Gaussian from its own formula."""
    damping, limit = 0.01, 1e-3
    algorithm = make_algorithm(
        "TRPO",
        ACTIONS[kind],
        masked=masked,
        conjugateGradientIterations=200,
        damping=damping,
        targetKl=limit,
    )
    learner, networks = make_learner(algorithm)
    policy = networks["policy"]
    batch = random_segment(algorithm, 8, 3)
    # Zeros would hide errors in the products with the hidden layer.
    with torch.no_grad():
        for each in policy.parameters():
            each.add_(torch.linspace(-0.5, 0.5, each.numel()).view_as(each))
    start = vector(policy)
    fisher = dense_fisher(policy, batch, kind)
    gradient = vanilla_gradient(policy, networks["critic"], batch)

    metrics = learner.update(batch, START).metrics

    natural = torch.linalg.solve(fisher + damping * torch.eye(len(start)), gradient)
    full = math.sqrt(2 * limit / (natural @ gradient).item()) * natural
    moved = vector(policy) - start
    assert math.log(metrics["step_scale"], 0.8) == pytest.approx(
        round(math.log(metrics["step_scale"], 0.8))
    )
    torch.testing.assert_close(moved, metrics["step_scale"] * full, rtol=2e-2, atol=2e-4)
    assert 0 < metrics["kl"] <= limit
    assert metrics["improvement"] > 0


def log_probability(outputs: dict[str, Tensor], action: Tensor, mask: Tensor | None) -> Tensor:
    """Of actions `[B, ...]` by torch's own distributions: `[B]`."""
    if "mean" in outputs:
        normal: Any = torch.distributions.Normal(outputs["mean"], outputs["log_std"].exp())
        return torch.sum(normal.log_prob(action), -1)
    logits = outputs["logits"] if mask is None else outputs["logits"].where(mask, -1e9)
    parts = [logits] if action.dim() == 1 else [logits[:, :2], logits[:, 2:]]
    found: list[Tensor] = []
    for part, each in zip(parts, action.view(len(action), -1).unbind(-1), strict=True):
        categorical: Any = torch.distributions.Categorical(logits=part)
        found.append(categorical.log_prob(each))
    return torch.stack(found).sum(0)


def rows_of(batch: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The valid rows."""
    valid = batch["valid"]
    return {
        name: torch.from_numpy(array[: len(valid)][valid])
        for name, array in batch.items()
        if name in ("observation", "action", "log_prob", "mask")
    }


def dense_fisher(policy: Any, batch: dict[str, np.ndarray], kind: str) -> Tensor:
    """`E[score scoreᵀ]`, over the actions that the policy would take in each row."""
    rows = rows_of(batch)
    parameters = list(policy.parameters())
    count = len(rows["observation"])
    fisher = torch.zeros(len(vector(policy)), len(vector(policy)))

    for i in range(count):
        outputs = {name: each[:1] for name, each in policy(rows["observation"][i : i + 1]).items()}
        mask = rows["mask"][i : i + 1] if "mask" in rows else None
        if kind == "box":
            # 1 / variance for each mean, 2 for each log standard deviation.
            for j in range(2):
                scaled = outputs["mean"][0, j] / outputs["log_std"][0, j].detach().exp()
                for each, weight in ((scaled, 1.0), (outputs["log_std"][0, j], 2.0)):
                    fisher += weight * torch.outer(g := _all(each, parameters), g)
            continue
        actions = (
            torch.arange(3)
            if kind == "discrete"
            else torch.cartesian_prod(torch.arange(2), torch.arange(3))
        )
        for action in actions:
            log_prob = log_probability(outputs, action[None], mask)[0]
            if log_prob > -1e6:
                score = _all(log_prob, parameters)
                fisher += log_prob.exp().detach() * torch.outer(score, score)
    return fisher / count


def _all(value: Tensor, parameters: list[Tensor]) -> Tensor:
    found = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([each.reshape(-1) for each in found])


def vanilla_gradient(policy: Any, critic: Any, batch: dict[str, np.ndarray]) -> Tensor:
    """Of the mean of ratio times advantage; the advantages summed forward, each on its own."""
    valid, (length, count) = batch["valid"], batch["valid"].shape
    with torch.no_grad():
        flat = torch.from_numpy(batch["observation"]).flatten(0, 1)
        value = critic(flat)["value"].view(length + 1, count).numpy()
    advantage = np.zeros((length, count))
    for t, i in np.argwhere(valid):
        weight = 1.0
        for k in range(t, length):
            ahead = 0.0 if batch["terminated"][k, i] else value[k + 1, i]
            advantage[t, i] += weight * (batch["reward"][k, i] + 0.99 * ahead - value[k, i])
            weight *= 0.99 * 0.95
            if batch["terminated"][k, i] or batch["truncated"][k, i]:
                break
    used = advantage[valid]
    normalised = torch.from_numpy((used - used.mean()) / used.std()).float()
    rows = rows_of(batch)
    log_prob = log_probability(policy(rows["observation"]), rows["action"], rows.get("mask"))
    gain = ((log_prob - rows["log_prob"]).exp() * normalised).mean()
    return _all(gain, list(policy.parameters()))


def test_the_critic_learns_the_targets() -> None:
    algorithm = make_algorithm("TRPO", criticEpochs=200, criticBatchSize=7, learningRate=1e-2)
    learner, networks = make_learner(algorithm)
    batch = random_segment(algorithm, 8, 3)
    batch["terminated"][:], batch["truncated"][:], batch["valid"][:] = True, False, True
    batch["reward"][:] = batch["observation"][:-1, :, 0] + 2
    metrics = [learner.update(batch, START).metrics for _ in range(2)]
    with torch.no_grad():
        value = networks["critic"](torch.from_numpy(batch["observation"][:-1]).flatten(0, 1))[
            "value"
        ]
    np.testing.assert_allclose(value[:, 0], batch["reward"].reshape(-1), atol=0.3)
    assert metrics[0]["explained_variance"] < 0.5 < 0.9 < metrics[1]["explained_variance"]
    assert metrics[1]["value_loss"] == pytest.approx(
        np.square(value[:, 0].numpy() - batch["reward"].reshape(-1)).mean(), rel=0.5
    )


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "normaliseObservations": True,
        "normaliseRewards": True,
        "normaliseAdvantages": False,
        "targetKl": {"from": 0.02, "to": 0.001},
        "learningRate": {"from": 1e-3, "to": 0},
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", ACTIONS)
def test_a_restored_learner_goes_on_bitwise(kind: str, options: dict[str, Any]) -> None:
    algorithm = make_algorithm("TRPO", ACTIONS[kind], criticBatchSize=16, **options)
    batches = [random_segment(algorithm, 8, 4, seed) for seed in range(4)]
    whole, _ = make_learner(algorithm)
    for batch in batches[:2]:
        whole.update(batch, Progress(100, 0.1, 1))
    state = whole.state()
    state.values = json.loads(json.dumps(state.values))
    resumed, _ = make_learner(algorithm, seed=9)
    resumed.load_state(state)
    for batch in batches[2:]:
        metrics = whole.update(batch, Progress(200, 0.2, 2)).metrics
        resumed.update(batch, Progress(200, 0.2, 2))
    assert all(math.isfinite(value) for value in metrics.values())
    assert same_arrays(whole, resumed)
    assert whole.state().values == resumed.state().values


def test_rows_that_only_reset_are_not_trained_on() -> None:
    algorithm = make_algorithm("TRPO", normaliseObservations=True, normaliseRewards=True)
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
    for learner, each in zip(learners, (batch, spoiled), strict=True):
        learner.update(each, START)
    assert same_arrays(*learners)
    batch["valid"][:] = False
    assert learners[0].update(batch, START).metrics == {}
    assert same_arrays(*learners)


def test_only_the_policy_travels() -> None:
    algorithm = make_algorithm("TRPO")
    _, networks = make_learner(algorithm)
    assert {name.split("/")[0] for name in nets.export(networks, algorithm.networks)} == {"policy"}


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ({"lineSearchShrink": 1.0}, "lineSearchShrink", "above 0 and at most 0.99"),
        ({"targetKl": 0}, "targetKl", "above 0"),
        ({"conjugateGradientIterations": 0}, "conjugateGradientIterations", "from 1"),
        ({"maxGradientNorm": 0.5}, "maxGradientNorm", "unknown setting of TRPO"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(config: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        algorithms.load_config(AlgorithmSpec(name="TRPO", config=config))
    assert caught.value.path == f"algorithm.config.{field}"
    assert message in str(caught.value)


def test_the_page_lists_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/algorithms/trpo.md").read_text()
    algorithm = make_algorithm("TRPO")
    learner, _ = make_learner(algorithm)
    for name in learner.update(random_segment(algorithm, 8, 2), START).metrics:
        assert f"| `{name}` |" in page, name
