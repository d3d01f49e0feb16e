"""V-trace against its definition, and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from rljob.algorithms.gae import gae
from rljob.algorithms.v_trace import VTrace, v_trace

GAMMA = 0.9


def segment(seed: int, length: int = 12, count: int = 5) -> dict[str, np.ndarray]:
    """Random rows with episodes that end in both ways."""
    rng = np.random.default_rng(seed)
    shape = (length, count)
    ends = rng.random(shape) < 0.2
    cut = rng.random(shape) < 0.5
    valid = np.ones(shape, bool)
    for t in range(1, length):
        valid[t] = ~(ends[t - 1] & valid[t - 1])
    ends &= valid
    return {
        "log_ratio": rng.normal(size=shape).astype(np.float32),
        "reward": rng.normal(size=shape).astype(np.float32),
        "value": rng.normal(size=(length + 1, count)).astype(np.float32),
        "terminated": ends & ~cut,
        "truncated": ends & cut,
        "valid": valid,
    }


def by_definition(rows: dict[str, np.ndarray], env: int, start: int) -> float:
    """Equation 1 of the paper, term by term, from row `start` of one environment on."""
    value = rows["value"][:, env]
    target, weight = float(value[start]), 1.0
    for t in range(start, len(rows["reward"])):
        ratio = float(np.exp(rows["log_ratio"][t, env]))
        ahead = 0.0 if rows["terminated"][t, env] else float(value[t + 1])
        delta = min(1.0, ratio) * (rows["reward"][t, env] + GAMMA * ahead - value[t])
        target += weight * delta
        if rows["terminated"][t, env] or rows["truncated"][t, env]:
            break
        weight *= GAMMA * min(1.0, ratio)
    return target


@pytest.mark.parametrize("seed", range(3))
def test_targets_are_those_of_the_definition(seed: int) -> None:
    rows = segment(seed)
    found = v_trace(**rows, gamma=GAMMA)
    for t, env in np.argwhere(rows["valid"]):
        assert found.target[t, env] == pytest.approx(
            by_definition(rows, env, t), rel=1e-4, abs=1e-4
        )


@pytest.mark.parametrize("seed", range(3))
def test_advantages_look_at_the_next_target(seed: int) -> None:
    rows = segment(seed)
    found = v_trace(**rows, gamma=GAMMA)
    for t, env in np.argwhere(rows["valid"]):
        over = rows["terminated"][t, env] or rows["truncated"][t, env]
        last = t + 1 == len(rows["reward"])
        ahead = rows["value"][t + 1, env] if over or last else found.target[t + 1, env]
        ahead = 0.0 if rows["terminated"][t, env] else ahead
        rho = min(1.0, float(np.exp(rows["log_ratio"][t, env])))
        expected = rho * (rows["reward"][t, env] + GAMMA * ahead - rows["value"][t, env])
        assert found.advantage[t, env] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_of_its_own_policy_targets_are_the_returns() -> None:
    """With all ratios 1, V-trace is the return over n steps: GAE with lambda 1."""
    rows = segment(0)
    rows["log_ratio"][:] = 0
    ends = {name: rows[name] for name in ("terminated", "truncated", "valid")}
    found: VTrace = v_trace(**rows, gamma=GAMMA)
    advantage = gae(rows["reward"], rows["value"], **ends, gamma=GAMMA, gae_lambda=1.0)
    valid = rows["valid"]
    np.testing.assert_allclose(
        found.target[valid], (advantage + rows["value"][:-1])[valid], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(found.advantage[valid], advantage[valid], rtol=1e-4, atol=1e-5)


def test_a_ratio_beyond_all_bounds_stays_finite() -> None:
    rows = segment(0)
    rows["log_ratio"][:] = 500
    assert all(np.isfinite(each).all() for each in v_trace(**rows, gamma=GAMMA))


def test_what_the_old_policy_alone_would_do_does_not_count() -> None:
    rows = segment(0)
    rows["log_ratio"][:] = -50
    found = v_trace(**rows, gamma=GAMMA)
    np.testing.assert_allclose(found.target, rows["value"][:-1], atol=1e-5)
    np.testing.assert_allclose(found.advantage, 0, atol=1e-5)
