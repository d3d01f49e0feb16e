"""Logs of a role's pods: what they said, or what they say, across restarts and replacements."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rljob.client.api import PODS, ClusterApi
from rljob.client.errors import ClusterError
from rljob.client.job import ClusterJob, JobPod
from rljob.client.jobs import Jobs
from rljob.errors import RunError
from rljob.spec.roles import ROLES, RoleName

LOOK_EVERY = 1.0
"""Seconds between two looks for pods that are new."""
LINES_AHEAD = 1000
"""Lines that are read before those before them are written."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT")

Write = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """Which lines.

    Attributes:
        previous: of the container before the last restart, or of the learner before this one.
        tail: how many of the last lines; None for all.
    """

    role: RoleName
    previous: bool = False
    tail: int | None = None


def chosen(pods: Sequence[JobPod], wanted: Wanted) -> list[tuple[JobPod, bool]]:
    """Pods whose logs are meant, each with whether it is its container before the last restart.

    Args:
        pods: of the role, oldest first.
    """
    # A learner that fails is replaced by another pod, a container of another role in its own.
    alone = wanted.role == "learner"
    if not wanted.previous:
        return [(pod, False) for pod in (pods[-1:] if alone else pods)]
    restarted = [(pod, True) for pod in (pods[-1:] if alone else pods) if pod.restarts]
    return restarted or [(pod, False) for pod in (pods[-2:-1] if alone else ())]


def print_logs(jobs: Jobs, job: ClusterJob, wanted: Wanted, write: Write, note: Write) -> None:
    """Write what the role's pods have said so far.

    Args:
        note: takes what is no line of a log.

    Raises:
        RunError: there is no such pod.
    """
    found = chosen(jobs.pods(job, wanted.role), wanted)
    if not found:
        raise RunError(_none(job, wanted))
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
    """Write what the role's pods say until the job has ended, whatever becomes of them meanwhile."""
    following = _LogFollower(jobs.api, jobs.namespace, wanted, note)
    while True:
        looked = time.monotonic()
        try:
            job = jobs.get(job.name)
            pods = [pod for pod, _ in chosen(jobs.pods(job, wanted.role), wanted)]
            # In this order: what a job that has ended said is there to be read.
            following.open(pods)
            if not pods and job.end is None:
                following.tell(f"no {wanted.role} pod yet: {job.phase}")
        except ClusterError as error:
            if not error.transient:
                raise
            following.tell(f"{error}; trying again")
        for line in following.lines(looked + LOOK_EVERY):
            write(line)
        if job.end is not None and following.idle:
            return


def split(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a stream, the last one also when it has no end."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


@dataclass
class _Container:
    """One start of a container whose lines are read by a thread.

    Attributes:
        last: timestamp of the newest line.
        reading: whether its thread is at work.
        whole: whether it was read to its end.
    """

    pod: str
    last: str = ""
    reading: bool = False
    whole: bool = False


class _LogFollower:
    """Containers that are read at the same time."""

    def __init__(self, api: ClusterApi, namespace: str, wanted: Wanted, note: Write) -> None:
        self._api, self._namespace = api, namespace
        self._wanted, self._note = wanted, note
        self._found: dict[str, _Container] = {}
        self._queue: queue.Queue[tuple[_Container, str]] = queue.Queue(LINES_AHEAD)
        self._told = ""

    def open(self, pods: Sequence[JobPod]) -> None:
        """Read what is not being read; a container that still runs is read again where it broke off."""
        for pod in pods:
            if pod.state == "waiting":
                self.tell(f"{pod.name} has not started: {pod.waits_for}")
                continue
            container = self._found.setdefault(pod.container_id, _Container(pod.name))
            if not container.reading and (not container.whole or pod.state == "running"):
                container.reading = True
                threading.Thread(target=self._read, args=(container,), daemon=True).start()

    def lines(self, until: float) -> Iterator[str]:
        """Lines as they come, until that time on the monotonic clock."""
        while (left := until - time.monotonic()) > 0 or not self._queue.empty():
            try:
                container, line = self._queue.get(timeout=max(0.0, left))
            except queue.Empty:
                return
            many = len({one.pod for one in self._found.values()}) > 1
            yield f"[{container.pod}] {line}" if many else line

    @property
    def idle(self) -> bool:
        """Whether all there is was written."""
        return self._queue.empty() and not any(one.reading for one in self._found.values())

    def tell(self, text: str) -> None:
        """Say it once."""
        if text != self._told:
            self._told = text
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
                    time_text, _, said = line.partition(" ")
                    if not _TIMESTAMP.match(time_text):
                        self._queue.put((container, line))  # The node itself speaks.
                    elif time_text > before:  # `sinceTime` goes by whole seconds.
                        container.last = time_text
                        self._queue.put((container, said))
            container.whole = True
        except RunError:
            # The pod is gone, or the connection; the next look finds out which.
            pass
        finally:
            container.reading = False


def _none(job: ClusterJob, wanted: Wanted) -> str:
    role = wanted.role
    section = ROLES[role].section
    if ROLES[role].optional and job.raw["spec"].get(section) is None:
        return f"{job.name} has no {role}: its spec has no {section}"
    if wanted.previous:
        return f"no {role} of {job.name} was restarted, or the pod of that time is gone"
    return f"{job.name} has no {role} pod now: it is {job.phase}"
