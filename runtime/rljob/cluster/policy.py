"""Fetches the policy of a job: its newest whole checkpoint, into a folder that `rljob eval` takes."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rljob.cluster.api import BATCH_JOBS, PODS
from rljob.cluster.failures import ClusterError, NotFound, Unavailable
from rljob.cluster.job import ClusterJob, Pod
from rljob.cluster.jobs import Jobs
from rljob.cluster.reader import COMPONENT, image_of, labels, reader_pod
from rljob.cluster.unpack import unpack
from rljob.errors import InputError, RunError
from rljob.manifest import Checkpoint, DamagedCheckpoint
from rljob.spec import RLJob
from rljob.spec.status import CheckpointStatus
from rljob_operator import names

CODE = "code"
LEARNER_SECONDS, START_SECONDS = 30.0, 180.0
"""Which a learner that runs may take to answer, and a pod to start."""
LOOK_EVERY = 0.5
HOPELESS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
"""Reasons to wait that do not go away."""

Manifest = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Fetched:
    """A policy that is there.

    Attributes:
        named: whether the job's status names this very checkpoint; else it is a newer one.
    """

    version: int
    steps: int
    named: bool


def fetch(jobs: Jobs, job: ClusterJob, out: Path, say: Say, image: str | None = None) -> Fetched:
    """Fetch the newest whole checkpoint into the new folder `out`; all of it, or nothing.

    It comes from the learner; where there is none, from a pod that lives as long as this takes.

    Args:
        say: takes what happens meanwhile.
        image: of that pod; the learner's when None.

    Raises:
        InputError: `out` is there already.
        RunError: there is no checkpoint, or it is damaged, or nobody can serve it.
    """
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} is there already; name a new folder with --out")
    parsed = job.job()
    temporary = out.absolute().parent / f".{out.name}.{uuid.uuid4().hex[:8]}"
    try:
        found = _take(_Source(jobs, job, parsed, temporary, say), image)
        fetched = _compare(found, jobs, job, say)
        _write_code(parsed, temporary)
        temporary.rename(out)
    except OSError as error:
        raise RunError(f"cannot write {error.filename or out}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return fetched


@dataclass(frozen=True)
class _Source:
    """Of whom, and to where, and who is told."""

    jobs: Jobs
    job: ClusterJob
    parsed: RLJob
    folder: Path
    say: Say


def _take(source: _Source, image: str | None) -> Checkpoint:
    """From the learner if it can, else from a reader."""
    jobs, job = source.jobs, source.job
    pods = jobs.pods(job, "learner")
    learner = next((pod for pod in reversed(pods) if pod.state == "running"), None)
    if learner is not None and not learner.deleting:
        try:
            return _unpack(source, learner, LEARNER_SECONDS)
        except _Ended as error:
            source.say(str(error))
    if jobs.get(job.name).status.last_checkpoint is None:
        raise RunError(f"{job.name} has no checkpoint yet: it is {job.phase}")
    with _reader(source, pods, image) as reader:
        try:
            return _unpack(source, reader, START_SECONDS)
        except Unavailable as error:
            raise RunError(f"{error}. Another image can be named with --image") from error


class _Ended(RunError):
    """The pod is gone, or its container."""


def _unpack(source: _Source, pod: Pod, patience: float) -> Checkpoint:
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
            pod = Pod.of(jobs.api.get(PODS, jobs.namespace, pod.name), pod.role)
            if pod.state == "terminated":
                raise _Ended(f"pod {pod.name} has ended: {pod.last_words}")
            why = pod.waits_for
            if pod.state == "running":
                return _download(source, pod.name)
        except NotFound:
            raise _Ended(f"pod {pod.name} is gone") from None
        except Unavailable as error:
            # It listens some time after it has started, or has just ended.
            why = str(error)
        if time.monotonic() > deadline or why.startswith(HOPELESS):
            raise Unavailable(f"pod {pod.name} does not serve a checkpoint: {why}")
        time.sleep(LOOK_EVERY)


def _download(source: _Source, pod: str) -> Checkpoint:
    """Into a folder that holds nothing of an attempt before."""
    shutil.rmtree(source.folder, ignore_errors=True)
    source.folder.mkdir(parents=True)
    jobs, at = source.jobs, f"{pod}:{names.METRICS_PORT}"
    try:
        with jobs.api.stream(PODS, jobs.namespace, at, "proxy/checkpoint") as chunks:
            return unpack(chunks, source.folder)
    except NotFound:
        # The pod says so; unless it is the API server, which has no such pod any more.
        jobs.api.get(PODS, jobs.namespace, pod)
        raise RunError(f"{source.job.name} has no whole checkpoint yet") from None
    except DamagedCheckpoint as error:
        raise DamagedCheckpoint(f"refused, what pod {pod} sent: {error}") from None


def _compare(found: Checkpoint, jobs: Jobs, job: ClusterJob, say: Say) -> Fetched:
    """With what the status says: it may name an older checkpoint, but none other of that name."""
    named = jobs.get(job.name).status.last_checkpoint or job.status.last_checkpoint
    if named is None:
        return Fetched(found.version, found.steps, False)
    if Path(named.path).name == found.path.name:
        if named.sha256 != found.sha256:
            raise DamagedCheckpoint(
                f"damaged checkpoint {found.path.name}: its manifest has sha256 {found.sha256}, but "
                f"the status of {job.name} says {named.sha256}"
            )
        return Fetched(found.version, found.steps, True)
    if _older(found, named):
        say(
            f"warning: policy version {named.policy_version}, which the status of {job.name} names, "
            f"cannot be had whole; this is version {found.version}, the newest that is"
        )
    return Fetched(found.version, found.steps, False)


def _older(found: Checkpoint, named: CheckpointStatus) -> bool:
    return (found.version, found.steps) < (named.policy_version, named.step)


def _write_code(job: RLJob, folder: Path) -> None:
    """The job's own modules, as `rljob run` keeps them."""
    for name, text in (job.spec.code or {}).items():
        (folder / CODE).mkdir(exist_ok=True)
        (folder / CODE / name).write_text(text, encoding="utf-8")


# ---- a pod that reads the checkpoints


@contextmanager
def _reader(source: _Source, pods: list[Pod], image: str | None) -> Iterator[Pod]:
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
        source.say(f"pod {name} reads the checkpoints of {job.name}")
        yield Pod.of(made, COMPONENT)
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
