"""Watches a job on the screen until it has ended."""

from __future__ import annotations

import time
from contextlib import suppress

from rljob.client.errors import ClusterError
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.client.live import ending_lines, event_line, record, roles
from rljob.errors import RunError
from rljob.show.view.panel import State
from rljob.show.view.screen import Screen

LOOK_EVERY = 1.0
"""Seconds between two queries. The status changes every five seconds, so polling is sufficient; the
loss of a Kubernetes watch can go unnoticed."""
EVENTS_EVERY = 5.0
"""Seconds between two lists of the job's Events while its phase stays: for each, the API server reads all Events of the
namespace."""


def watch(
    jobs: Jobs,
    job: ClusterJob,
    screen: Screen,
    flags: str = "",
    past: bool = False,
) -> str:
    """Show the job until it has ended; returns `Complete` or `Failed`.

    If the API server does not answer, retry until it does. An interrupt does not change the job.

    Args:
        flags: cluster options for commands.
        past: whether to show earlier Events too.

    Raises:
        RunError: the job was deleted.
        ClusterError: the user may no longer read the job.
    """
    shown = _JobScreen(jobs, job, screen, past)
    try:
        while job.end is None:
            time.sleep(LOOK_EVERY)
            job = shown.look(time.monotonic()) or job
        # The last Event may follow the status. The job may be deleted by then.
        with suppress(RunError):
            shown.look(time.monotonic())
        end = job.end.type
        screen.end(lambda width: ending_lines(job, flags))
        return end
    except KeyboardInterrupt:
        screen.end(lambda width: [])
        raise
    finally:
        screen.close()


class _JobScreen:
    """Updates the screen from the job."""

    def __init__(self, jobs: Jobs, job: ClusterJob, screen: Screen, past: bool) -> None:
        self._jobs, self._screen = jobs, screen
        self._job = job
        self._state = State(job.job(), f"namespace {job.namespace}")
        self._phase = ""
        self._answered = True
        before = [] if past else jobs.events(job)
        self._shown_events = {(event.uid, event.count) for event in before}
        self._events_due = 0.0
        screen.open(self._state)
        self._take(job)

    def look(self, now: float) -> ClusterJob | None:
        """Read the job and update the screen. Returns None if the API server does not answer.

        Args:
            now: monotonic seconds.
        """
        try:
            job = self._jobs.again(self._job)
            changed = job.phase != self._phase
            if changed or now >= self._events_due:
                self._show_events(job)
                # The Event about a new phase may follow it.
                self._events_due = now if changed else now + EVENTS_EVERY
            self._answered = True
            self._take(job)
            return job
        except ClusterError as error:
            if not error.transient:
                raise
            if self._answered:
                self._answered = False
                self._screen.say([(f"  {error}; trying again", "warning")])
            return None

    def _take(self, job: ClusterJob) -> None:
        if job.raw["metadata"].get("generation") != self._job.raw["metadata"].get("generation"):
            self._state.job = job.job()
        self._job = job
        status = job.status
        self._state.advance(record(status), status.restarts, roles(status))
        if job.phase != self._phase:
            self._phase = job.phase
            self._screen.say([(" " * 11, ""), (job.phase, "name")])
        if job.end is not None:
            self._state.ended = job.end.reason
        self._screen.moved()

    def _show_events(self, job: ClusterJob) -> None:
        for event in self._jobs.events(job):
            if (event.uid, event.count) not in self._shown_events:
                self._shown_events.add((event.uid, event.count))
                self._screen.say(event_line(event, job.created))
