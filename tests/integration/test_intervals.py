"""Checkpoints and evaluations by steps and updates."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rljob.checkpoints import policy
from rljob.checkpoints.manifest import checkpoints
from tests.integration.test_evaluator import (
    evaluator,
    learner,
    lines,
    make_job,
    policy_of,
    wait_for,
)
from tests.integration.test_run import Place, result


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_checkpoints_by_updates_and_by_steps_over_a_resume(place: Place) -> None:
    file = place.write(
        stop={"updates": 10},
        algorithm={"name": "PPO", "config": {"rolloutLength": 16, "epochs": 1}},
        checkpoint={"interval": "1h", "keep": 100, "everyUpdates": 4, "everySteps": 2000},
    )
    assert place.run("run", file, "--dir", "run").returncode == 0
    ended = place.run("run", "--resume", "--dir", "run", "--set", "stop.updates=16")
    assert ended.returncode == 0, ended.stderr
    saved = {one.version: one.steps for one in checkpoints(place.folder / "run" / "checkpoints")}
    # With this algorithm, an update makes a version.
    assert {4, 8, 10, 12, 16} <= saved.keys()
    steps = result(place.folder / "run")["steps"]
    assert steps > 2000
    each = steps // max(saved)
    for multiple in range(2000, steps, 2000):
        assert any(multiple <= at < multiple + 2 * each for at in saved.values()), saved


def test_evaluations_by_updates(tmp_path: Path) -> None:
    made = make_job(evaluation={"interval": "1h", "episodes": 1, "everyUpdates": 10})
    arrays = policy_of(made)

    def payload(updates: int) -> bytes:
        return policy.encode(
            {**arrays, policy.PROGRESS: np.array([7 * updates, updates], np.int64)}
        )

    with learner(tmp_path, made) as publisher, evaluator(tmp_path, made) as process:
        # The first policy is played at once; one before the next multiple is not.
        for version, updates, count in (
            (1, 3, 1),
            (2, 9, 1),
            (3, 10, 2),
            (4, 25, 3),
            (5, 26, 3),
            (6, 31, 4),
        ):
            publisher.publish((1, version), payload(updates))
            wait_for(lambda count=count: len(lines(tmp_path)) == count, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert [line["policyVersion"] for line in lines(tmp_path)] == [1, 3, 4, 6]
