"""Fetches the newest complete checkpoint of a job into a folder for `rljob eval`."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rljob.checkpoints.manifest import Checkpoint, DamagedCheckpoint
from rljob.checkpoints.unpack import unpack
from rljob.client import sent_code
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.client.served import Say, Served, take
from rljob.errors import InputError, RunError
from rljob.run_folder.names import CODE
from rljob.spec import RLJob
from rljob.spec.status import CheckpointStatus


@dataclass(frozen=True)
class Fetched:
    """A fetched policy.

    Attributes:
        named: whether the checkpoint is the one in the job's status; else it is newer.
    """

    version: int
    steps: int
    named: bool


def fetch(jobs: Jobs, job: ClusterJob, out: Path, say: Say, image: str | None = None) -> Fetched:
    """Fetch the newest complete checkpoint into the new folder `out`. On an error, `out` is not created.

    The learner serves the checkpoint. Without a learner, a temporary pod serves it.

    Args:
        say: receives progress messages.
        image: image of the temporary pod; None for the learner's.

    Raises:
        InputError: `out` already exists.
        RunError: there is no checkpoint, it is damaged, or no pod can serve it.
    """
    if out.exists() or out.is_symlink():
        raise InputError(f"--out {out}: already exists; choose a new folder")
    parsed = job.job()
    temporary = out.absolute().parent / f".{out.name}.{uuid.uuid4().hex[:8]}"
    try:
        served = Served(jobs, job, parsed, "checkpoint", say)
        found = take(served, lambda chunks: _unpack(chunks, temporary), image)
        fetched = _compare(found, jobs, job, say)
        sent_code.fetch(jobs, parsed, temporary / CODE)
        _write_code(parsed, temporary)
        temporary.rename(out)
    except OSError as error:
        raise RunError(f"cannot write {error.filename or out}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return fetched


def _unpack(chunks: Iterator[bytes], folder: Path) -> Checkpoint:
    """Unpack into an empty folder: an earlier attempt may have left files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return unpack(chunks, folder)


def _compare(found: Checkpoint, jobs: Jobs, job: ClusterJob, say: Say) -> Fetched:
    """Compare with the status: it may name an older checkpoint; a checkpoint of the same name must match."""
    named = jobs.get(job.name).status.last_checkpoint or job.status.last_checkpoint
    if named is None:
        return Fetched(found.version, found.steps, False)
    if Path(named.path).name == found.path.name:
        if named.sha256 != found.sha256:
            raise DamagedCheckpoint(
                f"damaged checkpoint {found.path.name}: its manifest has sha256 {found.sha256}, but "
                f"the status of {job.name} has {named.sha256}"
            )
        return Fetched(found.version, found.steps, True)
    if _older(found, named):
        say(
            f"warning: policy version {named.policy_version}, named in the status of {job.name}, "
            f"is not available; fetched version {found.version}, the newest complete one"
        )
    return Fetched(found.version, found.steps, False)


def _older(found: Checkpoint, named: CheckpointStatus) -> bool:
    return (found.version, found.steps) < (named.policy_version, named.step)


def _write_code(job: RLJob, folder: Path) -> None:
    """Write the job's own modules into the same place as `rljob run`."""
    for name, text in (job.spec.code or {}).items():
        (folder / CODE).mkdir(exist_ok=True)
        (folder / CODE / name).write_text(text, encoding="utf-8")
