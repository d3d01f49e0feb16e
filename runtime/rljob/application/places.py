"""Where a job is: by the address of its buffer, its run's folder, or its name on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rljob.errors import InputError
from rljob.run_folder import json_files
from rljob.run_folder.names import APPLICATION_ACCESS, JOB
from rljob.wire.endpoints import buffer_endpoints


@dataclass(frozen=True)
class JobPlace:
    """How an application reaches a job.

    Attributes:
        address: of the buffer.
        weights: address of the learner; empty takes what the job says.
        keys: file of the application's key; None where only this machine can connect.
    """

    address: str
    weights: str = ""
    keys: Path | None = None


def find_job(job: str | Path, keys: str | Path | None) -> JobPlace:
    """The place of a job.

    Args:
        job: `tcp://host:port` or `ipc:///path` of its buffer, or its run's folder.
        keys: file of the application's key, or a folder with `application.json`; None takes that of the run's folder.

    Raises:
        InputError: there is no such job.
    """
    if not isinstance(job, str | Path):
        raise InputError(f"job is {job!r:.80}; an address or a run's folder is expected")
    given = None if keys is None else Path(keys).expanduser()
    if given is not None and not given.exists():
        raise InputError(f"keys: {given} does not exist")
    if isinstance(job, str) and "://" in job:
        buffer_endpoints(job)
        return JobPlace(job, keys=given)
    folder = Path(job).expanduser()
    if not (folder / JOB).is_file():
        raise InputError(
            f"{job} is neither an address, as in tcp://host:5555, nor a run's folder: it has no {JOB}"
        )
    found = json_files.read(folder / APPLICATION_ACCESS)
    if found is None:
        raise InputError(
            f"{folder} takes no applications now: it is not training, or its job has no rollout.applications"
        )
    own = found.get("keys")
    if given is None and own is not None:
        given = folder / own
    return JobPlace(found["buffer"], found["learner"], given)
