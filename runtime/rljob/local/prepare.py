"""What happens before anything runs: the job is read and checked, and has a folder and addresses."""

from __future__ import annotations

import importlib.util
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rljob import spec as specs
from rljob.algorithms.settings import check_settings
from rljob.errors import InputError, RunError
from rljob.roles.evaluator import check as check_evaluation
from rljob.roles.learner.cores import usable_cores
from rljob.roles.learner.progress import WINDOW_EPISODES, reached
from rljob.roles.sinks import check as check_sinks
from rljob.run_folder import json_files
from rljob.run_folder.folder import RunFolder
from rljob.run_folder.names import CODE, JOB, RESULT
from rljob.run_folder.write_whole import write_whole
from rljob.spec import RLJob
from rljob.wire.keygen import generate

Transport = Literal["ipc", "tcp"]


@dataclass(frozen=True)
class Request:
    """What is to be run, and how.

    Attributes:
        job: a YAML file, a mapping in the form of the YAML, or a job; None takes that of the folder
            in which a run is resumed.
        overrides: `path=value`, applied to the job.
        search: folders in which the roles look for modules first.
    """

    job: str | Path | Mapping[str, Any] | RLJob | None
    overrides: tuple[str, ...] = ()
    directory: Path | None = None
    resume: bool = False
    transport: Transport = "ipc"
    trace: Path | None = None
    search: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Wiring:
    """What every role is told: where the others are, and where it keeps what.

    Attributes:
        scratch: temporary folder with the sockets and with what roles say when they fail.
        path: folders that come first where roles look for modules.
        learner_threads: of its torch: one for each core that the rollouts leave free.
    """

    buffer: str
    learner: str
    scratch: Path
    path: tuple[str, ...]
    keys: Path | None
    trace: Path | None
    resume: bool
    learner_threads: int


def prepare(request: Request) -> tuple[RLJob, RunFolder]:
    """The job with its defaults and its seed, written down as `job.yaml` in the run's folder.

    Raises:
        InputError: when the job cannot be run, or not in that folder.
        RunError: when the folder cannot be written.
    """
    if not request.resume:
        job = _checked(read(request.job, request.overrides))
        folder = RunFolder.new(job.metadata.name, request.directory)
    else:
        named = None if request.job is None else read(request.job, request.overrides)
        name = named.metadata.name if named is not None else None
        folder = RunFolder.existing(request.directory, name)
    try:
        if request.resume:
            given = request.job if request.job is not None else folder.path / JOB
            job = _checked(read(given, request.overrides))
            _check_unfinished(job, folder.path)
        _write(job, folder.path)
    except BaseException:
        folder.discard()
        folder.close()
        raise
    return job, folder


def read(job: str | Path | Mapping[str, Any] | RLJob | None, overrides: tuple[str, ...]) -> RLJob:
    """The job from wherever it comes, overrides applied."""
    if job is None:
        raise InputError("name a job: a YAML file, or an environment with --env")
    if isinstance(job, str | Path):
        return specs.load(job, overrides)
    if isinstance(job, RLJob):
        if not overrides:
            return job
        job = job.model_dump(mode="json", by_alias=True, exclude_none=True)
    return specs.parse(job, overrides=overrides)


def wire(request: Request, job: RLJob, scratch: Path, folder: Path) -> Wiring:
    """Addresses for the roles: sockets in `scratch`, or ports and keys."""
    code = [str(folder / CODE)] if (folder / CODE).is_dir() else []
    path = (*code, *(str(place.resolve()) for place in request.search))
    if request.transport == "ipc":
        addresses = f"ipc://{scratch}/buffer", f"ipc://{scratch}/learner"
        minted = None
    else:
        first, other = _free_ports()
        addresses = f"tcp://127.0.0.1:{first}", f"tcp://127.0.0.1:{other}"
        # Secrets: they are gone with the run.
        minted = scratch / "keys"
        generate(minted)
    trace = request.trace.resolve() if request.trace is not None else None
    threads = max(1, usable_cores() - job.spec.rollout.replicas)
    return Wiring(*addresses, scratch, path, minted, trace, request.resume, threads)


def _checked(job: RLJob) -> RLJob:
    """All that can be known without starting anything; what is named by import path, roles find out."""
    if importlib.util.find_spec("torch") is None:
        raise InputError(
            "training needs torch, which is not installed: pip install 'rljob[learner]'"
        )
    check_settings(job)
    try:
        check_sinks(job.spec.sinks)
        if job.spec.evaluation is not None:
            check_evaluation(job.spec.evaluation)
    except InputError as error:
        raise specs.locate(job, error) from None
    if job.spec.seed is None:
        drawn = job.spec.model_copy(update={"seed": secrets.randbelow(2**31)})
        job = job.model_copy(update={"spec": drawn})
    return job


def _write(job: RLJob, folder: Path) -> None:
    try:
        write_whole(folder / JOB, specs.dump(job))
        (folder / RESULT).unlink(missing_ok=True)
        for name, text in (job.spec.code or {}).items():
            (folder / CODE).mkdir(exist_ok=True)
            (folder / CODE / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write in the run's folder {folder}: {error.strerror}") from error


def _check_unfinished(job: RLJob, folder: Path) -> None:
    """A run that has reached its end is not resumed, unless the end was moved."""
    result = json_files.read(folder / RESULT) or {}
    if result.get("outcome") != "Complete":
        return
    mean = result["meanReturn"] if result["episodes"] >= WINDOW_EPISODES else None
    end = reached(job.spec.stop, mean, result["steps"], result["seconds"])
    if end is not None:
        raise InputError(
            f"{folder} is complete: {end.text}. To train on, move the end, as in "
            f"--set {_MOVED[end.reason]}"
        )


_MOVED = {
    "StepsReached": "stop.steps=2000000",
    "DurationReached": "stop.duration=1h",
    "MeanReturnReached": "stop.meanReturn=null",
}


def _free_ports() -> tuple[int, int]:
    """Two ports on this machine: behind the first, the next one is free as well."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second, socket.socket() as other:
            try:
                first.bind(("127.0.0.1", 0))
                port = first.getsockname()[1]
                second.bind(("127.0.0.1", port + 1))
                other.bind(("127.0.0.1", 0))
            except (OSError, OverflowError):
                continue
            return port, other.getsockname()[1]
    raise RunError("found no two free ports beside each other on this machine")
