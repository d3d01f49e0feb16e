"""What a role's process is told of itself: names, random numbers, cores, and when to end."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rljob.checkpoints.manifest import Checkpoint
from rljob.cli.role import configure
from rljob.errors import AskedToEnd
from rljob.process.context import RoleContext, actor_number
from rljob.process.servers import Addresses
from rljob.process.stopping import Stopping
from rljob.roles.learner.progress import TrainingProgress
from rljob.roles.learner.status import LearnerReporter
from rljob.run_folder.record import Record
from rljob.spec import parse
from rljob.system import usable_cores
from tests.unit.specs import job

WORDS = ["rollout", "--job", "j", "--buffer", "b", "--learner", "l"]


def context(name: str | None = None, started: int = 1, folder: Path = Path()) -> RoleContext:
    return RoleContext(
        job=parse(job(seed=5)),
        role="rollout",
        given_name=name,
        index=2,
        attempt=3,
        buffer="b",
        learner="l",
        keys=None,
        folder=folder,
        resume=False,
        threads=None,
        serves=Addresses(),
        trace=None,
        port_file=None,
        stop=Stopping(),
        started=started,
    )


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    configure(parser)
    return parser.parse_args([*WORDS, *words])


def test_names() -> None:
    assert context().name == "rollout-2"
    assert context("x-rollout-7d9f-abcde").name == "x-rollout-7d9f-abcde"
    assert arguments("--name", "a" * 253).name == "a" * 253
    assert arguments().name is None


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".a", "a-", "a b", "ä", "a" * 254])
def test_a_name_that_is_none_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        arguments("--name", name)
    assert caught.value.code == 2
    assert "is not a name" in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["0", "-1", "x", "1.5"])
def test_threads_that_are_none_are_refused(threads: str) -> None:
    with pytest.raises(SystemExit):
        arguments("--threads", threads)


def test_every_life_of_every_replica_has_random_numbers_of_its_own() -> None:
    assert context().random_seed == (5, 2, 3), "locally, the same in each run"
    seeds = {
        context().random_seed,
        replace(context(), index=3).random_seed,
        replace(context(), attempt=4).random_seed,
        context("x-rollout-a").random_seed,
        context("x-rollout-b").random_seed,
        context("x-rollout-a", started=2).random_seed,
    }
    assert len(seeds) == 6
    numbers = {tuple(np.random.SeedSequence(seed).generate_state(2)) for seed in seeds}
    assert len(numbers) == 6
    assert actor_number("x-rollout-a") != actor_number("x-rollout-b")


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "nonsense\n"}, None),
    ],
)
def test_cores_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], most: int | None
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == (8 if most is None else most)


def test_asked_to_end() -> None:
    """A loop looks; what has no loop is broken off, also when it was asked before."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = Stopping()
        stop.listen()
        assert not stop.asked
        with pytest.raises(AskedToEnd), stop.at_once():
            signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(AskedToEnd), stop.at_once():
            raise AssertionError("it was asked before")
        later = Stopping()
        later.listen()
        with later.at_once():
            pass
        signal.raise_signal(signal.SIGINT)
        assert later.asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


RECORD = {
    "steps": 12345,
    "episodes": 67,
    "updates": 8,
    "meanReturn": 481.23456,
    "bestReturn": None,
    "stepsPerSecond": 48210.7,
    "updatesPerSecond": 612.34,
    "seconds": 2.0561,
    "policyVersion": 104,
    "lagP50": 1,
    "lagP95": 2,
    "lagBound": 4,
    "bufferFill": 0.1234,
    "evicted": 3,
    "duplicates": 5,
    "rolloutsWaiting": 0.0312,
    "learnerWaiting": 0.0951,
}


def test_the_report_is_rounded_for_people(tmp_path: Path) -> None:
    made = context(folder=tmp_path)
    status = LearnerReporter(made)
    path = tmp_path / "checkpoints" / "000000000100"
    saved = Checkpoint(path, 100, 7, 12000, "2026-11-21T14:02:36.123+00:00", "ab", {})
    status.trains(Record.from_json(RECORD), saved)
    assert made.report is not None
    told = made.report.model_dump(by_alias=True)
    assert told["progress"] == {
        "steps": 12345,
        "episodes": 67,
        "updates": 8,
        "meanReturn": 481.2,
        "bestReturn": None,
        "stepsPerSecond": 48211,
        "updatesPerSecond": 612.3,
        "seconds": 2.1,
    }
    assert told["policy"] == {"version": 104, "lag": {"p50": 1, "p95": 2, "bound": 4}}
    assert told["buffer"] == {
        "fill": 0.12,
        "dropped": 3,
        "duplicates": 5,
        "setAside": 0,
        "setAsideTime": None,
        "rolloutsWaiting": 0.03,
        "learnerWaiting": 0.1,
    }
    assert told["lastCheckpoint"] == {
        "step": 12000,
        "policyVersion": 100,
        "time": "2026-11-21T14:02:36.123Z",
        "path": "checkpoints/000000000100",
        "sha256": "ab",
        "verified": True,
    }
    assert told["seed"] == 5
    status.trains(
        Record.from_json({**RECORD, "meanReturn": 0.123456, "bestReturn": float("inf")}), None
    )
    assert made.report.progress.mean_return == 0.123
    assert made.report.progress.best_return is None
    assert made.report.last_checkpoint is None


def test_a_learner_that_goes_on_says_from_where(tmp_path: Path) -> None:
    made = context(folder=tmp_path)
    progress = TrainingProgress(steps=12000, episodes=3, updates=9, seconds=1.26)
    path = tmp_path / "checkpoints" / "000000000100"
    LearnerReporter(made).starts(progress, Checkpoint(path, 100, 7, 12000, "t", "ab", {}))
    assert made.report is not None
    assert made.report.policy.version == 100
    assert (made.report.progress.steps, made.report.progress.seconds) == (12000, 1.3)
    assert made.report.last_checkpoint is not None
    LearnerReporter(made).starts(TrainingProgress(), None)
    assert made.report.last_checkpoint is None


def test_a_role_may_have_as_many_descriptors_as_it_can() -> None:
    code = (
        "import resource\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "from rljob.system import raise_descriptor_limit\n"
        "raise_descriptor_limit(100)\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (100, hard)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
