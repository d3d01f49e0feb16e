"""Cut, lose and delay what the roles of a job send each other: training goes on, and nothing is lost."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults import network
from tests.faults.network import CLEAN, Direction
from tests.faults.runs import Run, job
from tests.faults.spread import BUFFER, LEARNER, ROLLOUTS, Spread, spread
from tests.oracle import judge, vanished

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(network.why_not() is not None, reason=str(network.why_not())),
]

PPO = job({"name": "PPO", "config": {"rolloutLength": 16, "epochs": 2}})
PPO_SLOTS = 2 * (4 + 3)
"""Segments that PPO's buffer has room for: two a batch, a policy lag of 4, three more batches."""
CUT = Direction(cut=True)
LOSSY = Direction(loss=0.02, delay=0.1, jitter=0.05)


class Cut(NamedTuple):
    sender: str
    receiver: str
    both: bool


CUTS = {
    "rollouts-buffer": Cut(ROLLOUTS, BUFFER, True),
    "to-buffer": Cut(ROLLOUTS, BUFFER, False),
    "from-buffer": Cut(BUFFER, ROLLOUTS, False),
    "learner-buffer": Cut(LEARNER, BUFFER, True),
    "to-learner": Cut(BUFFER, LEARNER, False),
    "rollouts-learner": Cut(ROLLOUTS, LEARNER, True),
    "weights": Cut(LEARNER, ROLLOUTS, False),
}


def judged(run: Spread) -> None:
    """End the roles and hold their traces against the promise."""
    assert all(each.poll() is None for each in run.roles.values()), run.tell()
    assert run.stop() == 128 + signal.SIGTERM, run.tell()
    judgement = judge(run.trace, least=60)
    assert judgement.verdict == "valid", f"{judgement}\n{run.tell()}"
    assert vanished(run.trace, PPO_SLOTS) == [], run.tell()


def wait(run: Run, seconds: float) -> None:
    """Let some time pass in which no role may end."""
    end = time.monotonic() + seconds
    run.until(lambda: time.monotonic() >= end, "time")


def cut_for(run: Spread, cut: Cut, seconds: float) -> None:
    sender, receiver, both = cut
    run.net.shape(sender, receiver, CUT, both)
    wait(run, seconds)
    assert run.net.counts[sender, receiver, "lost"] > 0, "nothing was cut"
    run.net.shape(sender, receiver, CLEAN, both)
    healed = time.monotonic()
    run.progress()
    print(f"{sender} {receiver}: trains again {time.monotonic() - healed:.1f} s after {seconds:.0f} s")


@pytest.mark.parametrize("cut", ["rollouts-buffer", "learner-buffer"])
def test_training_goes_on_after_a_partition(tmp_path: Path, cut: str) -> None:
    with spread(tmp_path, PPO) as run:
        cut_for(run, CUTS[cut], 8)
        judged(run)


@pytest.mark.full
@pytest.mark.parametrize("cut", CUTS)
def test_training_goes_on_after_a_minute_of_partition(tmp_path: Path, cut: str) -> None:
    with spread(tmp_path, PPO) as run:
        cut_for(run, CUTS[cut], 60)
        judged(run)


@pytest.mark.parametrize("seconds", [5, pytest.param(600, marks=pytest.mark.full)])
def test_a_network_that_loses_and_delays_is_no_dead_peer(tmp_path: Path, seconds: float) -> None:
    with spread(tmp_path, PPO) as run:
        before = steps(run)
        wait(run, seconds)
        clean = steps(run) - before
        for pair in ((ROLLOUTS, BUFFER), (LEARNER, BUFFER), (ROLLOUTS, LEARNER)):
            run.net.shape(*pair, LOSSY)
        run.progress()
        before = steps(run)
        wait(run, seconds)
        print(f"steps with loss and delay: {(steps(run) - before) / clean:.0%} of those without")
        run.progress()
        judged(run)


def steps(run: Run) -> int:
    return int(run.records()[-1]["steps"])
