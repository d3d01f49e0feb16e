"""What the learner's pod serves; where there is none, a pod that lives as long as this takes serves it."""

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
"""Which a learner that runs may take to answer, and a pod to start."""
LOOK_EVERY = 0.5
HOPELESS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
"""Reasons to wait that do not go away."""

Say = Callable[[str], None]
T = TypeVar("T")
Receive = Callable[[Iterator[bytes]], T]
_SERVES = {"checkpoint": "a checkpoint", "records": "records"}
_READS = {"checkpoint": "checkpoints", "records": "records"}
_NOTHING = {"checkpoint": "no whole checkpoint", "records": "no records"}


@dataclass(frozen=True)
class Served:
    """Of whom, which page, and who is told what happens meanwhile."""

    jobs: Jobs
    job: ClusterJob
    parsed: RLJob
    page: Literal["checkpoint", "records"]
    say: Say


def take(source: Served, receive: Receive[T], image: str | None) -> T:
    """From the learner if it can, else from a reader.

    Args:
        receive: takes the page; called again after an attempt that failed.
        image: of the reader; the learner's when None.

    Raises:
        RunError: there is nothing yet, or nobody can serve it.
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
        raise RunError(f"{job.name} has no checkpoint yet: it is {job.phase}")
    with _reader(source, pods, image) as reader:
        try:
            return _wait(source, reader, receive, START_SECONDS)
        except Unavailable as error:
            raise RunError(f"{error}. Another image can be named with --image") from error


def download(source: Served, pod: str, receive: Receive[T]) -> T:
    """What this pod serves now.

    Raises:
        RunError: it has nothing to serve.
        Unavailable: it does not answer.
    """
    jobs, at = source.jobs, f"{pod}:{names.METRICS_PORT}"
    try:
        with jobs.api.stream(PODS, jobs.namespace, at, f"proxy/{source.page}") as chunks:
            return receive(chunks)
    except NotFound:
        # The pod says so; unless it is the API server, which has no such pod any more.
        jobs.api.get(PODS, jobs.namespace, pod)
        raise RunError(f"{source.job.name} has {_NOTHING[source.page]} yet") from None
    except DamagedCheckpoint as error:
        raise DamagedCheckpoint(f"refused, what pod {pod} sent: {error}") from None


class _ReaderGone(RunError):
    """The pod is gone, or its container."""


def _wait(source: Served, pod: JobPod, receive: Receive[T], patience: float) -> T:
    """What the pod serves, as soon as it does.

    Raises:
        _Ended: it will not.
        Unavailable: it did not for `patience` seconds.
        RunError: it has nothing to serve.
    """
    jobs = source.jobs
    deadline = time.monotonic() + patience
    while True:
        try:
            pod = JobPod.of(jobs.api.get(PODS, jobs.namespace, pod.name), pod.role)
            if pod.state == "terminated":
                raise _ReaderGone(f"pod {pod.name} has ended: {pod.last_words}")
            why = pod.waits_for
            if pod.state == "running":
                return download(source, pod.name, receive)
        except NotFound:
            raise _ReaderGone(f"pod {pod.name} is gone") from None
        except Unavailable as error:
            # It listens some time after it has started, or has just ended.
            why = str(error)
        if time.monotonic() > deadline or why.startswith(HOPELESS):
            raise Unavailable(f"pod {pod.name} does not serve {_SERVES[source.page]}: {why}")
        time.sleep(LOOK_EVERY)


# ---- a pod that reads the checkpoints


@contextmanager
def _reader(source: Served, pods: list[JobPod], image: str | None) -> Iterator[JobPod]:
    """A pod that serves the checkpoints; it is deleted whatever happens."""
    jobs, job = source.jobs, source.job
    workload: Manifest | None = None
    with suppress(NotFound):
        workload = jobs.api.get(BATCH_JOBS, jobs.namespace, names.workload(job.name, "learner"))
    manifest = reader_pod(job, source.parsed, image_of(job, pods, workload, image))
    _sweep(jobs, job)
    name = str(manifest["metadata"]["name"])
    try:
        made = jobs.api.create(PODS, jobs.namespace, manifest)
        source.say(f"pod {name} reads the {_READS[source.page]} of {job.name}")
        yield JobPod.of(made, COMPONENT)
    finally:
        _delete(jobs, name)


def _delete(jobs: Jobs, pod: str) -> None:
    """Delete it, asking again where that fails: it may hold a volume that a learner needs."""
    for attempt in range(5):
        try:
            jobs.api.delete(PODS, jobs.namespace, pod, {"gracePeriodSeconds": 0})
            return
        except NotFound:
            return
        except ClusterError as error:
            if attempt == 4 or not error.transient:
                raise RunError(f"delete pod {pod} yourself: {error}") from error
            time.sleep(LOOK_EVERY * 2**attempt)


def _sweep(jobs: Jobs, job: ClusterJob) -> None:
    """Delete what was left by someone who could not: pods like ours that have ended."""
    wanted = ",".join(f"{key}={value}" for key, value in labels(job.name).items())
    for raw in jobs.api.get_all(PODS, jobs.namespace, {"labelSelector": wanted}):
        if raw.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            _delete(jobs, str(raw["metadata"]["name"]))
