"""What a job loses when a core is taken from it, and how soon it is back after a role is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.findings import findings
from tests.bench.group import Group, Measure, Values, plain, ratio
from tests.faults.runs import Run, job, running

WARM, QUIET = 2.0, 4.0
"""Seconds before measuring, and while measuring."""
WINDOW = 0.5
"""Seconds over which a rate is taken while waiting for it to come back."""
BACK = 0.9
"""Share of the quiet rate that counts as back."""
PATIENCE = 30.0
"""Seconds after which it counts as not coming back."""


@contextmanager
def _running(seed: int) -> Iterator[Run]:
    ppo = {"name": "PPO", "config": {"rolloutLength": 32, "epochs": 1, "minibatches": 4}}
    content = job(ppo, seed=seed, rollout={"replicas": 2, "envsPerReplica": 32})
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        running(Path(folder), content) as run,
    ):
        yield run
        run.stop()


def stolen(seed: int) -> Values:
    """Rates before and while another process keeps one core busy."""
    with _running(seed) as run:
        quiet = _quiet(run)
        thief = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            began = time.time()
            _wait(run, began, WARM + QUIET)
            return {"quiet": quiet, "stolen": _rate(run, began + WARM)}
        finally:
            thief.kill()
            thief.wait()


def killed(role: str) -> Measure:
    """Seconds from SIGKILL of a role until the rate is back, the time to measure it included."""

    def measure(seed: int) -> Values:
        with _running(seed) as run:
            quiet = _quiet(run)
            began = time.time()
            pid = run.pid(role)
            assert pid > 0, f"there is no {role}"
            os.kill(pid, signal.SIGKILL)
            return {"quiet": quiet, "back": _back(run, began, BACK * quiet)}

    return measure


def _quiet(run: Run) -> float:
    began = time.time()
    _wait(run, began, WARM + QUIET)
    return _rate(run, began + WARM)


def _wait(run: Run, began: float, seconds: float) -> None:
    run.until(lambda: run.records()[-1]["time"] >= began + seconds, "training goes on")


def _rate(run: Run, since: float) -> float:
    """Environment steps each second, of the records since a time of day."""
    records = [record for record in run.records() if record["time"] >= since]
    first, last = records[0], records[-1]
    return float((last["steps"] - first["steps"]) / (last["time"] - first["time"]))


def _back(run: Run, began: float, rate: float) -> float:
    """Seconds until the end of the first window with this rate; `PATIENCE` where there is none.

    A learner that was killed goes on at its checkpoint: windows in which steps fall do not count.
    """
    while time.time() - began < PATIENCE:
        records = [record for record in run.records() if record["time"] > began]
        for i, last in enumerate(records):
            for first in records[:i]:
                seconds = last["time"] - first["time"]
                if seconds >= WINDOW and last["steps"] - first["steps"] >= rate * seconds:
                    return float(last["time"] - began)
        time.sleep(0.05)
    return PATIENCE


GROUP = Group(
    "resilience",
    "A core stolen, a role killed",
    {
        "stolen": stolen,
        **{f"killed {role}": killed(role) for role in ("rollout-0", "buffer-0", "learner-0")},
    },
    [
        ratio(
            "Rate with one of two cores stolen / quiet",
            ("stolen", "stolen"),
            ("stolen", "quiet"),
            0.45,
        ),
        *(
            plain(
                f"Seconds after SIGKILL of {what} until 0.9 of the rate",
                (f"killed {role}", "back"),
                5.0,
                " s",
                least=False,
            )
            for role, what in (
                ("rollout-0", "one of two rollouts"),
                ("buffer-0", "the buffer"),
                ("learner-0", "the learner"),
            )
        ),
    ],
    note=(
        "`rljob run` with PPO on CartPole-v1 and two rollouts, checkpoints every second. The rate is that "
        "of the learner's own record, over windows of half a second."
    ),
    limit=findings(
        (
            "Recovery is measured over windows of 0.5 s",
            "single windows differ by 15 % and more with nothing killed",
        ),
        (
            "A rollout is back",
            "0.14 s: it is forked from a process that has imported everything",
        ),
        (
            "A learner trains again",
            "1.7 to 2.2 s: it imports PyTorch and reads its checkpoint; so did each of 14 that were killed besides, and none halted again",
        ),
        (
            "Single seeds took longer until a window had 0.9 of the rate before",
            "6 and 8 s; inferred: the machine",
        ),
    ),
)
