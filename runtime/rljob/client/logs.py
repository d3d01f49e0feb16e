"""Prints or follows the logs of a role's pods, across restarts and replacements."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rljob.client.api import PODS, ClusterApi
from rljob.client.errors import ClusterError, Forbidden
from rljob.client.job import ClusterJob, JobPod
from rljob.client.jobs import Jobs
from rljob.errors import RLJobError, RunError
from rljob.spec.roles import ROLES, RoleName

LOOK_EVERY = 1.0
"""Seconds between two queries for new pods."""
LINES_AHEAD = 1000
"""Capacity of the queue of lines that were read but not yet written."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT")

Write = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """Selection of lines.

    Attributes:
        previous: read the container before the last restart, or the previous learner pod.
        tail: number of last lines; None for all.
    """

    role: RoleName
    previous: bool = False
    tail: int | None = None


def chosen(pods: Sequence[JobPod], wanted: Wanted) -> list[tuple[JobPod, bool]]:
    """Selected pods, each with a flag: read the container before the last restart.

    Args:
        pods: pods of the role, oldest first.
    """
    # A failed learner gets a new pod. A failed container of another role restarts in its pod.
    alone = wanted.role == "learner"
    if not wanted.previous:
        return [(pod, False) for pod in (pods[-1:] if alone else pods)]
    restarted = [(pod, True) for pod in (pods[-1:] if alone else pods) if pod.restarts]
    return restarted or [(pod, False) for pod in (pods[-2:-1] if alone else ())]


def print_logs(jobs: Jobs, job: ClusterJob, wanted: Wanted, write: Write, note: Write) -> None:
    """Write the existing logs of the role's pods.

    Args:
        note: receives messages that are not log lines.

    Raises:
        RunError: no pod matches.
    """
    found = chosen(jobs.pods(job, wanted.role), wanted)
    if not found:
        raise RunError(_no_pods(job, wanted))
    for pod, previous in found:
        if pod.state == "waiting" and not pod.restarts:
            note(f"{pod.name} has not started: {pod.waits_for}")
            continue
        query = {"container": wanted.role} | ({"previous": "true"} if previous else {})
        if wanted.tail is not None:
            query["tailLines"] = str(wanted.tail)
        prefix = f"[{pod.name}] " if len(found) > 1 else ""
        with jobs.api.stream(PODS, jobs.namespace, pod.name, "log", query) as chunks:
            for line in split(chunks):
                write(prefix + line)


def follow(jobs: Jobs, job: ClusterJob, wanted: Wanted, write: Write, note: Write) -> None:
    """Follow the logs of the role's pods until the job has ended, across restarts and replacements."""
    following = _LogFollower(jobs.api, jobs.namespace, wanted, note)
    while True:
        try:
            job = jobs.get(job.name)
            pods = [pod for pod, _ in chosen(jobs.pods(job, wanted.role), wanted)]
            # Read the job before its pods: the logs of an ended job are then complete.
            following.open(pods)
            if not pods and job.end is None:
                following.note_once(f"no {wanted.role} pod yet: {job.phase}")
        except ClusterError as error:
            if not error.transient:
                raise
            following.note_once(f"{error}; trying again")
        for line in following.lines(time.monotonic() + LOOK_EVERY):
            write(line)
        if job.end is not None and following.idle:
            return


def split(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a stream, including a last line without a line break."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


@dataclass
class _Container:
    """One run of a container; a thread reads its log.

    Attributes:
        last: timestamp of the newest line.
        reading: whether the thread is running.
        whole: whether the log was read completely.
    """

    pod: str
    last: str = ""
    reading: bool = False
    whole: bool = False


class _LogFollower:
    """Follows the logs of several containers."""

    def __init__(self, api: ClusterApi, namespace: str, wanted: Wanted, note: Write) -> None:
        self._api, self._namespace = api, namespace
        self._wanted, self._note = wanted, note
        self._found: dict[str, _Container] = {}
        self._queue: queue.Queue[tuple[_Container, str]] = queue.Queue(LINES_AHEAD)
        self._last_note = ""

    def open(self, pods: Sequence[JobPod]) -> None:
        """Start a thread for each container without one; an interrupted log continues at its last line."""
        for pod in pods:
            if pod.state == "waiting":
                self.note_once(f"{pod.name} has not started: {pod.waits_for}")
                continue
            container = self._found.setdefault(pod.container_id, _Container(pod.name))
            if not container.reading and (not container.whole or pod.state == "running"):
                container.reading = True
                threading.Thread(target=self._read, args=(container,), daemon=True).start()

    def lines(self, until: float) -> Iterator[str]:
        """Yield new lines until the time `until` of the monotonic clock."""
        # Not until the queue is empty: a pod may log faster than its lines are written.
        while (left := until - time.monotonic()) > 0:
            try:
                container, line = self._queue.get(timeout=left)
            except queue.Empty:
                return
            many = len({one.pod for one in self._found.values()}) > 1
            yield f"[{container.pod}] {line}" if many else line

    @property
    def idle(self) -> bool:
        """Whether all lines were written."""
        return self._queue.empty() and not any(one.reading for one in self._found.values())

    def note_once(self, text: str) -> None:
        """Print a message once."""
        if text != self._last_note:
            self._last_note = text
            self._note(text)

    def _read(self, container: _Container) -> None:
        query = {"container": self._wanted.role, "follow": "true", "timestamps": "true"}
        if container.last:
            query["sinceTime"] = container.last
        elif self._wanted.tail is not None:
            query["tailLines"] = str(self._wanted.tail)
        before = container.last
        try:
            where = (PODS, self._namespace, container.pod, "log", query)
            with self._api.stream(*where, patience=None) as chunks:
                for line in split(chunks):
                    time_text, _, text = line.partition(" ")
                    if not _TIMESTAMP.match(time_text):
                        self._queue.put((container, line))  # A message of the kubelet.
                    elif time_text > before:  # `sinceTime` has a resolution of one second.
                        container.last = time_text
                        self._queue.put((container, text))
            container.whole = True
        except Forbidden as error:
            self.note_once(str(error))
        except RLJobError:
            # The pod, its container or the connection was lost; the next query of the pods shows which.
            pass
        finally:
            container.reading = False


def _no_pods(job: ClusterJob, wanted: Wanted) -> str:
    role = wanted.role
    section = ROLES[role].section
    if ROLES[role].optional and job.raw["spec"].get(section) is None:
        return f"{job.name} has no {role}: spec.{section} is not set"
    if wanted.previous:
        return f"no {role} of {job.name} was restarted, or its earlier pod was deleted"
    return f"{job.name} has no {role} pod; its phase is {job.phase}"
