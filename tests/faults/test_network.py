"""Cut, lose and delay what the roles of a job send each other: training goes on, and nothing is lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults import network
from tests.faults.judging import PPO, judged
from tests.faults.network import CLEAN, Direction
from tests.faults.runs import Run
from tests.faults.spread import BUFFER, LEARNER, ROLLOUTS, Spread, spread

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(network.why_not() is not None, reason=str(network.why_not())),
]

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


def ended(run: Spread) -> None:
    """No role has ended so far; end them, and hold their traces against the promise."""
    assert all(each.poll() is None for each in run.roles.values()), run.tell()
    judged(run)


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
    print(
        f"{sender} {receiver}: trains again {time.monotonic() - healed:.1f} s after {seconds:.0f} s"
    )


@pytest.mark.parametrize("cut", ["rollouts-buffer", "learner-buffer"])
def test_training_goes_on_after_a_partition(tmp_path: Path, cut: str) -> None:
    with spread(tmp_path, PPO) as run:
        cut_for(run, CUTS[cut], 8)
        ended(run)


@pytest.mark.full
@pytest.mark.parametrize("cut", CUTS)
def test_training_goes_on_after_a_minute_of_partition(tmp_path: Path, cut: str) -> None:
    with spread(tmp_path, PPO) as run:
        cut_for(run, CUTS[cut], 60)
        ended(run)


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
        ended(run)


def steps(run: Run) -> int:
    return int(run.records()[-1]["steps"])
