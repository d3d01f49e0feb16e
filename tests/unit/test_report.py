"""What the learner counts besides the lines that it writes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rljob.roles.learner.progress import TrainingProgress
from rljob.roles.learner.report import RecordWriter
from rljob.telemetry.metrics import LearnerMetrics


class Bench:
    """A reporter and what it counted."""

    def __init__(self, folder: Path) -> None:
        self.metrics = LearnerMetrics()
        self.reporter = RecordWriter(folder, self.metrics)

    def value(self, name: str) -> float:
        found = self.metrics.registry.get_sample_value(f"rljob_learner_{name}")
        assert found is not None
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.reporter.close()


def test_segments_above_the_bound_are_counted(bench: Bench) -> None:
    bench.reporter.start(TrainingProgress(), 2)
    assert bench.value("policy_lag_bound_versions") == 2
    bench.reporter.updated({}, [0, 2, 3, 9], 8, 8)
    assert bench.value("policy_lag_above_bound_total") == 2
    assert bench.value("policy_lag_versions_count") == 4


def test_without_a_bound_nothing_is_above_it(bench: Bench) -> None:
    bench.reporter.start(TrainingProgress(), None)
    bench.reporter.updated({}, [10**6], 8, 8)
    assert math.isnan(bench.value("policy_lag_bound_versions"))
    assert bench.value("policy_lag_above_bound_total") == 0


def test_the_last_episode_is_told_with_its_length(bench: Bench) -> None:
    progress = TrainingProgress()
    bench.reporter.start(progress, None)
    progress.ended(np.array([[1.0, 5.0], [7.0, 33.0]]))
    bench.reporter.write(1.0, progress, 3, None)
    assert bench.value("episode_return") == 7
    assert bench.value("episode_length_steps") == 33
    assert bench.value("policy_version") == 3


def test_lines_become_rarer_and_stay_bounded(bench: Bench) -> None:
    bench.reporter.start(TrainingProgress(), None)
    started = now = bench.reporter._started
    lines = 0
    while now - started < 86_400:
        now += 0.25
        if bench.reporter.due(now):
            bench.reporter._last = now
            lines += 1
    assert 10_000 < lines < 20_000


def test_a_stall_is_noticed_between_two_lines(tmp_path: Path) -> None:
    reporter = RecordWriter(tmp_path, LearnerMetrics(), longest=1.0)
    reporter.start(TrainingProgress(), None)
    assert reporter.due(reporter._started + 7200.0)
    reporter._last = reporter._started + 7200.0
    assert not reporter.due(reporter._last + 0.5)
    assert reporter.due(reporter._last + 1.0)
    reporter.close()
