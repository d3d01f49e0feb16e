"""Where a job is: by the address of its buffer, its run's folder, or its name on a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rljob.errors import InputError
from rljob.kube import names
from rljob.run_folder import json_files
from rljob.run_folder.names import APPLICATION_ACCESS, JOB
from rljob.spec.roles import LINK_PORTS
from rljob.wire.application_keys import IN_FOLDER
from rljob.wire.endpoints import buffer_endpoints

MOUNTED = Path("/etc/rljob")
"""Where a pod has the Secret of its application, unless it says another place."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


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


def find_job(job: str | Path, keys: str | Path | None, namespace: str | None = None) -> JobPlace:
    """The place of a job.

    Args:
        job: `tcp://host:port` or `ipc:///path` of its buffer, its run's folder, or its name on the cluster that this
            program runs on.
        keys: file of the application's key, or a folder with `application.json`; None takes that of the run's folder,
            and for a job on a cluster that in `MOUNTED`.
        namespace: of a job on a cluster; None is that of this program.

    Raises:
        InputError: there is no such job.
    """
    if not isinstance(job, str | Path):
        raise InputError(
            f"job is {job!r:.80}; an address, a run's folder or a job's name is expected"
        )
    given = None if keys is None else Path(keys).expanduser()
    if given is not None and not given.exists():
        raise InputError(f"keys: {given} does not exist")
    folder = Path(job).expanduser()
    named = isinstance(job, str) and _NAME.fullmatch(job) is not None and not folder.exists()
    if namespace is not None and not (named and _NAME.fullmatch(namespace)):
        raise InputError(
            f"namespace is {namespace!r:.80}; it belongs to the name of a job on a cluster, and job is {str(job)!r:.80}"
        )
    if isinstance(job, str) and "://" in job:
        buffer_endpoints(job)
        return JobPlace(job, keys=given)
    if named:
        return _on_cluster(str(job), given, namespace)
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


def _on_cluster(job: str, keys: Path | None, namespace: str | None) -> JobPlace:
    if keys is None:
        keys = MOUNTED
        if not (keys / IN_FOLDER).exists():
            raise InputError(
                f"there is no folder {job} here; for the job {job} on a cluster, keys is missing: mount the Secret "
                f"that `rljob applications add {job} NAME` makes at {MOUNTED}, or say where it is"
            )
    host = names.applications(job) + ("" if namespace is None else f".{namespace}")
    experience, weights = (f"tcp://{host}:{LINK_PORTS[link]}" for link in ("experience", "weights"))
    return JobPlace(experience, weights, keys)
