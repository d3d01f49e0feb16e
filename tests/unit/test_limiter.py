"""Balance of production and consumption, simulated to the end."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rljob.roles.buffer.limiter import OnPolicyLimiter, ReplayLimiter, distribute
from rljob.wire.experience import ACTOR_WINDOW


def simulate_on_policy(
    replicas: int, per_batch: int, max_lag: int, first: int, speeds: list[int], seed: int
) -> tuple[list[int], int]:
    """Rollouts of different speeds and a learner take turns at random for 60 versions.

    Returns the lags at training, and the most segments that were stored or granted at once.
    """
    limiter = OnPolicyLimiter(per_batch, max_lag, first)
    rng = np.random.default_rng(seed)
    queue: list[int] = []
    granted = dict.fromkeys(range(replicas), 0)
    acting: dict[int, list[int]] = {}
    position, version, lags, most = 0, first, [], 0
    for _ in range(20_000):
        room = limiter.room(position, len(queue), sum(granted.values()), version)
        for actor, more in distribute(room, granted).items():
            granted[actor] += more
        most = max(most, len(queue) + sum(granted.values()))
        who = int(rng.integers(replicas + 1))
        if who < replicas:
            last = position + len(queue) + sum(granted.values()) - 1
            fresh = version >= limiter.oldest_useful(last)
            if granted[who] and who not in acting and fresh:
                acting[who] = [version, speeds[who]]
            elif who in acting:
                acting[who][1] -= 1
                if not acting[who][1]:
                    queue.append(acting.pop(who)[0])
                    granted[who] -= 1
        elif len(queue) >= per_batch:
            batch, queue = queue[:per_batch], queue[per_batch:]
            assert limiter.trained_at(position) == version
            lags += [version - acted for acted in batch]
            position += per_batch
            version += 1
        if version == first + 60:
            return lags, most
    raise AssertionError(f"stuck at version {version} with {granted}, {queue}")


@pytest.mark.parametrize("max_lag", range(5))
@pytest.mark.parametrize(("replicas", "per_batch"), [*itertools.product(range(1, 5), range(1, 5))])
def test_even_rollouts_never_exceed_the_lag_bound_nor_stop(
    replicas: int, per_batch: int, max_lag: int
) -> None:
    lags, most = simulate_on_policy(replicas, per_batch, max_lag, 17, [1] * replicas, seed=0)
    if max_lag == 0 or replicas == 1:
        assert max(lags) <= max_lag
    assert most <= 2 * per_batch


@pytest.mark.parametrize("per_batch", [1, 2, 4])
def test_production_is_one_batch_ahead_whatever_the_bound(per_batch: int) -> None:
    limiter = OnPolicyLimiter(per_batch, max_policy_lag=9, first_version=3)
    assert limiter.room(0, 0, 0, version=3) == 2 * per_batch
    assert limiter.room(0, per_batch, per_batch, version=3) == 0
    assert limiter.room(per_batch, 0, per_batch, version=4) == per_batch
    lockstep = OnPolicyLimiter(per_batch, max_policy_lag=0, first_version=3)
    assert lockstep.room(0, 0, 0, version=3) == per_batch
    assert lockstep.room(per_batch, 0, 0, version=3) == 0


def test_room_is_never_negative() -> None:
    assert OnPolicyLimiter(2, 1).room(0, stored=50, granted=3, version=0) == 0
    assert ReplayLimiter(4.0, 10, 8, 4).room(1000, granted=0, sampled=0) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_slow_rollout_does_not_stop_the_others(seed: int) -> None:
    lags, _ = simulate_on_policy(4, 2, 4, 0, [1, 1, 1, 50], seed)
    assert len(lags) == 120


def simulate_replay(
    limiter: ReplayLimiter, inserts: int, insert_often: float, windows: int = 2
) -> list[tuple[int, int]]:
    """Fast or slow sides; returns (inserted, sampled) after each delivery."""
    rng = np.random.default_rng(0)
    choices = iter(rng.random(1 << 20) < insert_often)
    inserted = sampled = granted = blocked = 0
    history = []
    while inserted < inserts:
        granted += min(limiter.room(inserted, granted, sampled), windows * ACTOR_WINDOW - granted)
        may = limiter.may_sample(inserted, sampled)
        assert granted or may, f"deadlock at {inserted} inserted, {sampled} sampled"
        choice = next(choices, None)
        if choice is None:
            choices = iter(rng.random(1 << 20) < insert_often)
            continue
        if choice and granted:
            granted -= 1
            inserted += limiter.segment
            blocked = 0
        elif not choice and may:
            assert inserted >= limiter.min_size
            sampled += limiter.chunk
            history.append((inserted, sampled))
            blocked = 0
        else:
            blocked += 1
            assert blocked < 1_000_000
    return history


@pytest.mark.parametrize("insert_often", [0.02, 0.5, 0.98])
@pytest.mark.parametrize(
    ("ratio", "chunk", "segment"), [(4.0, 512, 512), (8.0, 512, 128), (0.25, 64, 512)]
)
def test_the_ratio_is_held_over_a_million_inserts(
    ratio: float, chunk: int, segment: int, insert_often: float
) -> None:
    limiter = ReplayLimiter(ratio, min_size=1000, chunk=chunk, segment=segment)
    history = simulate_replay(limiter, 1_000_000, insert_often)
    inserted, sampled = history[-1]
    assert sampled / (inserted - limiter.min_size) == pytest.approx(ratio, rel=0.05)
    for inserted, sampled in history:
        ahead = (inserted - limiter.min_size) * ratio - sampled
        assert -limiter.band <= ahead <= limiter.band + 1e-6


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("ratio", "chunk", "segment"),
    [
        (1.0, 10_000, 7),  # a delivery needs many segments
        (1.0, 7, 10_000),  # a segment feeds many deliveries
        (0.001, 512, 16),
        (1000.0, 512, 16),
        (1 / 3, 8, 5),
        (7.3, 33, 13),
        (1.0, 1, 1),
    ],
)
def test_neither_side_is_ever_blocked_for_good(
    ratio: float, chunk: int, segment: int, strict: bool
) -> None:
    limiter = ReplayLimiter(ratio, min_size=3 * segment + 1, chunk=chunk, segment=segment)
    limiter.strict = strict
    inserts = max(200 * segment, int(20 * chunk / ratio))
    history = simulate_replay(limiter, inserts, 0.5)
    assert history
    inserted, sampled = history[-1]
    allowed = 2 * limiter.band + chunk + ratio * segment
    assert abs((inserted - limiter.min_size) * ratio - sampled) <= allowed


@pytest.mark.parametrize("capital", [0, 1, 15])
def test_nothing_is_sampled_below_the_least_size(capital: int) -> None:
    limiter = ReplayLimiter(4.0, min_size=16, chunk=8, segment=4)
    assert not limiter.may_sample(capital, 0)
    assert limiter.room(capital, 0, 0) == -(-(16 - capital) // 4)
    assert limiter.may_sample(16, 0)


def test_strict_alternates() -> None:
    limiter = ReplayLimiter(2.0, min_size=8, chunk=16, segment=4, strict=True)
    inserted = sampled = 0
    order = ""
    while len(order) < 12:
        room, may = limiter.room(inserted, 0, sampled), limiter.may_sample(inserted, sampled)
        assert (room == 1) != may
        assert limiter.room(inserted, 1, sampled) == 0
        if may:
            sampled += limiter.chunk
        else:
            inserted += limiter.segment
        order += "s" if may else "i"
    # 8 to begin with, and 8 more for each delivery of 16.
    assert order == "iiiisiisiisi"


def test_grants_go_to_those_with_the_fewest() -> None:
    assert distribute(3, {1: 0, 2: 2, 3: 0}) == {1: 2, 3: 1}
    assert distribute(1, {5: 1, 4: 1}) == {5: 1}, "in the order in which they are given"
    assert distribute(100, {1: 0, 2: 3}) == {1: ACTOR_WINDOW, 2: ACTOR_WINDOW - 3}
    assert distribute(5, {1: ACTOR_WINDOW + 2}) == {}
    assert distribute(5, {}) == {}
    assert distribute(-3, {1: 0}) == {}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("inserted", [8, 1000, 10**6])
def test_while_nothing_can_be_drawn_one_segment_more_is_always_granted(
    inserted: int, strict: bool
) -> None:
    limiter = ReplayLimiter(2.0, min_size=8, chunk=16, segment=4, strict=strict)
    assert not limiter.may_sample(inserted, 0, ready=False)
    assert limiter.room(inserted, 0, 0, ready=False) >= 1
    assert inserted == 8 or limiter.room(inserted, 1, 0, ready=False) == 0
    assert inserted == 8 or limiter.may_sample(inserted, 0, ready=True)
