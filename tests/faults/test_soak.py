"""Half an hour of training: no role grows."""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.runs import Run, job, running

MINUTES, WARM_MINUTES, EVERY_SECONDS = 30.0, 8.0, 5.0
MOST_MIB, MOST_DESCRIPTORS = 4.0, 2
"""Largest growth from the first quarter after warming up to the last."""

JOBS = {
    "PPO": job({"name": "PPO", "config": {"rolloutLength": 16, "epochs": 2}}),
    "DQN": job({"name": "DQN", "config": {"minSize": 500}}, buffer={"capacity": 20_000}),
}


@dataclass(frozen=True)
class Size:
    """What one process holds."""

    seconds: float
    mib: float
    descriptors: int


def size(pid: int, seconds: float) -> Size:
    """Memory that no other process shares, and open descriptors."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
    return Size(seconds, kib / 1024, len(os.listdir(f"/proc/{pid}/fd")))


def watch(run: Run, roles: list[str], minutes: float) -> dict[str, list[Size]]:
    began = time.monotonic()
    found: dict[str, list[Size]] = defaultdict(list)
    while (passed := time.monotonic() - began) < 60 * minutes:
        for role in roles:
            found[role].append(size(run.pid(role), passed))
        following = time.monotonic() + EVERY_SECONDS
        run.until(lambda end=following: time.monotonic() >= end, "time")
    return found


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("algorithm", JOBS)
def test_no_role_grows(tmp_path: Path, algorithm: str) -> None:
    roles = ["rollout-0", "rollout-1", "buffer-0", "learner-0"]
    with running(tmp_path, JOBS[algorithm]) as run:
        pids = {role: run.pid(role) for role in roles}
        sizes = watch(run, roles, MINUTES)
        assert {role: run.pid(role) for role in roles} == pids, run.tell()
    grown = []
    for role, all_sizes in sizes.items():
        warm = [each for each in all_sizes if each.seconds >= 60 * WARM_MINUTES]
        quarter = len(warm) // 4
        first, last = warm[:quarter], warm[-quarter:]
        mib, descriptors = (
            statistics.median(getattr(each, name) for each in last)
            - statistics.median(getattr(each, name) for each in first)
            for name in ("mib", "descriptors")
        )
        hours = (last[0].seconds - first[0].seconds) / 3600
        print(
            f"{algorithm} {role}: {mib / hours:+.2f} MiB/h, {descriptors / hours:+.1f} descriptors/h"
        )
        if mib > MOST_MIB or descriptors > MOST_DESCRIPTORS:
            grown.append((role, mib, descriptors))
    assert not grown
