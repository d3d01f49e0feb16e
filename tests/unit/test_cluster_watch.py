"""How often a job that is watched on the screen makes the API server read Events."""

from __future__ import annotations

from io import StringIO
from typing import Any, cast

from rljob.client.job import ClusterJob, JobEvent
from rljob.client.jobs import Jobs
from rljob.client.watch import EVENTS_EVERY, _JobScreen
from rljob.show.view.screen import PlainScreen
from tests.unit.clusterjobs import TRAINING, cluster_job, event


class FakeJobs:
    """A job as the API server has it, and how often its Events were listed."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.found: list[JobEvent] = []
        self.lists = 0

    def again(self, _job: ClusterJob) -> ClusterJob:
        return self.get()

    def get(self) -> ClusterJob:
        status: dict[str, Any] = {**TRAINING, "phase": self.phase}
        return cluster_job(status)

    def events(self, _job: ClusterJob) -> list[JobEvent]:
        self.lists += 1
        return self.found


def watched(jobs: FakeJobs) -> tuple[_JobScreen, StringIO]:
    text = StringIO()
    screen = _JobScreen(cast(Jobs, jobs), jobs.get(), PlainScreen(text), past=True)
    return screen, text


def looks(screen: _JobScreen, start: float, seconds: int) -> None:
    for second in range(seconds):
        screen.look(start + second)


def test_events_are_listed_seldom_while_nothing_changes() -> None:
    jobs = FakeJobs("Training")
    screen, _ = watched(jobs)
    looks(screen, 100.0, 60)
    assert jobs.lists == 60 / EVENTS_EVERY


def test_events_about_a_new_phase_are_shown_at_once_also_if_they_follow_it() -> None:
    jobs = FakeJobs("Starting")
    screen, text = watched(jobs)
    looks(screen, 100.0, 2)
    jobs.phase = "Training"
    screen.look(102.0)
    jobs.found = [event("it trains")]
    screen.look(103.0)
    assert "it trains" in text.getvalue()
    screen.look(104.0)
    assert text.getvalue().count("it trains") == 1
