"""Kill or freeze any role of a running job: training goes on, and no acknowledged experience is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.judging import DQN, PPO, PPO_SLOTS, judged
from tests.faults.runs import job, running

pytestmark = pytest.mark.timeout(600)

SHARED = job(
    {"name": "DQN", "config": {"minSize": 500, "batchSize": 4096, "samplesPerInsert": 64}},
    buffer={"capacity": 20_000},
)
"""Batches of more than a megabyte, which buffer and learner of one machine share."""
REMEMBERING = job(
    {"name": "IMPALA", "config": {"segmentsPerBatch": 1, "rewardScale": 0.1}},
    network={"name": "gru"},
)
"""On-policy, with the network's memory in each segment."""
CONTINUOUS = job(
    {"name": "SAC", "config": {"minSize": 500, "samplesPerInsert": 8}},
    environment={"id": "Pendulum-v1"},
    buffer={"capacity": 20_000},
)
"""Replay, with several networks and their targets in each checkpoint."""
FROZEN_SECONDS = 10.0
LONG_FROZEN_SECONDS = 30.0
MANY_OPERATIONS = 1_000_000
"""Acknowledged and consumed segments of the longest test."""


def shares(pid: int) -> bool:
    """Whether a process has mapped memory that a buffer shares."""
    try:
        return "memfd:rljob" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def some_time(rng: random.Random) -> None:
    """Let a kill fall anywhere in a segment, an update or a write."""
    time.sleep(rng.uniform(0.0, 0.3))


@pytest.mark.parametrize("content", [PPO, DQN], ids=["PPO", "DQN"])
@pytest.mark.parametrize("role", ["rollout-0", "buffer-0", "learner-0"])
def test_a_killed_role_comes_back(tmp_path: Path, content: dict[str, Any], role: str) -> None:
    rng = random.Random(f"{role} {content['spec']['algorithm']}")
    with running(tmp_path, content) as run:
        for _ in range(5 if role != "learner-0" else 3):
            some_time(rng)
            run.kill(role)
            run.progress()
        judged(run, PPO_SLOTS if content is PPO else None)


@pytest.mark.full
@pytest.mark.parametrize("content", [REMEMBERING, CONTINUOUS], ids=["IMPALA", "SAC"])
def test_killed_roles_of_other_algorithms_come_back(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    rng = random.Random(0)
    with running(tmp_path, content) as run:
        for role in ("rollout-0", "buffer-0", "learner-0", "rollout-1", "buffer-0", "learner-0"):
            some_time(rng)
            run.kill(role)
            run.progress()
        judged(run, None)


@pytest.mark.parametrize("role", ["buffer-0", "learner-0"])
def test_who_shared_memory_with_a_killed_role_goes_on(tmp_path: Path, role: str) -> None:
    rng = random.Random(role)
    with running(tmp_path, SHARED) as run:
        for _ in range(3):
            run.until(lambda: shares(run.pid("learner-0")), "sharing")
            some_time(rng)
            run.kill(role)
            run.progress()
        judged(run, None)


@pytest.mark.parametrize("content", [PPO, DQN], ids=["PPO", "DQN"])
def test_all_roles_killed_at_once_come_back(tmp_path: Path, content: dict[str, Any]) -> None:
    rng = random.Random(0)
    with running(tmp_path, content) as run:
        for _ in range(2):
            some_time(rng)
            run.kill("rollout-0", "rollout-1", "buffer-0", "learner-0")
            run.progress()
        judged(run, PPO_SLOTS if content is PPO else None)


@pytest.mark.parametrize("role", ["rollout-0", "buffer-0", "learner-0"])
def test_a_frozen_role_goes_on(tmp_path: Path, role: str) -> None:
    with running(tmp_path, PPO) as run:
        run.freeze(role, FROZEN_SECONDS)
        judged(run)


def test_a_killed_buffer_comes_back_over_encrypted_tcp(tmp_path: Path) -> None:
    with running(tmp_path, PPO, "--transport", "tcp") as run:
        for _ in range(2):
            run.kill("buffer-0")
            run.progress()
        judged(run)


def test_a_frozen_rollout_does_not_hold_up_the_other(tmp_path: Path) -> None:
    with running(tmp_path, PPO) as run:
        pid = run.pid("rollout-1")
        os.kill(pid, signal.SIGSTOP)
        try:
            run.progress()
        finally:
            os.kill(pid, signal.SIGCONT)
        run.progress()
        judged(run)


@pytest.mark.full
@pytest.mark.timeout(5400)
def test_a_buffer_killed_twenty_times_loses_nothing(tmp_path: Path) -> None:
    rng = random.Random(0)
    with running(tmp_path, PPO) as run:
        for _ in range(20):
            some_time(rng)
            run.kill("buffer-0")
            run.progress()
        judged(run, least=MANY_OPERATIONS, patience=5000)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_hundred_killed_rollouts_leave_no_half_segment(tmp_path: Path) -> None:
    rng = random.Random(0)
    with running(tmp_path, PPO) as run:
        for _ in range(100):
            some_time(rng)
            run.kill(f"rollout-{rng.randrange(2)}")
            run.progress(2)
        judged(run, least=1000)


@pytest.mark.full
@pytest.mark.parametrize("role", ["rollout-0", "buffer-0", "learner-0"])
def test_a_role_frozen_for_half_a_minute_over_tcp_goes_on(tmp_path: Path, role: str) -> None:
    with running(tmp_path, PPO, "--transport", "tcp") as run:
        run.freeze(role, LONG_FROZEN_SECONDS)
        judged(run)
