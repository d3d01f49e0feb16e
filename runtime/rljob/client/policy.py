"""Fetches the policy of a job: its newest whole checkpoint, into a folder that `rljob eval` takes."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rljob.checkpoints.manifest import Checkpoint, DamagedCheckpoint
from rljob.checkpoints.unpack import unpack
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.client.served import Say, Served, take
from rljob.errors import InputError, RunError
from rljob.run_folder.names import CODE
from rljob.spec import RLJob
from rljob.spec.status import CheckpointStatus


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
        served = Served(jobs, job, parsed, "checkpoint", say)
        found = take(served, lambda chunks: _unpack(chunks, temporary), image)
        fetched = _compare(found, jobs, job, say)
        _write_code(parsed, temporary)
        temporary.rename(out)
    except OSError as error:
        raise RunError(f"cannot write {error.filename or out}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return fetched


def _unpack(chunks: Iterator[bytes], folder: Path) -> Checkpoint:
    """Into a folder that holds nothing of an attempt before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return unpack(chunks, folder)


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
