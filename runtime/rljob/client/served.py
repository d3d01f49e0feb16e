"""Downloads a page of the learner's pod; without a learner, from a temporary reader pod."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

from rljob.checkpoints.manifest import DamagedCheckpoint
from rljob.client.api import BATCH_JOBS, PODS
from rljob.client.errors import ClusterError, NotFound, Unavailable
from rljob.client.job import ClusterJob, JobPod
from rljob.client.jobs import Jobs
from rljob.client.reader import COMPONENT, image_of, labels, reader_pod
from rljob.errors import RunError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.spec import RLJob

LEARNER_SECONDS, START_SECONDS = 30.0, 180.0
"""Timeouts: of a running learner to answer, and of a reader pod to start."""
LOOK_EVERY = 0.5
HOPELESS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
"""Waiting reasons that are not expected to resolve."""

Say = Callable[[str], None]
T = TypeVar("T")
Receive = Callable[[Iterator[bytes]], T]
_SERVES = {"checkpoint": "a checkpoint", "records": "records"}
_READS = {"checkpoint": "checkpoints", "records": "records"}
_NOTHING = {"checkpoint": "no whole checkpoint", "records": "no records"}


@dataclass(frozen=True)
class Served:
    """The job, the page to download, and the receiver of progress messages."""

    jobs: Jobs
    job: ClusterJob
    parsed: RLJob
    page: Literal["checkpoint", "records"]
    say: Say


def take(source: Served, receive: Receive[T], image: str | None) -> T:
    """Download the page from the learner if possible, else from a reader pod.

    Args:
        receive: receives the page; called again after a failed attempt.
        image: image of the reader pod; None for the learner's.

    Raises:
        RunError: the page does not exist yet, or no pod can serve it.
    """
    jobs, job = source.jobs, source.job
    pods = jobs.pods(job, "learner")
    learner = next((pod for pod in reversed(pods) if pod.state == "running"), None)
    if learner is not None and not learner.deleting:
        try:
            return _wait(source, learner, receive, LEARNER_SECONDS)
        except _ReaderGone as error:
            source.say(str(error))
    if jobs.get(job.name).status.last_checkpoint is None:
        raise RunError(f"{job.name} has no checkpoint yet; its phase is {job.phase}")
    with _reader(source, pods, image) as reader:
        try:
            return _wait(source, reader, receive, START_SECONDS)
        except Unavailable as error:
            raise RunError(f"{error}. Select another image with --image") from error


def download(source: Served, pod: str, receive: Receive[T]) -> T:
    """Download the page from this pod.

    Raises:
        RunError: the pod has no such page yet.
        Unavailable: the pod does not answer.
    """
    jobs = source.jobs
    try:
        page = jobs.api.page(jobs.namespace, pod, names.LOOPBACK_PORT, f"/{source.page}")
        with page as chunks:
            return receive(chunks)
    except NotFound:
        # It is the pod that has no page, or there is no pod any more.
        jobs.api.get(PODS, jobs.namespace, pod)
        raise RunError(f"{source.job.name} has {_NOTHING[source.page]} yet") from None
    except DamagedCheckpoint as error:
        raise DamagedCheckpoint(f"rejected the data of pod {pod}: {error}") from None


class _ReaderGone(RunError):
    """The pod was deleted, or its container has ended."""


def _wait(source: Served, pod: JobPod, receive: Receive[T], patience: float) -> T:
    """Wait until the pod answers, and download the page.

    Raises:
        _ReaderGone: the pod has ended or was deleted.
        Unavailable: the pod did not answer within `patience` seconds.
        RunError: the pod has no such page yet.
    """
    jobs = source.jobs
    deadline = time.monotonic() + patience
    while True:
        try:
            pod = JobPod.of(jobs.api.get(PODS, jobs.namespace, pod.name), pod.role)
            if pod.state == "terminated":
                raise _ReaderGone(f"pod {pod.name} has ended: {pod.end_reason}")
            why = pod.waits_for
            if pod.state == "running":
                return download(source, pod.name, receive)
        except NotFound:
            raise _ReaderGone(f"pod {pod.name} was deleted") from None
        except Unavailable as error:
            # The server is not yet listening, or the container has just ended.
            why = str(error)
        if time.monotonic() > deadline or why.startswith(HOPELESS):
            raise Unavailable(f"pod {pod.name} does not serve {_SERVES[source.page]}: {why}")
        time.sleep(LOOK_EVERY)


# ---- reader pod


@contextmanager
def _reader(source: Served, pods: list[JobPod], image: str | None) -> Iterator[JobPod]:
    """Create a reader pod; it is deleted at the end, also on an error."""
    jobs, job = source.jobs, source.job
    workload: Manifest | None = None
    with suppress(NotFound):
        workload = jobs.api.get(BATCH_JOBS, jobs.namespace, names.workload(job.name, "learner"))
    manifest = reader_pod(job, source.parsed, image_of(job, pods, workload, image))
    _sweep(jobs, job)
    name = str(manifest["metadata"]["name"])
    try:
        made = jobs.api.create(PODS, jobs.namespace, manifest)
        source.say(f"starting pod {name} to read the {_READS[source.page]} of {job.name}")
        yield JobPod.of(made, COMPONENT)
    finally:
        _delete(jobs, name)


def _delete(jobs: Jobs, pod: str) -> None:
    """Delete the pod, with retries: it may hold a volume that a learner needs."""
    for attempt in range(5):
        try:
            jobs.api.delete(PODS, jobs.namespace, pod, {"gracePeriodSeconds": 0})
            return
        except NotFound:
            return
        except ClusterError as error:
            if attempt == 4 or not error.transient:
                raise RunError(
                    f"cannot delete pod {pod}; delete it with kubectl: {error}"
                ) from error
            time.sleep(LOOK_EVERY * 2**attempt)


def _sweep(jobs: Jobs, job: ClusterJob) -> None:
    """Delete ended reader pods of the job that earlier commands left."""
    wanted = ",".join(f"{key}={value}" for key, value in labels(job.name).items())
    for raw in jobs.api.get_all(PODS, jobs.namespace, {"labelSelector": wanted}):
        if raw.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            _delete(jobs, str(raw["metadata"]["name"]))
