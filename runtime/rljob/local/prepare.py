"""Preparations before the start: reads and checks the job, makes the run's folder and addresses."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rljob import spec as specs
from rljob.algorithms import needs_torch
from rljob.algorithms.settings import check_settings
from rljob.checkpoints.manifest import checkpoints
from rljob.checkpoints.stored import check_stored, is_stored
from rljob.errors import InputError, RunError
from rljob.local.application_access import open_run
from rljob.roles.evaluator import check as check_evaluation
from rljob.roles.learner.progress import WINDOW_EPISODES, Totals, reached
from rljob.roles.sinks import check as check_sinks
from rljob.run_folder import json_files, rollouts, token
from rljob.run_folder.folder import RunFolder
from rljob.run_folder.names import CHECKPOINTS, CODE, JOB, KEYS, RESULT
from rljob.run_folder.write_whole import write_whole
from rljob.spec import JobLike, RLJob
from rljob.spec.code import check_syntax
from rljob.spec.invalid import show
from rljob.spec.sections import AlgorithmSpec, NetworkSpec
from rljob.spec.start import InitFromSpec
from rljob.system import usable_cores
from rljob.wire.keygen import generate

if TYPE_CHECKING:
    from rljob.code_folder.pack import CodeArchive

Transport = Literal["ipc", "tcp"]


@dataclass(frozen=True)
class Request:
    """A request to run a job.

    Attributes:
        job: a YAML file, a mapping in the form of the YAML, or a job; None uses the job in the folder
            of the resumed run.
        overrides: `path=value`, applied to the job.
        search: first folders of the roles' module search path; not used for a job with a folder of code, whose modules are found
            in it alone, as on a cluster.
        code: folder of modules that goes with the job.
    """

    job: JobLike | None
    overrides: tuple[str, ...] = ()
    directory: Path | None = None
    resume: bool = False
    transport: Transport = "ipc"
    trace: Path | None = None
    search: tuple[Path, ...] = ()
    code: Path | None = None


@dataclass(frozen=True)
class Wiring:
    """Addresses and folders for the roles.

    Attributes:
        scratch: temporary folder with the sockets and the end reports of roles.
        path: first folders of the roles' module search path.
        learner_threads: number of torch threads of the learner: one for each core without a rollout.
        job: the job's file for the roles.
        token: what the roles ask for before they tell their state.
    """

    buffer: str
    learner: str
    scratch: Path
    path: tuple[str, ...]
    keys: Path | None
    trace: Path | None
    resume: bool
    learner_threads: int
    job: Path
    token: str


def prepare(request: Request) -> tuple[RLJob, RunFolder]:
    """Resolve the defaults and the seed of the job, and write it as `job.yaml` into a new run's folder.

    In the folder of an earlier run nothing is written: the learner writes the job once it has continued from
    the checkpoint.

    Raises:
        InputError: the job is invalid or cannot be run in that folder.
        RunError: the folder cannot be written.
    """
    packed = None
    if not request.resume:
        job = _with_weights(checked(read(request.job, request.overrides)))
        job, packed = _with_code(job, request.code)
        folder = RunFolder.new(job.metadata.name, request.directory)
    else:
        named = None if request.job is None else read(request.job, request.overrides)
        name = named.metadata.name if named is not None else None
        folder = RunFolder.existing(request.directory, name)
    try:
        if request.resume:
            given = request.job if request.job is not None else folder.path / JOB
            job = checked(read(given, request.overrides))
            job = _with_code_of(job, request.code, folder.path)
            _check_unfinished(job, folder.path)
            _check_same_start(job, folder.path)
            _check_same_policy(job, folder.path)
            if job.spec.rollout.replicas != specs.load(folder.path / JOB).spec.rollout.replicas:
                # What was asked for while it worked is older.
                rollouts.forget(folder.path)
        else:
            if packed is not None:
                _unpack(packed.data, job, folder.path)
            write_job(job, folder.path)
    except BaseException:
        folder.discard()
        folder.close()
        raise
    return job, folder


def read(job: JobLike | None, overrides: tuple[str, ...]) -> RLJob:
    """Read the job and apply the overrides."""
    if job is None:
        raise InputError("name a job: a YAML file, or an environment with --env")
    return specs.read(job, overrides)


def wire(request: Request, job: RLJob, scratch: Path, folder: Path) -> Wiring:
    """Addresses of the roles: sockets in `scratch`, or TCP ports and keys."""
    if request.resume:
        # The folder keeps what it has until the job is accepted.
        write_job(job, scratch)
    home = scratch if request.resume else folder
    code = [str(home / CODE)] if (home / CODE).is_dir() else []
    if job.spec.code_archive is not None:
        path = (*code, str(folder / CODE))
    else:
        path = (*code, *(str(place.resolve()) for place in request.search))
    if request.transport == "ipc":
        addresses = f"ipc://{scratch}/buffer", f"ipc://{scratch}/learner"
        minted = None
    else:
        first, other = _free_ports()
        addresses = f"tcp://127.0.0.1:{first}", f"tcp://127.0.0.1:{other}"
        # The keys are secrets; they are deleted at the end of the run. A machine that stopped may have left some.
        minted = folder / KEYS
        shutil.rmtree(minted, ignore_errors=True)
        generate(minted)
    if job.spec.rollout.applications is not None:
        open_run(folder, *addresses, minted)
    trace = request.trace.resolve() if request.trace is not None else None
    threads = max(1, usable_cores() - job.spec.rollout.replicas)
    return Wiring(
        *addresses,
        scratch,
        path,
        keys=minted,
        trace=trace,
        resume=request.resume,
        learner_threads=threads,
        job=home / JOB,
        token=token.new(),
    )


def checked(job: RLJob) -> RLJob:
    """Check the job without starting a process. The roles check import paths."""
    check_settings(job)
    if needs_torch(job.spec.algorithm) and importlib.util.find_spec("torch") is None:
        raise InputError(
            "training needs torch, which is not installed: pip install 'rljob[learner]'"
        )
    try:
        check_syntax(job.spec.code)
        check_sinks(job.spec.sinks)
        if job.spec.learner.device not in ("auto", "cpu"):
            # Importing torch takes seconds.
            from rljob.roles.learner.training import device_of

            device_of(job.spec.learner.device)
        if job.spec.evaluation is not None:
            check_evaluation(job.spec.evaluation)
    except InputError as error:
        raise specs.locate(job, error) from None
    if job.spec.seed is None:
        drawn = job.spec.model_copy(update={"seed": secrets.randbelow(2**31)})
        job = job.model_copy(update={"spec": drawn})
    return job


def _with_code(job: RLJob, code: Path | None) -> tuple[RLJob, CodeArchive | None]:
    """The job with the folder that goes with it, and the folder packed.

    Raises:
        InputError: the folder cannot go with a job, or the job was sent with one that is not here.
    """
    if code is not None:
        from rljob.code_folder.pack import carried

        return carried(job, code)
    if job.spec.code_archive is not None:
        message = "the job was sent with a folder of code; give that folder with --code DIR"
        raise specs.locate(job, InputError(message, path="codeArchive"))
    return job, None


def _with_code_of(job: RLJob, code: Path | None, folder: Path) -> RLJob:
    """The job with the code that its run began with."""
    if code is not None:
        raise InputError(
            f"--code {code}: cannot be combined with --resume; the run goes on with the code in {folder / CODE}"
        )
    known = specs.load(folder / JOB).spec.code_archive
    told = job.spec.model_copy(update={"code_archive": known})
    return job.model_copy(update={"spec": told})


def _unpack(data: bytes, job: RLJob, folder: Path) -> None:
    """Write the folder that goes with the job; the modules of the job itself come beside it."""
    from rljob.code_folder import archive

    known = job.spec.code_archive
    assert known is not None
    try:
        archive.unpack(data, known, folder / CODE)
    except OSError as error:
        raise RunError(f"cannot write to the run's folder {folder}: {error.strerror}") from error


def _with_weights(job: RLJob) -> RLJob:
    """The job with the whole path of the weights that it starts with, if it names some.

    Raises:
        InputError: there are none.
    """
    wanted = job.spec.init_from
    if wanted is None:
        return job
    from rljob.algorithms.initial_weights import check_source

    if is_stored(wanted.run):
        try:
            check_stored(wanted.run)
        except InputError as error:
            raise specs.locate(job, InputError(error.message, path="initFrom.run")) from None
        return job
    try:
        check_source(wanted.run)
    except InputError as error:
        raise specs.locate(job, error) from None
    return job.model_copy(
        update={"spec": job.spec.model_copy(update={"init_from": _whole(wanted)})}
    )


def _whole(wanted: InitFromSpec) -> InitFromSpec:
    """With the whole path of a folder; what a sink stored is none."""
    if is_stored(wanted.run):
        return wanted
    return wanted.model_copy(update={"run": str(Path(wanted.run).absolute())})


def write_job(job: RLJob, folder: Path) -> None:
    """Write the job and its modules.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        write_whole(folder / JOB, specs.dump(job))
        for name, text in (job.spec.code or {}).items():
            (folder / CODE).mkdir(exist_ok=True)
            (folder / CODE / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write to the run's folder {folder}: {error.strerror}") from error


def _check_same_start(job: RLJob, folder: Path) -> None:
    """Reject a job that is to start with other weights than the run did, if the run has checkpoints."""
    wanted = job.spec.init_from
    if wanted is None or not checkpoints(folder / CHECKPOINTS):
        return
    before = specs.load(folder / JOB).spec.init_from
    if _whole(wanted) != before:
        given = wanted.model_dump(mode="json", by_alias=True, exclude_none=True)
        error = InputError(
            f"{show(given)} is not allowed; a run that is resumed goes on with its own weights, those in {folder}. Leave "
            "it out, or start a new run without --resume",
            path="initFrom",
        )
        raise specs.locate(job, error)


def _check_same_policy(job: RLJob, folder: Path) -> None:
    """Reject a job of another algorithm or network than the run's, if the run has checkpoints."""
    if not checkpoints(folder / CHECKPOINTS):
        return
    before = specs.load(folder / JOB).spec
    for path, old, new in (
        ("algorithm", _named(before.algorithm), _named(job.spec.algorithm)),
        ("network", _named(before.network), _named(job.spec.network)),
        ("network.config", before.network.config, job.spec.network.config),
        ("networks", _networks(before), _networks(job.spec)),
    ):
        if old != new:
            error = InputError(
                f"{show(new)} is not allowed; the checkpoints in {folder} were trained with {show(old)}. "
                "Start a new run without --resume",
                path=path,
            )
            raise specs.locate(job, error)


def _networks(spec: specs.RLJobSpec) -> dict[str, Any]:
    """What `networks` says of the networks' form; a learning rate may change."""
    found = {
        name: network.model_dump(by_alias=True, exclude={"learning_rate"}, exclude_defaults=True)
        for name, network in (spec.networks or {}).items()
    }
    return {name: form for name, form in found.items() if form}


def _named(section: AlgorithmSpec | NetworkSpec) -> str:
    return str(section.name or section.entry_point)


def _check_unfinished(job: RLJob, folder: Path) -> None:
    """Reject a complete run, unless its stop condition was raised."""
    result = json_files.read(folder / RESULT) or {}
    if result.get("outcome") != "Complete":
        return
    mean = result["meanReturn"] if result["episodes"] >= WINDOW_EPISODES else None
    totals = Totals(mean, *(result[name] for name in ("steps", "updates", "episodes", "seconds")))
    end = reached(job.spec.stop, totals)
    if end is not None:
        raise InputError(
            f"{folder} is complete: {end.text}. To continue, raise the stop condition, e.g. "
            f"--set {_MOVED[end.reason]}"
        )


_MOVED = {
    "StepsReached": "stop.steps=2000000",
    "UpdatesReached": "stop.updates=20000",
    "EpisodesReached": "stop.episodes=20000",
    "DurationReached": "stop.duration=1h",
    "MeanReturnReached": "stop.meanReturn=null",
}


def _free_ports() -> tuple[int, int]:
    """Two free TCP ports; the port after the first is free too."""
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
    raise RunError("found no two adjacent free ports on this machine")
